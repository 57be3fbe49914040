"""Writing one run: parameters, metrics, data sets, artifacts and the model."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config, plain
from ..errors import TrackingError
from .entities import dataset_inputs, log_keras_model
from .link import RunLink
from .store import DATA_TAG, on_a_server, open_store

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset

# How MLflow names the files of an image chart; `~` is `/` there.
SHOWN_PICTURE = re.compile(r"(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.+\.png")
MODEL_FILE = "model.keras"
DIGEST_TAG, PARENT_TAG, JOB_TAG = "config.digest", "mlflow.parentRunId", "sweep.job"


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


@dataclass(frozen=True)
class Begun:
    """A run made in MLflow; `recorded` and `shown` are the metrics and pictures, as (key, step), that an earlier
    attempt at it has left.
    """

    run_id: str
    recorded: frozenset[tuple[str, int]] = frozenset()
    shown: frozenset[tuple[str, int]] = frozenset()

    def news(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of `metrics` that are not recorded yet."""
        return {name: float(value) for name, value in metrics.items() if (name, step) not in self.recorded}


class MlflowRun(Run):
    """A run in MLflow, written as it goes. Artifacts are uploaded by `upload`, when the run ends."""

    def __init__(self, folder: Path, mlflow: ModuleType, begun: Begun, *, log_model: bool) -> None:
        super().__init__(folder)
        self.mlflow, self.begun, self.keeps_model = mlflow, begun, log_model
        self.id = begun.run_id

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.mlflow.log_metrics(self.begun.news(metrics, step), step=step)

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        if (key, step) not in self.begun.shown:
            self.mlflow.log_image(image, key=key, step=step, synchronous=True)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.mlflow.set_tags(dict(tags))

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        inputs = dataset_inputs(dataset.name, dataset.digest, dataset.split_digests, source)
        self.mlflow.MlflowClient().log_inputs(self.id, inputs)
        self.set_tags(data_tags(dataset.split_digests))

    def log_model(self, model: keras.Model, example: np.ndarray) -> None:
        if self.keeps_model:
            log_keras_model(self.mlflow, model, example)

    def upload(self) -> None:
        """Send the folder's files to the artifact store."""
        self.mlflow.log_artifacts(str(self.folder))


@contextlib.contextmanager
def start_run(config: Config, name: str, tags: Mapping[str, str], link: RunLink | None = None) -> Iterator[Run]:
    """Open a run; it ends FINISHED, or FAILED (with the reason as the tag `failure`) when the body raises.

    The folder is `config.output`, or a temporary one that is gone afterwards. On a tracking server the run outlives the
    server's absence: see `src.tracking.server`. Ctrl-C ends the run as KILLED.
    """
    if config.tracking.name != "off" and on_a_server(config.tracking):
        from .server import start_server_run

        with start_server_run(config, name, tags, link) as server_run:
            yield server_run
        return
    with _record_folder(config) as folder:
        if config.tracking.name == "off":
            yield Run(folder)
            return
        mlflow = open_store(config.tracking, patient=link is not None)
        begun = begin_run(mlflow, config, name, tags, link)
        with mlflow.start_run(run_id=begun.run_id, log_system_metrics=False):
            run = MlflowRun(folder, mlflow, begun, log_model=config.tracking.log_model)
            try:
                yield run
            except KeyboardInterrupt:
                mlflow.end_run("KILLED")
                raise
            except Exception as error:
                mlflow.set_tags(failure_tag(error))
                raise
            run.upload()


def begin_run(
    mlflow: ModuleType, config: Config, name: str, tags: Mapping[str, str], link: RunLink | None = None
) -> Begun:
    """Make the run that `config` describes, below its parent and with its parameters.

    A job of a sweep that is begun again, because its machine was lost, goes on in the run that it had.
    """
    from mlflow.tracking.context.registry import resolve_tags  # who, from where, by which command

    client, link = mlflow.MlflowClient(), link or RunLink()
    experiment = client.get_experiment_by_name(config.tracking.experiment).experiment_id
    links = {PARENT_TAG: link.parent, JOB_TAG: link.job}
    tags = {**tags, DIGEST_TAG: config_digest(config), **{key: value for key, value in links.items() if value}}
    query = f"tags.`{JOB_TAG}` = '{link.job}'"
    earlier = client.search_runs([experiment], query, max_results=1) if link.job else []
    if earlier:
        run_id = earlier[0].info.run_id
        client.update_run(run_id, status="RUNNING")
        return Begun(run_id, _recorded(client, earlier[0]), _shown(client, run_id))
    run_id = client.create_run(experiment, tags=resolve_tags(dict(tags)), run_name=name).info.run_id
    client.log_batch(run_id, params=[mlflow.entities.Param(key, value) for key, value in flat_params(config).items()])
    return Begun(run_id)


def _recorded(client: Any, run: Any) -> frozenset[tuple[str, int]]:
    histories = (client.get_metric_history(run.info.run_id, key) for key in run.data.metrics)
    return frozenset((point.key, point.step) for history in histories for point in history)


def _shown(client: Any, run_id: str) -> frozenset[tuple[str, int]]:
    names = (Path(item.path).name for item in client.list_artifacts(run_id, "images"))
    found = (SHOWN_PICTURE.match(name) for name in names)
    return frozenset((match["key"].replace("~", "/"), int(match["step"])) for match in found if match)


def data_tags(split_digests: Mapping[str, str]) -> dict[str, str]:
    """By which runs on the same pictures are found."""
    return {f"{DATA_TAG}.{split}": digest for split, digest in split_digests.items()}


def failure_tag(error: Exception) -> dict[str, str]:
    """Why a run failed, as its tag."""
    return {"failure": f"{type(error).__name__}: {error}"[:5000]}


def flat_params(config: Config) -> dict[str, str]:
    """The resolved config as dotted keys and text, lists as JSON: `model.filters` is `[16, 32, 16]`.

    `tracking`, `output` and the like say where and how a run is shown, not what it is, and are left out.
    """
    return dict(_flatten({key: value for key, value in plain(config).items() if key not in _NOT_THE_RUN}, ""))


def config_digest(config: Config) -> str:
    """32 hexadecimal digits that are equal for runs whose result must be the same."""
    params = {key: value for key, value in flat_params(config).items() if key not in _NOT_THE_RESULT}
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:32]


_NOT_THE_RUN = ("tracking", "sweep", "cluster", "objective", "output", "print_config", "name")
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
