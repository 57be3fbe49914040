"""The common table of every source: one `Sample` per picture, and what became of a picture that was not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .locators import Locator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

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
    "unreadable": "damaged or not to be opened",
}
"""What a verdict other than "ok" says, for a person."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture of a source, before it was read. `path` is unique within `source`."""

    path: str
    label: int
    locator: Locator
    shipped_split: Split | None = None
    """The split in which the data ships it."""
    subject: str | None = None
    """Pictures of one subject stay together, whatever they look like."""
    weight: float = 1.0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A picture that is not used: `verdict` from the closed list, `detail` for a person."""

    path: str
    label: int
    verdict: Verdict
    detail: str
    source: str = ""


class RejectedPictureError(Exception):
    """A picture that cannot be used, with its verdict (never "ok") and one line for a person."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(f"{verdict}: {detail}")
        self.verdict: Verdict = verdict
        self.detail = detail

    def __reduce__(self) -> tuple[type[RejectedPictureError], tuple[Verdict, str]]:
        return type(self), (self.verdict, self.detail)
