"""Going on with a run whose process ended before it did: `resume=auto` or `resume=RUN_ID`.

While a run goes, its config and the state of its fit stand in a folder of its own, `checkpoints/RUN_ID` beside the
store; the folder goes when the run is finished. A run is closed as KILLED at the next start on its machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from filelock import Timeout

from ..config import Config, TrackingConfig, plain, to_config
from ..config.base import LAUNCH, SESSION, role_of
from ..config.identity import Request, config_digest
from ..errors import ConfigError, TrackingError
from .read import open_experiment
from .run_folder import RunLink, close_announced, read_spooled_run
from .spool import locked, send, unsent_folders
from .store import DIGEST_TAG, checkpoints_root, unsent_root

CONFIG, REQUEST = "config.yaml", "request.json"
MAX_KEPT = 10


def resume(config: Config, request: Request, link: RunLink | None = None) -> tuple[Config, Request, RunLink | None]:
    """Return config, request and link of the run to go on with, as `config.resume` asks; without it those given.

    `auto` finds the newest unfinished run of the same config, and starts a new one where there is none; an id takes the
    recorded config with it, and of `config` only what is about this call. Raises ConfigError where the run left no
    checkpoint on this machine.
    """
    if config.resume is None:
        return config, request, link
    if config.tracking.name == "off":
        raise ConfigError(
            f"resume={config.resume}: nothing is recorded with tracking=off; use trainer.checkpoint=FOLDER"
        )
    root, going = checkpoints_root(config.tracking), running(config.tracking)
    if config.resume in going:
        raise ConfigError(f"resume={config.resume}: this run is still going in another process")
    found = {file.parent.name: file for file in root.glob(f"*/{CONFIG}") if file.parent.name not in going}
    if config.resume == "auto":
        same = [file for file in found.values() if _is_of(file, config)]
        newest = max(same, key=lambda file: file.stat().st_mtime, default=None)
        if newest is None:
            return config, request, link
        run_id = newest.parent.name
    else:
        run_id = config.resume
        if run_id not in found:
            known = f"; there are {', '.join(sorted(found))}" if found else ""
            raise ConfigError(f"resume={run_id}: no such unfinished run in {root}{known}")
        try:
            config = _read(found[run_id], config)
        except (OSError, ConfigError) as error:
            raise ConfigError(f"resume={run_id}: {error}") from None
    return config, _recorded_request(root / run_id, request), replace(link or RunLink(), resumed=run_id)


def _is_of(file: Path, config: Config) -> bool:
    try:
        return config_digest(_read(file, config)) == config_digest(config)
    except (OSError, ConfigError) as error:
        print(f"{file.parent}: no run to resume ({error})", flush=True)
        return False


def keep_request(checkpoint: Path, request: Request) -> None:
    """Keep the request that began a run, which names it and is its command, beside the state of its fit."""
    (checkpoint / REQUEST).write_text(json.dumps(asdict(request)))


def _recorded_request(checkpoint: Path, request: Request) -> Request:
    try:
        recorded = json.loads((checkpoint / REQUEST).read_text())
        return Request(recorded["name"], recorded["command"], tuple(recorded["overrides"]))
    except (OSError, ValueError, TypeError, KeyError):  # none yet, or half written when its process was killed
        return request


def _read(file: Path, config: Config) -> Config:
    """A recorded config with the sections about this call from `config`. Raises ConfigError for one that is none."""
    try:
        tree = yaml.safe_load(file.read_text())
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file.name} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file.name} holds no config")
    own = {name: value for name, value in plain(config).items() if role_of(name, Config) in (SESSION, LAUNCH)}
    return to_config({**tree, **own}, Config)


@contextlib.contextmanager
def kept_checkpoint(config: Config, run_id: str) -> Iterator[Path]:
    """The folder for the state of the run's fit; it goes when the body is done, and stays where the body fails."""
    root = checkpoints_root(config.tracking)
    folder = root / run_id
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{CONFIG}.partial"
    partial.write_text(yaml.safe_dump(plain(config), sort_keys=False))
    os.replace(partial, folder / CONFIG)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    going = running(config.tracking)
    with contextlib.suppress(OSError):  # another process may be clearing up as well
        ended = sorted((other.stat().st_mtime, other) for other in root.iterdir() if other.name not in going)
        for _, old in ended[:-MAX_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def running(tracking: TrackingConfig) -> set[str]:
    """The ids of the store's runs whose process, on this machine or another, is still there."""
    folders = unsent_folders(unsent_root(tracking))
    return {folder.name.rpartition("-")[0] for folder in folders if not _is_free(folder)}


def under_way(tracking: TrackingConfig) -> set[str]:
    """The config digests of the experiment's runs that another process is at."""
    going = running(tracking)
    if not going:
        return set()
    mlflow, experiment_id = open_experiment(tracking)
    found = mlflow.MlflowClient().search_runs([experiment_id], "attributes.status = 'RUNNING'")
    return {run.data.tags.get(DIGEST_TAG, "") for run in found if run.info.run_id in going}


def close_dead_runs(tracking: TrackingConfig) -> list[str]:
    """End the runs of this machine whose process is gone, as KILLED and with all that they had recorded; their ids.

    What a store does not take now stays where it is.
    """
    closed = []
    for folder in unsent_folders(unsent_root(tracking)):
        with contextlib.suppress(TrackingError, OSError, ValueError):
            if _is_dead(folder):
                closed.append(send(folder))
    return [run_id for run_id in closed if run_id] + close_announced(tracking)


def _is_dead(folder: Path) -> bool:
    return read_spooled_run(folder).host == socket.gethostname() and _is_free(folder)


def _is_free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except (FileNotFoundError, FileExistsError):  # its folder was removed just then
        return True
    except Timeout:
        return False
