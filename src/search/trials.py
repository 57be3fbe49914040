"""The loop of a search: ask the oracle, run trials in workers, tell it how they did, stop at a budget."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config, TunerConfig
from ..config.identity import config_digest
from ..errors import ConfigError, SweepError
from ..sweeps.jobs import Outcome, Train, TrainingJob
from ..sweeps.runner import Runner
from ..training.checkpoint import STATE
from .oracle import Result, Search, Trial
from .space import Space, overrides, too_large

REJECTIONS_PER_TRIAL = 50
KEPT_METRICS = ("best/val_loss", "best/val_accuracy", "best/val_auc", "validation/accuracy")
Compose = Callable[[Sequence[str]], Config]


class Trials:
    """The running of a search's trials: `base` are the overrides that all share, `folder` holds the trials' states."""

    def __init__(
        self,
        search: Search,
        tuner: TunerConfig,
        space: Space,
        base: Sequence[str],
        compose: Compose,
        train: Train,
        folder: Path,
    ) -> None:
        self.search, self.tuner, self.space, self.base = search, tuner, space, base
        self.compose, self.train, self.folder = compose, train, folder
        self.going: dict[int, Trial] = {}

    def run(self, runner: Runner) -> str:
        """Run trials until a budget or the space is used up; gives the reason in words.

        Trials that a killed search left open are taken up first, or taken over where they had finished. Raises
        SweepError after `tuner.max_failures` failed trials in a row, KeyboardInterrupt when interrupted.
        """
        deadline = time.monotonic() + 60 * (self.tuner.max_minutes or math.inf)
        waiting, reason = self._left_open(runner), ""
        runner.progress.done = sum(result.status != "rejected" for result in self.search.results.values())
        try:
            while True:
                reason = reason or self._spent(deadline)
                if not runner.has_room or not (waiting or not reason):
                    if not self.going:
                        return reason
                    self._collect(runner)
                elif trial := waiting.pop(0) if waiting else self.search.next():
                    self._begin(trial, runner)
                elif self.search.exhausted:
                    reason = "the space is used up"
                else:
                    self._collect(runner)
        except (KeyboardInterrupt, SweepError):
            runner.interrupt()
            raise

    def overrides(self, trial: Trial) -> list[str]:
        """All overrides of a trial, fit for `src.train`: what it sets, and how far it is trained."""
        epochs = [] if trial.epochs is None else [f"trainer.stop_after={trial.epochs}"]
        return [*self.base, *overrides(trial.values, self.space), *epochs]

    def _begin(self, trial: Trial, runner: Runner) -> None:
        """Start a trial, or reject it where it makes no config or too large a model."""
        try:
            config = self.compose(self.overrides(trial))
            reason = too_large(config, self.tuner)
        except ConfigError as error:
            reason = str(error)
        if reason:
            self.search.end(trial, Result("rejected", reason=reason))
            return
        state = self._state(trial)
        config = replace(config, trainer=replace(config.trainer, checkpoint=str(state)))
        self.going[int(trial.id)] = trial
        runner.start(TrainingJob(int(trial.id), config, self.overrides(trial), self.train))

    def _collect(self, runner: Runner) -> None:
        """Wait until trials end, and tell the oracle."""
        while not (ended := runner.wait()):
            pass
        for job, outcome in ended:
            trial = self.going.pop(job.number)
            self.search.end(trial, self._result(outcome))
            if self.tuner.name != "hyperband":
                shutil.rmtree(self.folder / trial.id, ignore_errors=True)
        self._check_failures()

    def _state(self, trial: Trial) -> Path:
        """The folder of the trial's state between epochs; where it goes on from another, with that one's."""
        folder = self.folder / trial.id
        earlier = self.folder / (trial.continues or trial.id) / STATE
        if earlier.exists() and not (folder / STATE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{STATE}.partial"
            shutil.copyfile(earlier, partial)
            partial.rename(folder / STATE)
        return folder

    def _result(self, outcome: Outcome) -> Result:
        """What the oracle is told of an outcome; a trial whose objective is not finite has failed."""
        name = self.tuner.objective
        key = name if "/" in name else f"best/{name}"
        if outcome.status != "finished":
            return Result("failed", reason=outcome.reason, seconds=outcome.seconds)
        if key not in outcome.scores:
            known = sorted(each for each in outcome.scores if each.startswith(("best/val_", "validation/")))
            shown = ", ".join(each.removeprefix("best/") for each in known)
            raise ConfigError(f"tuner.objective={name}: accepts {shown}")
        score = outcome.scores[key]
        finite = math.isfinite(score)
        return Result(
            "completed" if finite else "failed",
            score if finite else None,
            reason="" if finite else f"{name} is {score}: not defined for what this model predicts",
            seconds=outcome.seconds,
            run_id=outcome.run_id,
            weights_digest=outcome.weights_digest,
            metrics={each: outcome.scores[each] for each in KEPT_METRICS if each in outcome.scores},
        )

    def _left_open(self, runner: Runner) -> list[Trial]:
        """The trials that were begun and not ended. One whose run had finished is taken over instead."""
        done = runner.parent.children("FINISHED") if runner.parent else {}
        waiting = []
        for trial in self.search.open:
            run_id = done.get(config_digest(self.compose(self.overrides(trial))))
            if run_id is None or runner.parent is None:
                waiting.append(trial)
            else:
                self.search.end(trial, self._result(runner.parent.outcome(run_id)))
        return waiting

    def _spent(self, deadline: float) -> str:
        """Which budget is used up; empty where none is."""
        counts = Counter(result.status for result in self.search.results.values())
        if counts["completed"] + counts["failed"] + len(self.going) >= self.tuner.max_trials:
            return f"tuner.max_trials={self.tuner.max_trials} reached"
        if time.monotonic() > deadline:
            return f"tuner.max_minutes={self.tuner.max_minutes:g} over"
        if counts["rejected"] > REJECTIONS_PER_TRIAL * self.tuner.max_trials:
            return f"{counts['rejected']} models were rejected; look at tuner.max_parameters and tuner.max_flops"
        return ""

    def _check_failures(self) -> None:
        trained = [result for result in self.search.results.values() if result.status != "rejected"]
        last = trained[-self.tuner.max_failures :]
        if len(last) == self.tuner.max_failures and all(result.status == "failed" for result in last):
            raise SweepError(f"{len(last)} trials in a row failed (tuner.max_failures); the last: {last[-1].reason}")
