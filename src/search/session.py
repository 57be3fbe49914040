"""Search from its config to its report and the experiment file that repeats its winner."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import tempfile
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
    shell_command,
)
from ..config.base import ENVIRONMENT, LAUNCH, SESSION, without_roles
from ..config.identity import Request, command_line, config_digest
from ..errors import ConfigError, SweepError, UserError
from ..sweeps.jobs import Train
from ..sweeps.parent import Parent, open_parent
from ..sweeps.runner import Runner, SweepProgress, worker_pool
from .oracle import Result, Search, Trial, create_oracle, minimized
from .report import record, report, summary
from .space import hyperparameters
from .trials import Compose, Trials

EXPERIMENTS = PROJECT_ROOT / "experiments"
SEARCHES = PROJECT_ROOT / "outputs" / "tune"
BUDGETS = ("max_trials", "max_minutes", "max_failures", "workers", "backend", "save_as")
"""Values of `tuner` that do not change which search it is."""


def best_trial(search: Search, objective: str) -> tuple[Trial, Result] | None:
    """Return the completed trial with the best finite score, the earliest of equals; None if there is none."""
    sign = 1 if minimized(objective) else -1
    scores = {
        key: result.score
        for key, result in search.results.items()
        if result.status == "completed" and result.score is not None and math.isfinite(result.score)
    }
    best = min(scores, key=lambda key: (sign * scores[key], key), default=None)
    return None if best is None else (search.trials[best], search.results[best])


@dataclass(frozen=True)
class Session:
    """A search that has ended, and why."""

    config: TuneConfig
    trials: Trials
    parent: Parent | None
    folder: Path
    ended: str


def run_search(config: TuneConfig, request: Request, base: Sequence[str], compose: Compose, train: Train) -> Session:
    """Run or continue the search of `config`; `base` are the overrides of every trial, which `train` runs.

    Its journal and the states of its trials are kept in `config.output`, or below outputs/tune. Raise SweepError.
    """
    check_name(config)
    digest = search_digest(config)
    folder = output_folder(config.output) if config.output else SEARCHES / digest
    with worker_pool(config.tuner.workers, folder / "logs", config.tuner.backend, config.cluster) as pool:
        oracle = create_oracle(config.tuner, hyperparameters(config.space), config.trainer.epochs)
        search = Search(oracle, folder / "journal.jsonl")
        trials = Trials(search, config.tuner, config.space, base, compose, train, folder / "states")
        data = {"dataset.name": [config.dataset.name], "dataset.source": [config.dataset.source]}
        parent = open_parent(
            config.tracking,
            "tune",
            f"tune {config.tuner.name}",
            digest,
            command=request.command,
            params={**data, "model.name": [config.model.name]},
            resume=True,
        )
        try:
            with SweepProgress(config.tuner.max_trials, Console(markup=False)) as progress:
                ended = trials.run(Runner(pool, parent, progress, base))
        except (KeyboardInterrupt, UserError) as error:
            if isinstance(error, KeyboardInterrupt):
                print(f"to go on with the search: {request.command}", file=sys.stderr)
            if parent is not None:
                parent.end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
    return Session(config, trials, parent, folder, ended)


def conclude(session: Session) -> tuple[Trial, Result]:
    """Report a search, write its winner's experiment and print its command. Raise SweepError if no trial completed."""
    config, search, parent = session.config, session.trials.search, session.parent
    best = best_trial(search, config.tuner.objective)
    pages = report(search, config, session.folder, ended=session.ended)
    if parent is not None:
        parent.end("FINISHED" if best else "FAILED")
    if best is None:
        reasons = {result.reason for result in [*search.results.values(), *search.deferred.values()]}
        raise SweepError(f"no trial completed: {summary(search)}; {'; '.join(sorted(reasons)[:3])}")
    winner = session.trials.overrides(best[0])
    result = f"{summary(search)}; {session.ended}. The best {config.tuner.objective} is {best[1].score:.4f}"
    again = Request.of("train", config, winner).command
    named = _write_winner(session, winner, result, pages)
    if parent is not None:
        record(parent, search, best, again, pages)
    print(f"{result}:\n  {again}\n  {named}\nreport: {pages}")
    return best


