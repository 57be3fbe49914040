"""One search from its config to its report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from src.config import PROJECT_ROOT, ClusterConfig, TuneConfig, TunerConfig, plain, project_path
from src.errors import SweepError, UserError
from src.sweeps.parent import Parent, open_parent
from src.sweeps.pool import worker_pool
from src.sweeps.progress import SweepProgress
from src.sweeps.runner import Runner
from src.sweeps.search.oracle import Result, Search, Trial, create_oracle
from src.sweeps.search.report import record, report, summary
from src.sweeps.search.run import Compose, Trials
from src.sweeps.search.space import hyperparameters
from src.sweeps.search.winner import best_trial, write_experiment
from src.tracking.provenance import command_line

SEARCHES = PROJECT_ROOT / "outputs" / "tune"


@dataclass(frozen=True)
class Session:
    """A search that has ended, and why."""

    config: TuneConfig
    trials: Trials
    parent: Parent | None
    folder: Path
    ended: str


def run_search(config: TuneConfig, base: Sequence[str], compose: Compose) -> Session:
    """Run, or go on with, the search that `config` describes; `base` are the overrides of every trial.

    Its journal and the states of its trials are kept in `config.output`, or below outputs/tune. Raises SweepError.
    """
    digest = search_digest(config)
    folder = project_path(config.output) if config.output else SEARCHES / digest
    with worker_pool(config.tuner.workers, folder / "logs", config.tuner.backend, config.cluster) as pool:
        oracle = create_oracle(config.tuner, hyperparameters(config.space), config.trainer.epochs)
        search = Search(oracle, folder / "journal.jsonl")
        trials = Trials(search, config.tuner, config.space, base, compose, folder / "states")
        again = command_line("src.tune", sys.argv[1:])
        parent = open_parent(config.tracking, "tune", f"tune {config.tuner.name}", digest, command=again, resume=True)
        try:
            with SweepProgress(config.tuner.max_trials, config.tuner.workers, Console()) as progress:
                ended = trials.run(Runner(pool, parent, progress, base))
        except (KeyboardInterrupt, UserError) as error:
            if parent is not None:
                parent.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
    return Session(config, trials, parent, folder, ended)


def conclude(session: Session) -> tuple[Trial, Result]:
    """Report a search, write down its winner and print how to run it again. Raises SweepError where none completed."""
    config, search, parent = session.config, session.trials.search, session.parent
    best = best_trial(search, config.tuner.objective)
    pages = report(search, config, session.folder, ended=session.ended)
    if parent is not None:
        parent.end("FINISHED" if best else "FAILED")
    if best is None:
        reasons = {result.reason for result in search.results.values()}
        raise SweepError(f"no trial completed: {summary(search)}; {'; '.join(sorted(reasons)[:3])}")
    winner = session.trials.overrides(best[0])
    told = f"{summary(search)}; {session.ended}. The best {config.tuner.objective} is {best[1].score:.4f}"
    file = write_experiment(winner, config.tuner.save_as or f"{config.model.name}_{config.tuner.name}", [told])
    again = command_line("src.train", winner)
    if parent is not None:
        record(parent, search, best, again, pages)
    print(f"{told}:\n  {again}\n  python -m src.train +experiment={file.stem}\nreport: {pages}")
    return best


def search_digest(config: TuneConfig) -> str:
    """Equal for searches that may go on with each other: all values are the same but for budgets and workers."""
    defaults = TunerConfig(config.tuner.name)
    tuner = replace(
        config.tuner,
        max_trials=defaults.max_trials,
        max_minutes=defaults.max_minutes,
        max_failures=defaults.max_failures,
        workers=defaults.workers,
        backend=defaults.backend,
        save_as=defaults.save_as,
    )
    values = {**plain(replace(config, tuner=tuner, cluster=ClusterConfig(), output=None, print_config=False))}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
