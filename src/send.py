"""Send what runs could not tell their tracking server because it was away: `python -m src.send`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from src.errors import ConfigError, UserError


def send(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Folders that runs named; default: all there are.")
    ] = None,
) -> None:
    """Send the records that wait in mlruns/unsent, each to the server of its run, and remove them here."""
    from src.tracking import server

    waiting = folders or server.unsent_folders()
    for folder in waiting:
        if not (folder / server.ABOUT).exists():
            raise ConfigError(f"{folder}: holds no record of a run")
        run_id = server.send(folder)
        print(f"sent run {run_id}" if run_id else f"{folder}: its run is still going", flush=True)
    if not waiting:
        print("nothing waits")


def main() -> None:
    """Run the command on `sys.argv`; what the user can mend is one line, not a traceback."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(send)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