def _write_winner(session: Session, winner: Sequence[str], result: str, pages: Path) -> str:
    """Write the experiment of the winner's overrides into the report, and among the experiments as `tuner.save_as`
    says; give the command or path by which it runs.
    """
    body = experiment_text(winner)
    if not repeats(body, winner, session.trials.compose):
        return "(no experiment file: what it can hold would make another run than this command)"
    package, _, body = body.partition("\n")
    kept = without_roles(winner, Config, ENVIRONMENT, SESSION, LAUNCH)
    head = [f"# {result}", f"# Reproduce: {command_line('train', kept)}", _mark(session.config)]
    file, name = pages / "winner.yaml", session.config.tuner.save_as
    file.write_text("\n".join([package, *head, body]))
    if name is None:
        return f"{file}: as an experiment (tuner.save_as=NAME puts it among the experiments)"
    EXPERIMENTS.mkdir(exist_ok=True)  # a checkout has it, the working directory of an installed package may not
    saved = Path(shutil.copy(file, EXPERIMENTS / f"tuned_{name}.yaml"))
    return f"{shell_command('train')} experiment={saved.stem}" if IN_CHECKOUT else f"as a config: {saved}"


def _mark(config: TuneConfig) -> str:
    return f"# Search: {search_digest(config)}"


def check_name(config: TuneConfig) -> None:
    """Raise ConfigError where `tuner.save_as` names an experiment that this search has not written."""
    file = EXPERIMENTS / f"tuned_{config.tuner.save_as}.yaml"
    if config.tuner.save_as and file.exists() and _mark(config) not in file.read_text().splitlines():
        raise ConfigError(
            f"tuner.save_as={config.tuner.save_as}: {file} is there, and not of this search; name another"
        )


def search_digest(config: TuneConfig) -> str:
    """Return a digest that is equal for searches with the same values but for budgets and workers."""
    defaults = TunerConfig(config.tuner.name)
    tuner = replace(config.tuner, **{name: getattr(defaults, name) for name in BUDGETS})
    values = {**plain(replace(config, tuner=tuner, cluster=ClusterConfig(), output=None, print_config=False))}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def experiment_text(overrides: Sequence[str]) -> str:
    """Return the YAML of an experiment for the run of `overrides`, as far as YAML can: it has no `~key`.

    An experiment among the overrides becomes its base. Of a group given twice the last option counts, as on the command
    line. Where runs are recorded and cached is left to the person who runs it.
    """
    base: list[str] = []
    groups: dict[str, Any] = {}
    tree: dict[str, Any] = {}
    for override in OverridesParser.create().parse_overrides(
        without_roles(overrides, Config, ENVIRONMENT, SESSION, LAUNCH)
    ):
        key, value = override.key_or_group, override.value()
        if override.is_delete():
            continue
        if key == "experiment":
            base = [] if value is None else [f"/experiment/{value}"]
        elif (CONF / key).is_dir():
            groups[f"override /{key}"] = value
        else:
            _set(tree, key.split("."), value)
    defaults = [*base, *({group: option} for group, option in groups.items())]
    listed = {"defaults": [*defaults, "_self_"]} if defaults else {}
    return "# @package _global_\n" + yaml.safe_dump({**listed, **tree}, sort_keys=False)


def _set(tree: dict[str, Any], path: Sequence[Any], value: Any) -> None:
    """Put `value` at `path` into `tree`; a dictionary is merged into one that is there, as Hydra does."""
    for part in path[:-1]:
        if not isinstance(tree.get(part), dict):
            tree[part] = {}
        tree = tree[part]
    if isinstance(value, dict) and isinstance(tree.get(path[-1]), dict):
        for key, each in value.items():
            _set(tree[path[-1]], [key], each)
    else:
        tree[path[-1]] = value


def repeats(text: str, overrides: Sequence[str], compose: Compose) -> bool:
    """Return whether the experiment `text` makes the run of `overrides`."""
    with tempfile.TemporaryDirectory(prefix="happy-sad-experiment-") as folder:
        file = Path(folder) / "experiment" / f"{Path(folder).name}.yaml"
        file.parent.mkdir()
        file.write_text(text)
        try:
            made = compose([f"hydra.searchpath=['file://{folder}']", f"experiment={file.stem}"])
        except ConfigError:
            return False
    return config_digest(made) == config_digest(compose(overrides))
