"""Repetition of a recorded run, and what differs between then and now."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import keras
from rich.console import Console
from rich.table import Table

from ..config import RerunConfig, TrackingConfig
from ..config.identity import Request, config_digest
from ..data.prepared import prepare
from ..errors import RerunError
from ..evaluation.recorded import recorded_config
from ..tracking.provenance import provenance_tags
from ..tracking.read import find_run
from ..tracking.store import say_store
from .backend import device_name, resolve_precision
from .parents import find_parents
from .run import TrainResult, train

if TYPE_CHECKING:
    from ..config import Config
    from ..tracking.read import RecordedRun

CODE_AND_MACHINE = ("backend", "device", "precision", "git.commit", "git.dirty")
COMPARED = ("accuracy", "balanced_accuracy", "roc_auc", "log_loss", "brier")


@dataclass(frozen=True)
class Repetition:
    """Result of a repetition: `identical` weights to the bit, and of each score on test what was recorded, the ends
    of its interval, and what it is now.
    """

    identical: bool
    scores: dict[str, tuple[float, float, float, float]]

    @property
    def outside(self) -> list[str]:
        """The scores that lie outside the recorded intervals."""
        return [name for name, (_, low, high, now) in self.scores.items() if not low <= now <= high]


def rerun(config: RerunConfig, _: Request | None = None) -> Repetition:
    """Repeat the run that `config.run` names, unrecorded. Raises RerunError where it does not come out as it did, and
    TrackingError or DataError where it cannot be repeated.
    """
    say_store(config.tracking)
    console = Console(soft_wrap=True, highlight=False)
    run = find_run(config.tracking, config.run)
    if "weights.sha256" not in run.tags:
        raise RerunError(f"run={config.run}: was not fitted to its end, so there is nothing to compare with")
    recipe = replace(recorded_config(run, config.tracking), tracking=TrackingConfig("off"))
    present = _present(recipe)
    pinned = _pinned(recipe, run.tags)
    dataset = find_parents(pinned, config.tracking).exclude_seen(prepare(recipe.dataset), recipe)
    data = {f"data.{split}": digest for split, digest in dataset.split_digests.items()}
    different = differences(run.tags, present | data)
    console.print(f"{run.name} (run {run.id}): {'differs now:' if different else 'nothing differs now'}", markup=False)
    for line in different:
        console.print(f"  {line}", markup=False)
    repetition = compare(run, train(pinned, parents_in=config.tracking))
    if repetition.identical:
        console.print(f"the same weights, bit for bit, sha256 {run.tags['weights.sha256'][:12]}")
        return repetition
    console.print(_table(repetition))
    if not different:
        raise RerunError(f"{run.name}: other weights, although data, code, versions and device are the same")
    if repetition.outside:
        names = ", ".join(repetition.outside)
        raise RerunError(f"{run.name}: {names} outside the recorded intervals; what differs is listed above")
    console.print("other weights, as expected from what differs; every score is within its recorded interval")
    return repetition


def _pinned(recipe: Config, tags: Mapping[str, str]) -> Config:
    """Return `recipe` with the id of the run that it started from, for a name that may lead elsewhere by now."""
    weights, run = recipe.model.weights, tags.get("weights.from")
    if not run or weights is None or os.path.exists(os.path.expanduser(weights)):
        return recipe
    return replace(recipe, model=replace(recipe.model, weights=run))


def _present(recipe: Config) -> dict[str, str]:
    """The tags that a run of this recipe would be given here and now."""
    backend = str(keras.backend.backend())

    tags = provenance_tags("", backend, device_name(), resolve_precision(recipe.trainer.precision))
    return tags | {"config.digest": config_digest(recipe)}


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """A line for each tag about data, config, code, versions and machine that was recorded otherwise than it is now."""

    def tells(key: str) -> bool:
        return key in CODE_AND_MACHINE or key.startswith(("data.", "version.", "config."))

    keys = sorted(key for key in then.keys() | now.keys() if tells(key))
    return [
        f"{key}: {then.get(key, 'not recorded')} then, {now.get(key, 'not known')} now"
        for key in keys
        if then.get(key) != now.get(key) or (key == "git.dirty" and then[key] == "true")
    ]


def compare(run: RecordedRun, result: TrainResult) -> Repetition:
    """The repetition's weights and scores on test against the recorded ones."""
    scores = {}
    for name in COMPARED:
        keys = [f"test/{name}", f"test/{name}_low", f"test/{name}_high"]
        if all(key in run.metrics for key in keys) and keys[0] in result.scores:
            value, low, high = (run.metrics[key] for key in keys)
            scores[name] = (value, low, high, result.scores[keys[0]])
    return Repetition(result.weights_digest == run.tags["weights.sha256"], scores)


def _table(repetition: Repetition) -> Table:

    table = Table("on test", "recorded", "now", "within", title="Not the same weights", title_justify="left")
    for name, (value, low, high, now) in repetition.scores.items():
        within = "no" if name in repetition.outside else "yes"
        table.add_row(name.replace("_", " "), f"{value:.4f} [{low:.3f}, {high:.3f}]", f"{now:.4f}", within)
    return table
