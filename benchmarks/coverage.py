"""How often the 95 % intervals hold the truth: `python -m benchmarks.coverage [TRIALS]` prints a table.

Simulated test splits of n images, which a model of accuracy p answers: every image alone, in pairs of copies, or in
groups of unequal size (sampled from a geometric distribution of mean 4, and 1, 2, 4, 8 and so on). The images of a
group are copies, answered alike, or only half of them are and the others are answered each for itself. A second table
is about models that nearly always answer the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtri

from src.metrics.intervals import Score, proportion
from src.metrics.scores import score

SIZES = (30, 100, 1000)
ACCURACIES = (0.5, 0.9, 0.99)
MEAN_GROUP = 4
LOPSIDED = ((0.05, 0.97), (0.1, 0.9), (0.5, 0.95))  # recall and specificity
RESAMPLED = ("balanced_accuracy", "f1", "roc_auc", "log_loss")
RESAMPLES = 400

Generator = np.random.Generator
Groups = NDArray[np.intp]


def singles(images: int, _: Generator) -> Groups:
    """Every image is a group of its own, (images,)."""
    return np.arange(images)


def pairs(images: int, _: Generator) -> Groups:
    """Two images a group, (images,)."""
    return np.arange(images) // 2


def geometric(images: int, generator: Generator) -> Groups:
    """Groups of geometrically distributed sizes of mean 4, (images,)."""
    return np.repeat(np.arange(images), generator.geometric(1 / MEAN_GROUP, images))[:images]


def doubling(images: int, _: Generator) -> Groups:
    """Groups of 1, 2, 4, 8 and so on; the last one holds what is left, (images,)."""
    return np.floor(np.log2(np.arange(1, images + 1))).astype(np.intp)


LAYOUTS: dict[str, Callable[[int, Generator], Groups]] = {
    "singles": singles,
    "pairs": pairs,
    "geometric": geometric,
    "doubling": doubling,
}


def split(
    groups: Groups, accuracy: float, alike: float, generator: Generator
) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """True labels and probabilities (n,) of a model of this accuracy; the share `alike` of images answers as its
    group does. The label is the group's.
    """
    own = generator.random(groups.size) >= alike
    label = (generator.random(groups.max() + 1) < 0.5)[groups]
    noise = np.where(own, generator.standard_normal(groups.size), generator.standard_normal(groups.max() + 1)[groups])
    return label, expit(3 * (np.where(label, 1, -1) * float(ndtri(accuracy)) + noise))


def truths(accuracy: float) -> dict[str, float]:
    """What the scores are on very many images."""
    label, probability = split(np.arange(400_000), accuracy, 0.0, np.random.default_rng(1))
    return {name: found.value for name, found in score(label, probability, resamples=1).items()} | {
        "accuracy": accuracy,
        "balanced_accuracy": accuracy,
    }


def coverage(images: int, accuracy: float, layout: str, trials: int) -> list[str]:
    """A row of the table: the median number of groups and the share of trials in which each interval holds."""
    generator, truth = np.random.default_rng([images, round(100 * accuracy), len(layout)]), truths(accuracy)
    counts, copies, half, others = [], [], [], []
    for trial in range(trials):
        groups = LAYOUTS[layout](images, generator)
        counts.append(groups.max() + 1)
        label, probability = split(groups, accuracy, 1.0, generator)
        copies.append(_holds(proportion((probability >= 0.5) == label, groups), accuracy))
        found = score(label, probability, groups, resamples=RESAMPLES, seed=trial) if trial < trials // 4 else {}
        others += [_defined(found, truth)] if found else []
        label, probability = split(groups, accuracy, 0.5, generator)
        half.append(_holds(proportion((probability >= 0.5) == label, groups), accuracy))
    shares = [np.mean(copies), np.mean(half), *np.nanmean(np.array(others, dtype=float), axis=0)]
    return [
        f"{images:,}",
        f"{accuracy:g}",
        layout,
        f"{np.median(counts):.0f}",
        *(f"{100 * share:.1f}" for share in shares),
    ]


def _holds(found: Score, truth: float) -> bool:
    return bool(found.low <= truth <= found.high)


def _defined(found: Mapping[str, Score], truth: Mapping[str, float]) -> list[float]:
    """Whether each interval holds the truth; nan where the score or its interval is not defined."""
    return [
        float(_holds(found[name], truth[name])) if np.isfinite(found[name].low) else float("nan") for name in RESAMPLED
    ]


def lopsided(cell: tuple[int, tuple[float, float]], trials: int) -> list[str]:
    """A row of the second table: balanced accuracy and f1 of a model with such a recall and specificity."""
    images, (recall, specificity) = cell
    generator, names, held = np.random.default_rng(images), RESAMPLED[:2], []

    def answers(count: int) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
        label = generator.random(count) < 0.5
        return label, np.where(generator.random(count) < np.where(label, recall, 1 - specificity), 0.9, 0.1)

    truth = score(*answers(400_000), resamples=1)
    for trial in range(trials):
        found = score(*answers(images), resamples=RESAMPLES, seed=trial)
        held.append([float(_holds(found[name], truth[name].value)) for name in names])
    shares = [f"{100 * share:.1f}" for share in np.mean(held, axis=0)]
    return [f"{images:,}", f"{recall:g}", f"{specificity:g}", *shares]


def main(trials: int = 2000) -> None:
    """Print the tables as Markdown, in percent."""
    cells = [(n, p, layout) for layout in LAYOUTS for n in SIZES for p in ACCURACIES]
    names = ["n", "p", "groups of", "median groups", "accuracy, copies", "accuracy, half alike"]
    print("|", " | ".join([*names, *(name.replace("_", " ") for name in RESAMPLED)]), "|")
    print("|", " | ".join(["---"] * (len(names) + len(RESAMPLED))), "|")
    with ProcessPoolExecutor(2) as pool:
        for row in pool.map(partial(_row, trials=trials), cells):
            print("|", " | ".join(row), "|", flush=True)
        print("\n| n | recall | specificity | balanced accuracy | f1 |\n| --- | --- | --- | --- | --- |")
        for row in pool.map(partial(lopsided, trials=trials // 4), [(n, pair) for pair in LOPSIDED for n in SIZES]):
            print("|", " | ".join(row), "|", flush=True)


def _row(cell: tuple[int, float, str], trials: int) -> list[str]:
    return coverage(*cell, trials=trials)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
