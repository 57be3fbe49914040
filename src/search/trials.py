"""Loop of a search: ask the oracle for trials, run them in workers, report their scores, stop at a budget."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import Config, TunerConfig
from ..config.identity import Request, config_digest
from ..errors import ConfigError, SweepError
from ..sweeps.jobs import Outcome, Train, TrainingJob
from ..sweeps.runner import Runner
from ..training.checkpoint import STATE
from .oracle import Result, Search, Trial
from .space import Space, overrides, too_large

REJECTIONS_PER_TRIAL = 50
KEPT_METRICS = ("best/val_loss", "best/val_accuracy", "best/val_auc", "validation/accuracy")
Compose = Callable[[Sequence[str]], Config]


@dataclass
class Trials:
    """Trials of a search: `base` are the overrides that all share, `folder` holds the trials' states."""

    search: Search
    tuner: TunerConfig
    space: Space
    base: Sequence[str]
    compose: Compose
    train: Train
    folder: Path
    running: dict[int, Trial] = field(default_factory=dict)
    latest: list[Result] = field(default_factory=list)
    """Results of the trials that this process trained, in the order in which they ended."""

    def run(self, runner: Runner) -> str:
        """Run trials until a budget or the space is used up, and return the reason in words.

        Trials that a killed search left open run first, or are taken over if they had finished; so do those that
        failed for want of disk, memory or a store, which says nothing about their values. Raise SweepError after
        `tuner.max_failures` failed trials in a row, KeyboardInterrupt when interrupted.
        """
        deadline = time.monotonic() + 60 * (self.tuner.max_minutes or math.inf)
        waiting, reason = self._left_open(runner), ""
        runner.progress.done = sum(result.status != "rejected" for result in self.search.results.values())
        try:
            while True:
                reason = reason or self._spent(deadline)
                if not runner.has_room or not (waiting or not reason):
                    if not self.running:
                        return f"{reason}; {self._waiting()}" if self.search.deferred else reason
                    self._collect(runner)
                elif trial := waiting.pop(0) if waiting else self.search.next():
                    self._begin(trial, runner)
                elif self.search.exhausted or not self.running:  # or hyperband's round waits for a deferred trial
                    reason = "the space is used up" if self.search.exhausted else "its round is not complete"
                else:
                    self._collect(runner)
        except (KeyboardInterrupt, SweepError):
            runner.interrupt()
            raise

    def _waiting(self) -> str:
        return f"{len(self.search.deferred)} failed by their surroundings, the same command tries them again"

    def overrides(self, trial: Trial) -> list[str]:
        """Return all overrides of a trial for `src.train`: its values, and how far it is trained."""
        epochs = [] if trial.epochs is None else [f"trainer.stop_after={trial.epochs}"]
        return [*self.base, *overrides(trial.values, self.space), *epochs]

    def _begin(self, trial: Trial, runner: Runner) -> None:
        """Start a trial, or reject it for a wrong config or too large a model."""
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
        self.running[int(trial.id)] = trial
        request = Request.of("train", config, self.overrides(trial))
        runner.start(TrainingJob(int(trial.id), config, request, self.train))

    def _collect(self, runner: Runner) -> None:
        """Wait until trials end, and report them to the oracle."""
        while not (ended := runner.wait()):
            pass
        for job, outcome in ended:
            trial = self.running.pop(job.number)
            self.latest.append(result := self._result(outcome))
            if result.status == "failed" and outcome.transient:
                self.search.deferred[trial.id] = result
                continue
            self.search.end(trial, result)
            if self.tuner.name != "hyperband":
                shutil.rmtree(self.folder / trial.id, ignore_errors=True)
        self._check_failures()

    def _state(self, trial: Trial) -> Path:
        """Return the folder of the trial's state between epochs, filled with that of the trial that it continues."""
        folder = self.folder / trial.id
        earlier = self.folder / (trial.continues or trial.id) / STATE
        if earlier.exists() and not (folder / STATE).exists():
            folder.mkdir(parents=True, exist_ok=True)
            partial = folder / f"{STATE}.partial"
            shutil.copyfile(earlier, partial)
            partial.rename(folder / STATE)
        return folder

    def _result(self, outcome: Outcome) -> Result:
        """Return the oracle's result of an outcome; a trial with a non-finite objective has failed."""
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
        """Return the trials that were begun and not ended. Those with a finished run are ended instead."""
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
        """Return which budget is used up, empty if none is."""
        counts = Counter(result.status for result in self.search.results.values())
        begun = counts["completed"] + counts["failed"] + len(self.search.deferred) + len(self.running)
        if begun >= self.tuner.max_trials:
            return f"tuner.max_trials={self.tuner.max_trials} reached"
        if time.monotonic() > deadline:
            return f"tuner.max_minutes={self.tuner.max_minutes:g} over"
        if counts["rejected"] > REJECTIONS_PER_TRIAL * self.tuner.max_trials:
            return f"{counts['rejected']} models were rejected; look at tuner.max_parameters and tuner.max_flops"
        return ""

    def _check_failures(self) -> None:
        last = self.latest[-self.tuner.max_failures :]
        if len(last) == self.tuner.max_failures and all(result.status == "failed" for result in last):
            waiting = f"; {self._waiting()}" if self.search.deferred else ""
            reason = f"the last: {last[-1].reason}{waiting}"
            raise SweepError(f"{len(last)} trials in a row failed (tuner.max_failures); {reason}")
