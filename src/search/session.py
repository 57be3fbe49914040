"""One search from its config to its report."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from ..config import (
    CONF,
    IN_CHECKOUT,
    PROJECT_ROOT,
    ClusterConfig,
    Config,
    TuneConfig,
    TunerConfig,
    output_folder,
    plain,
    typed,
)
from ..config.roles import LAUNCH, PLACE, SESSION, without_roles
from ..errors import SweepError, UserError
from ..sweeps.jobs import Train
from ..sweeps.parent import Parent, open_parent
from ..sweeps.runner import Runner, SweepProgress, worker_pool
from ..tracking.provenance import command_line
from .oracle import Result, Search, Trial, create_oracle, minimized
from .search_report import record, report, summary
from .space import hyperparameters
from .trials import Compose, Trials

EXPERIMENTS = PROJECT_ROOT / "experiments"
SEARCHES = PROJECT_ROOT / "outputs" / "tune"


def best_trial(search: Search, objective: str) -> tuple[Trial, Result] | None:
    """The completed trial with the best score, the earliest of equals; None where none completed."""
    sign = 1 if minimized(objective) else -1
    completed = [key for key, result in search.results.items() if result.status == "completed"]
    best = min(completed, key=lambda key: (sign * (search.results[key].score or 0.0), key), default=None)
    return None if best is None else (search.trials[best], search.results[best])


def write_experiment(overrides: Sequence[str], name: str, facts: Sequence[str]) -> Path:
    """Write `experiments/tuned_<name>.yaml`, which makes `src.train experiment=tuned_<name>` the run of `overrides`.

    `facts` are lines for the head of the file. Where runs are recorded and cached is left to the person who runs it.
    """
    kept = without_roles(overrides, Config, PLACE, SESSION, LAUNCH)
    groups: list[Any] = []
    tree: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(kept):
        key = override.key_or_group
        if (CONF / key).is_dir():
            groups.append({f"override /{key}": override.value()})
        else:
            _set(tree, key.split("."), _plain(override.value()))
    file = EXPERIMENTS / f"tuned_{name}.yaml"
    head = [
        *facts,
        f"Again: {typed('train')} experiment=tuned_{name}",
        f"That is: {command_line('train', kept)}",
    ]
    body = yaml.safe_dump({"defaults": groups, **tree} if groups else tree, sort_keys=False)
    file.parent.mkdir(exist_ok=True)  # a checkout has it, the working directory of an installed package may not
    file.write_text("# @package _global_\n" + "".join(f"# {line}\n" for line in head) + body)
    return file


def _set(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _plain(value: Any) -> Any:
    """A value of Hydra's grammar without the quotes that it had on the command line."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


@dataclass(frozen=True)
class Session:
    """A search that has ended, and why."""

    config: TuneConfig
    trials: Trials
    parent: Parent | None
    folder: Path
    ended: str


def run_search(config: TuneConfig, base: Sequence[str], compose: Compose, train: Train) -> Session:
    """Run, or go on with, the search that `config` describes; `base` are the overrides of every trial,
    which `train` runs.

    Its journal and the states of its trials are kept in `config.output`, or below outputs/tune. Raises SweepError.
    """
    digest = search_digest(config)
    folder = output_folder(config.output) if config.output else SEARCHES / digest
    with worker_pool(config.tuner.workers, folder / "logs", config.tuner.backend, config.cluster) as pool:
        oracle = create_oracle(config.tuner, hyperparameters(config.space), config.trainer.epochs)
        search = Search(oracle, folder / "journal.jsonl")
        trials = Trials(search, config.tuner, config.space, base, compose, train, folder / "states")
        again = command_line("tune", sys.argv[1:])
        parent = open_parent(config.tracking, "tune", f"tune {config.tuner.name}", digest, command=again, resume=True)
        try:
            with SweepProgress(config.tuner.max_trials, config.tuner.workers, Console(markup=False)) as progress:
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
    result = f"{summary(search)}; {session.ended}. The best {config.tuner.objective} is {best[1].score:.4f}"
    file = write_experiment(winner, config.tuner.save_as or f"{config.model.name}_{config.tuner.name}", [result])
    again = command_line("train", winner)
    if parent is not None:
        record(parent, search, best, again, pages)
    by_name = f"{typed('train')} experiment={file.stem}" if IN_CHECKOUT else f"as a config: {file}"
    print(f"{result}:\n  {again}\n  {by_name}\nreport: {pages}")
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
