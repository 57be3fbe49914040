"""synthetic faces as a source."""

from __future__ import annotations

from ...config import SourceConfig
from ..locators import SyntheticLocator
from ..samples import Sample
from .listing import Listing


def list_synthetic(config: SourceConfig) -> Listing:
    """`synthetic.count` faces, happy and sad in turn as `draw_face` has them."""
    synthetic = config.synthetic
    return Listing(
        [
            Sample(f"{index:06d}", 1 - index % 2, SyntheticLocator(synthetic.seed, index, synthetic.ambiguity))
            for index in range(synthetic.count)
        ]
    )
