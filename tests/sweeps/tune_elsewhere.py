"""`src.tune` that writes its winner's experiment to the folder EXPERIMENTS."""

from __future__ import annotations

import os
from pathlib import Path

from src import tune
from src.search import session


def main() -> None:
    session.EXPERIMENTS = Path(os.environ["EXPERIMENTS"])
    tune.main()
