"""Configs as the command line composes them."""

from __future__ import annotations

import shutil
from pathlib import Path

from hydra import initialize_config_dir

from src.cli.composition import compose_checked
from src.config import CONF, Config, ConfigType

BRIEF_EVALUATION = ["evaluation.resamples=100", "evaluation.explanations=0", "evaluation.pointing_images=0"]
BRIEF_EVALUATION += ["evaluation.figures=false"]  # of a run whose record a test does not look at
TINY = ["dataset.synthetic.count=48", "dataset.image_size=32", "trainer.batch_size=8", "trainer.epochs=2"]
TINY += BRIEF_EVALUATION


def private_places(folder: Path, empty_store: Path) -> list[str]:
    """Overrides that keep a run's store, a copy of the empty one, and its cache inside `folder`."""
    (folder / "store").mkdir()
    shutil.copy(empty_store, folder / "store" / "mlflow.db")
    return [f"tracking.uri=sqlite:///{folder}/store/mlflow.db", f"dataset.cache={folder}/cache"]


def compose_config(
    *overrides: str,
    schema: type[ConfigType] = Config,
    name: str = "config",  # type: ignore[assignment]
) -> ConfigType:
    """The checked config of a command, whose config file is `name`. Raises ConfigError."""
    with initialize_config_dir(str(CONF), version_base=None):
        return compose_checked(list(overrides), schema, name)
