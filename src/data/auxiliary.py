"""Images that are neither of the two classes: they teach features through an auxiliary head, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import SourceConfig
from .samples import NEITHER, Sample

SHARE = "share."
"""What the columns begin with that say how far an image belongs to each class of the auxiliary head."""


@dataclass(frozen=True)
class AuxiliaryImages:
    """What an auxiliary head learns, beside a data set whose images of two classes are the first of its array.

    `classes` are those of the head; `shares`, float32 (images, classes), say how far each image of the array
    belongs to them, all zero where that is not known. `table` describes the images of neither class, which come
    after those of the two; `rows` are the places in the array of those that are trained on.
    """

    classes: tuple[str, ...]
    shares: NDArray[np.float32]
    table: pd.DataFrame
    rows: NDArray[np.int64]

    @property
    def trained(self) -> pd.DataFrame:
        """The rows of `table` that are trained on."""
        return self.table.iloc[self.rows - (len(self.shares) - len(self.table))]

    @property
    def targets(self) -> NDArray[np.float32]:
        """How far each image of neither class belongs to class 1, (len(table),): half where no votes say so."""
        return self._votes("target").fillna(0.5).to_numpy(dtype=np.float32)

    @property
    def weights(self) -> NDArray[np.float32]:
        """How much that target counts, (len(table),): not at all without votes for one of the two classes."""
        weights = self.table["weight"].where(self._votes("target").notna(), 0.0)
        return weights.to_numpy(dtype=np.float32)

    def _votes(self, column: str) -> pd.Series:
        return self.table.get(column, pd.Series(np.nan, self.table.index))


def with_auxiliary(samples: Sequence[Sample], config: SourceConfig) -> list[Sample]:
    """Samples as an auxiliary head learns them, each wholly of its own class; as they are where there is no such head.

    A source lists images of the auxiliary classes under the labels of `class_labels`; here they become `NEITHER`.
    """
    if not config.auxiliary:
        return list(samples)
    return [_shared(sample, config) for sample in samples]


def _shared(sample: Sample, config: SourceConfig) -> Sample:
    if sample.label >= 0:
        return replace(sample, shares={config.positive if sample.label else config.negative: 1.0})
    return replace(sample, label=NEITHER, shares={config.auxiliary[-1 - sample.label]: 1.0})


def auxiliary_images(table: pd.DataFrame, splits: NDArray[np.object_]) -> AuxiliaryImages | None:
    """What the auxiliary head learns of a store's `table`, of which the first len(splits) rows are images of the two
    classes with these splits; None where there is no such head.

    An image of neither class that looks like one of validation or test, or that its source ships in another split than
    training, is not trained on.
    """
    names = [column for column in table.columns if column.startswith(SHARE)]
    if not names:
        return None
    of_two, rest = table.iloc[: len(splits)], table.iloc[len(splits) :]
    evaluated = of_two.loc[(splits == "validation") | (splits == "test"), "group"]
    shipped = rest["shipped_split"]
    usable = ~rest["group"].isin(evaluated) & (shipped.isna() | (shipped == "train"))
    return AuxiliaryImages(
        classes=tuple(name.removeprefix(SHARE) for name in names),
        shares=table[names].fillna(0.0).to_numpy(dtype=np.float32),
        table=rest.reset_index(drop=True),
        rows=len(splits) + np.flatnonzero(usable.to_numpy()),
    )
