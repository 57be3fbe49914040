"""Data of preparation: a sample, the locator of its image, the decoded image, and verdicts on rejected ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ..config import DatasetConfig

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

AUXILIARY_LABEL = -1
"""Label of an image of an auxiliary class, which only the auxiliary head learns."""

FitMode = Literal["stretch", "crop", "pad", "face"]
"""How an image becomes a square: all of it stretched, its middle, all of it between bars, or its largest face."""

Verdict = Literal[
    "ok",
    "duplicate_of",
    "label_conflict",
    "not_an_image",
    "truncated",
    "too_large",
    "too_small",
    "unsupported_format",
    "zero_bytes",
    "unreadable",
    "no_face",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
VERDICT_MEANINGS: dict[str, str] = {
    "duplicate_of": "exact copy of another",
    "label_conflict": "the same file in both classes",
    "not_an_image": "no image at all",
    "truncated": "cut off",
    "too_large": "over the limits on size",
    "too_small": "too few pixels",
    "unsupported_format": "format not read here",
    "zero_bytes": "empty file",
    "unreadable": "corrupt or unreadable",
    "no_face": "no face found in it",
}
"""Meanings of the verdicts other than "ok", for a person."""


class RejectedImageError(Exception):
    """An image that cannot be used, with its verdict (never "ok") and one line for a person."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(f"{verdict}: {detail}")
        self.verdict: Verdict = verdict
        self.detail = detail

    def __reduce__(self) -> tuple[type[RejectedImageError], tuple[Verdict, str]]:
        return type(self), (self.verdict, self.detail)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a file that is decoded at all: most megapixels and megabytes, and shortest side in pixels."""

    megapixels: float = 64.0
    min_side: int = 8
    megabytes: float = 128.0

    @classmethod
    def of(cls, config: DatasetConfig) -> Limits:
        """Return the limits that a data set's config sets."""
        return cls(config.max_megapixels, config.min_side, config.max_megabytes)

    @property
    def bytes(self) -> int:
        """The largest file that is read."""
        return int(self.megabytes * 1e6)


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """Pixels, uint8 (size, size, 3), and what the file said about itself: width and height in pixels, format, mode.

    `turned` says that its note of the camera's position exchanged width and height.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    format: str
    mode: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Further columns of its row: single values by name."""
    turned: bool = False


class Locator(Protocol):
    """The place of one image: small, can be sent to another process, and opens that image alone.

    `has_file` says whether the image has bytes of the user's, which can be verified and copied. One without them is
    made by the program itself: nothing but the same pixels makes it a duplicate of another.
    """

    has_file: ClassVar[bool]

    @property
    def signature(self) -> str:
        """Changes whenever the content may have changed, and is known without reading it."""

    def read(self, limit: int) -> bytes:
        """Return at most `limit` bytes of the file, none without a file; raises one of `locators.READ_ERRORS`."""

    def decode(self, data: bytes, size: int, limits: Limits, fit: FitMode = "stretch") -> DecodedImage:
        """Return the image of `size` by `size` pixels that `data`, as `read`, holds. Raises RejectedImageError."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, before it was read. `path` is unique within `source`."""

    path: str
    label: int
    locator: Locator
    shipped_split: Split | None = None
    """The split in which the data ships it."""
    subject: str | None = None
    """Images of one subject stay together, whatever they look like."""
    weight: float = 1.0
    source: str = ""
    target: float | None = None
    """How far it belongs to class 1, from 0 to 1; None: as its label says."""
    shares: Mapping[str, float] | None = None
    """How far it belongs to each class of the auxiliary head, adding up to 1; None where there is no such head."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An image that is not used: `verdict` from the closed list, `detail` for a person."""

    path: str
    label: int
    verdict: Verdict
    detail: str
    source: str = ""
