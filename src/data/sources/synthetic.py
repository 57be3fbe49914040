"""Synthetic faces as a source: images that have no file and are drawn when their turn comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from ...config import SourceConfig
from ...synthetic.faces import draw_face
from ..images import prepare_image
from ..samples import DecodedImage, FitMode, Limits, Sample
from .folders import Listing, register_source

DRAWN_FOR_CUTTING = 224
"""Pixels of a side of the drawing that a face is cut out of."""


@dataclass(frozen=True, slots=True)
class SyntheticLocator:
    """Face `index` of the synthetic set named by `seed`."""

    has_file: ClassVar[bool] = False
    seed: int
    index: int
    ambiguity: float

    @property
    def signature(self) -> str:
        return f"{self.seed}/{self.ambiguity!r}"

    def read(self, limit: int) -> bytes:
        """Return nothing: there is no file."""
        return b""

    def decode(self, data: bytes, size: int, limits: Limits, fit: FitMode = "stretch") -> DecodedImage:
        """Return the face, drawn; its factors but for the label are further columns. For `fit=face` it is drawn large
        and cut out, and has no boxes of its features, which are elsewhere then.
        """
        side = max(size, DRAWN_FOR_CUTTING) if fit == "face" else size
        pixels, factors = draw_face(self.seed, self.index, side, self.ambiguity)
        if fit == "face":
            pixels = np.asarray(prepare_image(Image.fromarray(pixels), size, fit))
        columns = factors.columns(boxes=fit != "face")
        columns.pop("label")
        return DecodedImage(pixels, size, size, "synthetic", "RGB", columns)


@register_source("synthetic", changes_with="config")
def list_synthetic(config: SourceConfig) -> Listing:
    """List `synthetic.count` faces, happy and sad in turn as `draw_face` has them."""
    faces = config.synthetic
    return Listing(
        [
            Sample(f"{index:06d}", 1 - index % 2, SyntheticLocator(faces.seed, index, faces.ambiguity))
            for index in range(faces.count)
        ]
    )
