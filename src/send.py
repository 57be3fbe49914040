"""Deliver what runs could not because their tracking store was away or locked: `python -m src.send`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .errors import ConfigError


def send(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders named by a run's message; default: all that wait.")
    ] = None,
) -> None:
    """Deliver what waits in mlruns/unsent to the store of its run, and remove it there."""
    from .tracking import delivery, spooled_run, store

    waiting = folders or delivery.unsent_folders(store.STORE / "unsent")
    for folder in waiting:
        if not (folder / spooled_run.ABOUT).exists():
            raise ConfigError(f"{folder}: holds no record of a run")
        run_id = delivery.send(folder)
        print(f"sent run {run_id}" if run_id else f"{folder}: its run is still going", flush=True)
    if not waiting:
        print("nothing is waiting to be sent")


main = typer_command(send)

if __name__ == "__main__":
    main()
