"""Deliver what runs could not because their tracking store was away or locked: `python -m src.send`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .config import TrackingConfig
from .errors import ConfigError


def send(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders named by a run's message; default: all that wait.")
    ] = None,
) -> None:
    """Deliver what waits to the store of its run, and remove it here: what is in mlruns/unsent, and beside the SQLite
    store that MLFLOW_TRACKING_URI names.
    """
    from .tracking import delivery, spooled_run

    waiting = folders or waiting_folders()
    for folder in waiting:
        if not (folder / spooled_run.ABOUT).exists():
            raise ConfigError(f"{folder}: holds no record of a run")
        run_id = delivery.send(folder)
        print(f"sent run {run_id}" if run_id else f"{folder}: its run is still going", flush=True)
    if not waiting:
        print("nothing is waiting to be sent")


def waiting_folders() -> list[Path]:
    """What waits beside the project's own store and the one that MLFLOW_TRACKING_URI names."""
    from .tracking import delivery, store

    given = TrackingConfig("local", uri=os.environ.get(store.GIVEN_STORE))
    roots = {store.STORE / "unsent", store.unsent_root(given)}
    return [folder for root in sorted(roots) for folder in delivery.unsent_folders(root)]


main = typer_command(send)

if __name__ == "__main__":
    main()
