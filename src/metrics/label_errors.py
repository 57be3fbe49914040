"""Search for labels that are likely wrong, by the probabilities of models that never saw their images.

Confident learning for two classes (Northcutt, Jiang and Chuang 2021, arXiv 1911.00068), in NumPy: cleanlab, by the same
authors, does the same for any number of classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-9
"""Where all answers of a class are alike, their mean may lie a rounding above each."""


@dataclass(frozen=True)
class LabelErrors:
    """`suspects` are the rows whose labels are likely wrong, the surest first; `wrong` (2,) is the estimated share of
    images labeled 0, and of those labeled 1, that belong to the other class.
    """

    suspects: NDArray[np.int64]
    wrong: NDArray[np.float64]


def find_label_errors(labels: ArrayLike, probabilities: ArrayLike) -> LabelErrors:
    """Label errors among labels (n,), 0 or 1, by out-of-fold probabilities (n,) of class 1; both classes are needed.

    A class's threshold is the mean probability of that class over the images that are labeled so. An image counts
    for the more likely of the classes whose thresholds it reaches; where that is not its label, the label is likely
    wrong, the surer the less probable it is ("prune by class" with the confident joint's off-diagonal as it is).
    """
    given = np.asarray(labels, dtype=int)
    positive = np.asarray(probabilities, dtype=np.float64)
    by_class = np.stack([1 - positive, positive], axis=1)
    thresholds = np.array([by_class[given == label, label].mean() for label in (0, 1)])
    reached = np.where(by_class >= thresholds - TIE, by_class, -1.0)
    counted = reached.max(axis=1) >= 0
    likely = reached.argmax(axis=1)
    own = by_class[np.arange(len(given)), given]
    suspects = np.flatnonzero(counted & (likely != given))
    counts = np.array([np.bincount(likely[counted & (given == label)], minlength=2) for label in (0, 1)])
    wrong = counts[[0, 1], [1, 0]] / np.maximum(counts.sum(axis=1), 1)
    return LabelErrors(suspects[np.argsort(own[suspects], kind="stable")], wrong)
