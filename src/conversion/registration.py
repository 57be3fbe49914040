"""Registration of a model under an alias of MLflow's registry, unless it is found worse than the holder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..comparison.paired import GateResult, compare_with_holder
from ..config import RegisterConfig
from ..config.identity import Request
from ..errors import GateError, TrackingError
from ..evaluation.artifacts import PREDICTIONS
from ..evaluation.recorded import open_recorded
from ..tracking import registry
from ..tracking.read import find_run, read_table
from ..tracking.store import say_store
from .opening import export_run

if TYPE_CHECKING:
    from ..comparison.paired import GateResult
    from ..tracking.read import RecordedRun
    from ..tracking.registry import Version

BY_CHANCE = "test/balanced_accuracy_low"


def register(config: RegisterConfig, _: Request | None = None) -> Version:
    """The version that holds the alias afterwards. Raises GateError, TrackingError, DataError or BundleError."""
    say_store(config.tracking)
    alias = f"models:/{config.name}@{config.alias}"
    if config.rollback:
        version, loser = registry.roll_back(config.tracking, config.name, config.alias)
        print(f"{alias} is {version} again (run {version.run_id}); {loser} held it")
        return version

    run = find_run(config.tracking, config.run)
    holders = registry.holders(config.tracking, config.name, config.alias)
    held = holders[-1] if holders else None
    if held is not None and held.run_id == run.id:
        print(f"{alias} is the model of run {run.name} already: {held}")
        return held
    tags = _pass_gate(config, run, holders)
    if run.metrics.get(BY_CHANCE, 1.0) <= 0.5:
        print(f"warning: the interval of {run.name}'s balanced accuracy on test does not rule out chance")
    bundle = export_run(run, config.tracking)
    recorded = open_recorded(config.tracking, run.id)
    version = registry.add_version(config.tracking, run, bundle.folder, recorded.file, config.name)
    registry.move_alias(config.tracking, version, config.alias, tags)
    before = f"; {held} held it before" if held else ""
    print(f"{alias} is now {version}, {bundle.model_id} of run {run.id}{before}")
    return version


def _pass_gate(config: RegisterConfig, run: RecordedRun, holders: Sequence[Version]) -> dict[str, str]:
    """Compare the run with the best that ever held the alias, and give the tags to record. Raises GateError where the
    run does not pass.
    """
    if not holders:
        print(f"first {config.alias} of {config.name}: nothing to compare {run.name} with")
        return {"verdict": "first"}
    result, held = _strongest(config, run, holders)
    best = f", the best that was ever {config.alias}" if held != holders[-1] else ""
    line = f"{run.name} against {held}{best}: {result.text}"
    if not result.passed and not config.force:
        raise GateError(f"{line}; {config.alias} stays {holders[-1]} (force=true reason=... moves it all the same)")
    print(line)
    if result.passed:
        return {"verdict": result.text}
    print(f"moved by force: {config.reason or 'no reason given'}")
    return {"verdict": result.text, "forced": config.reason or "no reason given"}


def _strongest(config: RegisterConfig, run: RecordedRun, holders: Sequence[Version]) -> tuple[GateResult, Version]:
    """The comparison with the holder, present or former, to which the run is closest to losing: measured against the
    present one alone, a row of models that are each a little worse would pass one after the other.
    """
    compared = [(_compare_with_holder(config, run, held), held) for held in holders]
    if compared[-1][0].difference is None:
        return compared[-1]
    differences = [math.inf if result.difference is None else result.difference for result, _ in compared]
    return compared[int(np.argmin(differences))]


def _compare_with_holder(config: RegisterConfig, run: RecordedRun, held: Version) -> GateResult:
    try:
        holder = find_run(config.tracking, held.run_id or "")
        theirs = read_table(holder, PREDICTIONS)
    except TrackingError:  # the run was deleted
        theirs = None
    else:
        if (there := _classes(holder)) != (here := _classes(run)):
            return GateResult(False, f"cannot be compared: it tells {here}, the other {there}")
    ours = read_table(run, PREDICTIONS)
    return compare_with_holder(ours, theirs, config.metric, resamples=config.resamples, margin=config.margin)


def _classes(run: RecordedRun) -> str:
    return " from ".join(run.params.get(f"dataset.{role}", role) for role in ("positive", "negative"))
