"""Writing one run: parameters, metrics, data sets, artifacts and the model."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from src.config import Config, plain
from src.errors import TrackingError
from src.tracking.store import DATA_TAG, open_store

if TYPE_CHECKING:
    import keras

    from src.data.prepared import PreparedDataset

SPLIT_CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}
MODEL_FILE = "model.keras"
DIGEST_TAG = "config.digest"


class Run:
    """A run whose record is a folder: what `tracking=off` gives, and what the MLflow run is filled from.

    Whatever is written below `folder` becomes an artifact when the run ends.
    """

    id: str | None = None

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Where to write the artifact `name`, its parent folders made."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at one step."""

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        """Show a picture, uint8 (height, width, 3), in the image chart `key`."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Attach or replace tags."""

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        """Record the three parts of the data set as inputs, each with its own digest."""

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        """Keep the trained model; `example` is one batch of pictures, float32 in 0..255."""
        model.save(self.path(MODEL_FILE))


class MlflowRun(Run):
    """A run in MLflow. Artifacts are uploaded by `upload`, when the run ends."""

    def __init__(self, folder: Path, mlflow: ModuleType, *, log_model: bool) -> None:
        super().__init__(folder)
        self.mlflow = mlflow
        self.id = mlflow.active_run().info.run_id
        self.keeps_model = log_model

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.mlflow.log_metrics({name: float(value) for name, value in metrics.items()}, step=step)

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        self.mlflow.log_image(image, key=key, step=step, synchronous=True)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.mlflow.set_tags(dict(tags))

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset

        for split, digest in dataset.split_digests.items():
            origin = CodeDatasetSource(tags={"source": source, "digest": dataset.digest})
            meta = MetaDataset(  # type: ignore[abstract]
                source=origin, name=f"{dataset.name}-{split}", digest=digest[:36]
            )
            self.mlflow.log_input(meta, context=SPLIT_CONTEXTS.get(split, split))
        self.set_tags({f"{DATA_TAG}.{split}": digest for split, digest in dataset.split_digests.items()})

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        if self.keeps_model:
            # MLflow tries the example on the model, and Keras shows a bar for it.
            with contextlib.redirect_stdout(io.StringIO()):
                _log_keras_model(self.mlflow, model, example)

    def upload(self) -> None:
        """Send the folder's files to the artifact store."""
        self.mlflow.log_artifacts(str(self.folder))


@contextlib.contextmanager
def start_run(config: Config, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run; it ends FINISHED, or FAILED (with the reason as the tag `failure`) when the body raises.

    The folder is `config.output`, or a temporary one that is gone afterwards. Ctrl-C ends the run as KILLED.
    """
    with _record_folder(config) as folder:
        if config.tracking.name == "off":
            yield Run(folder)
            return
        mlflow = open_store(config.tracking)
        tags = {**tags, DIGEST_TAG: config_digest(config)}
        parent = config.tracking.parent
        with mlflow.start_run(run_name=name, tags=tags, parent_run_id=parent, log_system_metrics=False):
            mlflow.log_params(flat_params(config))
            run = MlflowRun(folder, mlflow, log_model=config.tracking.log_model)
            try:
                yield run
            except KeyboardInterrupt:
                mlflow.end_run("KILLED")
                raise
            except Exception as error:
                mlflow.set_tag("failure", f"{type(error).__name__}: {error}"[:5000])
                raise
            run.upload()


def flat_params(config: Config) -> dict[str, str]:
    """The resolved config as dotted keys and text, lists as JSON: `model.filters` is `[16, 32, 16]`.

    `tracking`, `output` and the like say where and how a run is shown, not what it is, and are left out.
    """
    return dict(_flatten({key: value for key, value in plain(config).items() if key not in _NOT_THE_RUN}, ""))


def config_digest(config: Config) -> str:
    """32 hexadecimal digits that are equal for runs whose result must be the same."""
    params = {key: value for key, value in flat_params(config).items() if key not in _NOT_THE_RESULT}
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:32]


_NOT_THE_RUN = ("tracking", "sweep", "output", "print_config", "name")
_NOT_THE_RESULT = ("dataset.cache", "dataset.workers", "dataset.verify", "trainer.checkpoint")


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


@contextlib.contextmanager
def _record_folder(config: Config) -> Iterator[Path]:
    if config.output is None:
        with tempfile.TemporaryDirectory(prefix="happy-sad-") as temporary:
            yield Path(temporary)
        return
    folder = Path(config.output).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrackingError(f"output={config.output}: {error.strerror}") from error
    yield folder


def _log_keras_model(mlflow: ModuleType, model: keras.Model, example: np.ndarray) -> None:
    """Log the model with its signature. Requirements are named because guessing them takes MLflow ten seconds."""
    import keras
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    backend = keras.backend.backend()
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 1))]),
    )
    requirements = [f"{package}=={version(package)}" for package in ("keras", backend)]
    if backend == "tensorflow":
        mlflow.tensorflow.log_model(
            model, name="model", signature=signature, input_example=example, pip_requirements=requirements
        )
    else:  # mlflow.keras has no working input_example
        mlflow.keras.log_model(model, name="model", signature=signature, pip_requirements=requirements)
