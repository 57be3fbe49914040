"""Whether a model may take the place of another: a paired comparison on the test images of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .leaderboard import LOSSES, Metric, TestValues, values_on_test
from .paired import SAME, WORSE, compare_pairs


@dataclass(frozen=True)
class GateResult:
    """Whether the challenger passes, and the evidence in one line."""

    passed: bool
    text: str


def compare_with_holder(
    challenger: pd.DataFrame | None,
    holder: pd.DataFrame | None,
    metric: Metric,
    *,
    resamples: int = 2000,
    margin: float | None = None,
) -> GateResult:
    """Compare the recorded predictions of two runs on their common test images.

    The challenger passes unless it is found worse (5 % level). With `margin` the 95 % interval of the difference must
    also end above -margin: a test of non-inferiority. What cannot be compared, because predictions are missing or the
    test images differ, does not pass.
    """
    ours, theirs = values_on_test(challenger, metric), values_on_test(holder, metric)
    if ours is None or theirs is None:
        whose = "this run" if ours is None else "the holder's run"
        return GateResult(False, f"cannot be compared: {whose} recorded no test predictions")
    if ours.digest != theirs.digest:
        sizes = f"{ours.values.size:,} (digest {ours.digest}) and {theirs.values.size:,} (digest {theirs.digest})"
        return GateResult(False, f"cannot be compared: evaluated on different test images, {sizes}")
    return _compare(ours, theirs, metric, resamples, margin)


def _compare(ours: TestValues, theirs: TestValues, metric: Metric, resamples: int, margin: float | None) -> GateResult:
    members = [ours.values[None], theirs.values[None]]
    pair = compare_pairs(members, ours.codes, exact=metric == "accuracy", resamples=resamples).iloc[0]
    images, groups = f"{ours.values.size:,} test images", f"{int(ours.codes.max()) + 1:,} groups"
    sign = -1 if metric in LOSSES else 1
    low, difference, high = (sign * pair[name] for name in ("low", "difference", "high"))
    ends = f"[{low:+.4f}, {high:+.4f}]" if metric not in LOSSES else f"[{high:+.4f}, {low:+.4f}]"
    name = metric.replace("_", " ")
    chance = f"p = {pair['p_value']:.2g}" if pair["p_value"] >= 1e-4 else "p < 0.0001"
    text = f"{pair['verdict']}: {name} {difference:+.4f} {ends} on {images} in {groups}, {chance}"
    if pair["verdict"] == SAME:
        needed = pair["images_to_settle"]
        settled = f"; about {needed:,.0f} images would settle it" if np.isfinite(needed) else ""
        text += f"; it may be up to {max(0.0, -pair['low']):.4f} worse{settled}"  # not distinguishable is not equal
    if margin is not None and not pair["low"] > -margin:
        return GateResult(False, f"{text}; the interval does not rule out a loss of {margin:g}, the margin")
    return GateResult(pair["verdict"] != WORSE, text)
