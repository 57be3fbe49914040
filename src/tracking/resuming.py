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

from ..config import Config, TrackingConfig, plain, read_yaml, shell_command, to_config
from ..config.base import LAUNCH, SESSION, role_of
from ..config.identity import Request, config_digest
from ..errors import ConfigError, TrackingError
from .read import connect
from .run_folder import RunLink, is_free, locked, read_spooled_run
from .spool import sync, unsent_folders
from .store import checkpoints_root, unsent_root

CONFIG, REQUEST = "config.yaml", "request.json"
MAX_KEPT = 10


Resumed = tuple[Config, Request, RunLink | None]


@contextlib.contextmanager
def resume(config: Config, request: Request, link: RunLink | None = None) -> Iterator[Resumed]:
    """Give config, request and link of the run to go on with, as `config.resume` asks, and keep others from it while
    the context is open; without `config.resume` those given.

    `auto` finds the newest unfinished run of the same config that no process is at, and starts a new one where there is
    none; an id takes the recorded config with it, and of `config` only what is about this call. Raises ConfigError
    where the run left no checkpoint on this machine.
    """
    if config.resume is None:
        yield config, request, link
        return
    if config.tracking.name == "off":
        raise ConfigError(
            f"resume={config.resume}: nothing is recorded with tracking=off; use trainer.checkpoint=FOLDER"
        )
    with contextlib.ExitStack() as stack:
        checkpoint = (_newest_of if config.resume == "auto" else _named)(config, stack)
        if checkpoint is None:
            yield config, request, link
            return
        if config.resume != "auto":
            try:
                config = _read(checkpoint / CONFIG, config)
            except (OSError, ConfigError) as error:
                raise ConfigError(f"resume={config.resume}: {error}") from None
        yield config, _recorded_request(checkpoint, request), replace(link or RunLink(), resumed=checkpoint.name)


def _newest_of(config: Config, stack: contextlib.ExitStack) -> Path | None:
    """Lock the newest checkpoint of the same config that is free."""
    files = checkpoints_root(config.tracking).glob(f"*/{CONFIG}")
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        if _is_of(file, config):
            with contextlib.suppress(Timeout, OSError):
                stack.enter_context(locked(file.parent, CONFIG))
                if file.exists():  # else its run has finished just then
                    return file.parent
    return None


def _named(config: Config, stack: contextlib.ExitStack) -> Path:
    """Lock the checkpoint of the run that `config.resume` names. Raises ConfigError where there is none."""
    root, run_id = checkpoints_root(config.tracking), str(config.resume)
    found = sorted(file.parent.name for file in root.glob(f"*/{CONFIG}"))
    if run_id not in found:
        if _has_finished(config.tracking, run_id):
            raise ConfigError(
                f"resume={run_id}: this run has finished; to train it again: {shell_command('rerun')} run={run_id}"
            )
        known = f"; there are {', '.join(found)}" if found else ""
        raise ConfigError(f"resume={run_id}: no such unfinished run in {root}{known}")
    try:
        stack.enter_context(locked(root / run_id, CONFIG))
    except Timeout:
        raise ConfigError(f"resume={run_id}: this run is still going in another process") from None
    return root / run_id


def _has_finished(tracking: TrackingConfig, run_id: str) -> bool:
    try:
        mlflow = connect(tracking)
    except TrackingError:
        return False
    try:
        return bool(mlflow.get_run(run_id).info.status == "FINISHED")
    except mlflow.MlflowException:
        return False


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


def _read(file: Path, config: Config | None = None) -> Config:
    """A recorded config, the sections about this call from `config`. Raises ConfigError for one that is none."""
    try:
        tree = read_yaml(file)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file.name} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{file.name} holds no config")
    given = plain(config) if config else {}
    own = {name: value for name, value in given.items() if role_of(name, Config) in (SESSION, LAUNCH)}
    return to_config({**tree, **own}, Config)


@contextlib.contextmanager
def kept_checkpoint(config: Config, run_id: str, link: RunLink) -> Iterator[Path]:
    """The folder for the state of the run's fit, locked; it goes when the body is done, and stays where it fails.
    Raises TrackingError where another process is at the run.
    """
    root = checkpoints_root(config.tracking)
    folder = root / run_id
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if not link.resumed:  # else `resume` has locked it
            try:
                stack.enter_context(locked(folder, CONFIG))
            except Timeout:
                raise TrackingError(f"run {run_id} is still going in another process") from None
        partial = folder / f"{CONFIG}.partial"
        partial.write_text(yaml.safe_dump(plain(config), sort_keys=False))
        os.replace(partial, folder / CONFIG)
        yield folder
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # another process may be clearing up as well
        ended = sorted((other.stat().st_mtime, other) for other in root.iterdir() if is_free(other, CONFIG))
        for _, old in ended[:-MAX_KEPT]:
            shutil.rmtree(old, ignore_errors=True)


def under_way(tracking: TrackingConfig) -> set[str]:
    """Return the config digests of the store's runs that a process, on this machine or another, is at."""
    digests = set()
    for file in checkpoints_root(tracking).glob(f"*/{CONFIG}"):
        with contextlib.suppress(OSError, ConfigError):
            if not is_free(file.parent, CONFIG):
                digests.add(config_digest(_read(file)))
    return digests


def close_dead_runs(tracking: TrackingConfig) -> list[str]:
    """End the runs of this machine whose process is gone, as KILLED and with all that they had recorded; their ids.

    What a store does not take now stays where it is.
    """
    closed = []
    for folder in unsent_folders(unsent_root(tracking)):
        with contextlib.suppress(TrackingError, OSError, ValueError):
            if read_spooled_run(folder).host == socket.gethostname() and is_free(folder):
                closed.append(sync(folder))
    return [run_id for run_id in closed if run_id]
