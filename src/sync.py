"""Deliver what runs could not because their tracking store was away or locked: `python -m src.sync`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .config import TrackingConfig
from .errors import ConfigError


def sync(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders named by a run's message; default: all that wait.")
    ] = None,
) -> None:
    """Deliver what waits to the store of its run, and remove it here: what is in mlruns/unsent, and beside the SQLite
    store that MLFLOW_TRACKING_URI names.
    """
    from .tracking import spool
    from .tracking.run_folder import RUN_FILE

    waiting = folders or waiting_folders()
    for folder in waiting:
        if not (folder / RUN_FILE).exists():
            raise ConfigError(f"{folder}: holds no record of a run")
        run_id = spool.sync(folder)
        print(f"{folder}: its run is still going" if run_id is None else f"delivered run {run_id}", flush=True)
    if not waiting:
        print("nothing is waiting")


def waiting_folders() -> list[Path]:
    """List the waiting runs beside the project's own store and the one that MLFLOW_TRACKING_URI names."""
    from .tracking.spool import unsent_folders
    from .tracking.store import GIVEN_STORE, STORE, unsent_root

    given = TrackingConfig("local", uri=os.environ.get(GIVEN_STORE))
    roots = {STORE / "unsent", unsent_root(given)}
    return [folder for root in sorted(roots) for folder in unsent_folders(root)]


main = typer_command(sync)

if __name__ == "__main__":
    main()
