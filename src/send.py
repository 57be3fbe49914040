"""Send what runs could not tell their tracking server because it was away: `python -m src.send`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .errors import ConfigError


def send(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders that runs named; default: all there are.")
    ] = None,
) -> None:
    """Send the records that wait in mlruns/unsent, each to the server of its run, and remove them here."""
    from .tracking import server

    waiting = folders or server.unsent_folders()
    for folder in waiting:
        if not (folder / server.ABOUT).exists():
            raise ConfigError(f"{folder}: holds no record of a run")
        run_id = server.send(folder)
        print(f"sent run {run_id}" if run_id else f"{folder}: its run is still going", flush=True)
    if not waiting:
        print("nothing waits")


main = typer_command(send)

if __name__ == "__main__":
    main()
