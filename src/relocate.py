"""Mend a local store of runs whose folder was renamed or moved: `python -m src.relocate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .cli.typer_command import typer_command
from .config import TrackingConfig
from .errors import ConfigError


def relocate(
    database: Annotated[Path | None, typer.Argument(help="The store's mlflow.db; default: the project's own.")] = None,
) -> None:
    """Update the artifact paths of a store that was moved: they are now in the folder `artifacts` next to it."""
    from .tracking.read import relocate as relocate_store

    if database is not None and not database.is_file():
        raise ConfigError(f"{database}: no such file; name a store's mlflow.db")
    uri = None if database is None else f"sqlite:///{database.absolute()}"
    earlier = relocate_store(TrackingConfig("local", uri))
    print(
        f"its artifacts were recorded below {earlier.removeprefix('file://')}, now they are beside it"
        if earlier
        else "it was not moved"
    )


main = typer_command(relocate)

if __name__ == "__main__":
    main()
