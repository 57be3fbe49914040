"""A run in MLflow: made or taken up again, recorded while it goes, ended with its status.

A run never waits for its store and loses nothing to it. Whatever it records stands on disk first, in a folder of its
own below `unsent` (events, images, the model, and the files that become artifacts); a thread delivers events as they
come, and the rest when the run ends. Where the store is away or locked by then, `python -m src.sync` delivers it later.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ..config import Config, TrackingConfig, output_folder, shell_command
from ..config.identity import config_digest, flat_params
from ..errors import DISK_FULL, TrackingError
from .provenance import PREFIX, system_metrics
from .resuming import close_dead_runs, kept_checkpoint
from .run_folder import LOCK, TAG, RunLink, SpooledRun, write_spooled_run
from .spool import (
    MODEL,
    Event,
    Spool,
    complete,
    deliver,
    discard,
    milliseconds,
)
from .store import (
    DATA_TAG,
    DIGEST_TAG,
    GIVEN_RUN,
    JOB_TAG,
    PARENT_TAG,
    check_artifacts,
    check_given_run,
    checked_id,
    checkpoints_root,
    first_line,
    open_store,
    store_errors,
    tracking_uri,
    unsent_root,
)

if TYPE_CHECKING:
    import keras

    from ..data.prepared import PreparedDataset


# How MLflow names the files of an image chart; `~` is `/` there.
SHOWN_IMAGE = re.compile(r"(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.+\.png")


@dataclass(frozen=True)
class StartedRun:
    """A run made in MLflow; `recorded` and `shown` are the metrics and images, as (key, step), that an earlier
    attempt at it has left.
    """

    run_id: str
    recorded: frozenset[tuple[str, int]] = frozenset()
    shown: frozenset[tuple[str, int]] = frozenset()

    def new_metrics(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of `metrics` that are not recorded yet."""
        return {name: float(value) for name, value in metrics.items() if (name, step) not in self.recorded}


def begin_run(mlflow: ModuleType, config: Config, name: str, tags: Mapping[str, str], link: RunLink) -> StartedRun:
    """Make the run that `config` describes, below its parent and with its parameters, or take up the job's own, or
    record into the run that MLFLOW_RUN_ID names. Raises TrackingError where that one is not in the experiment.
    """
    from mlflow.tracking.context.registry import resolve_tags  # who, from where, by which command

    client, given = mlflow.MlflowClient(), None
    if link == RunLink() and (given := check_given_run(mlflow, config.tracking)):
        os.environ.pop(GIVEN_RUN)  # one run only, as MLflow's own functions do
    experiment = client.get_experiment_by_name(config.tracking.experiment).experiment_id
    links = {PARENT_TAG: link.parent or _active_run(mlflow), JOB_TAG: link.job}
    tags = {**tags, DIGEST_TAG: config_digest(config), **{key: value for key, value in links.items() if value}}
    if link.resumed:
        return _take_up(config.tracking, client, client.get_run(link.resumed), tags)
    earlier = client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{link.job}'", max_results=1) if link.job else []
    if earlier:
        return _take_up(config.tracking, client, earlier[0], tags)
    tags = resolve_tags(dict(tags))
    run_id = checked_id(given or client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    params = [mlflow.entities.Param(key, value) for key, value in flat_params(config).items()]
    client.log_batch(run_id, params=params, tags=[mlflow.entities.RunTag(*tag) for tag in tags.items() if given])
    if given:
        client.update_run(given, status="RUNNING")
    return StartedRun(run_id)


def _active_run(mlflow: ModuleType) -> str | None:
    """The id of the run that the caller has begun in this store by MLflow's own `start_run`; None without one."""
    active = mlflow.active_run()
    with contextlib.suppress(mlflow.MlflowException):
        return str(mlflow.get_run(active.info.run_id).info.run_id) if active else None
    return None


def _take_up(tracking: TrackingConfig, client: Any, run: Any, tags: Mapping[str, str]) -> StartedRun:
    """Go on with a run that an earlier attempt has begun: nothing that it recorded is recorded again."""
    run_id = checked_id(run.info.run_id)
    check_artifacts(tracking, run.info.artifact_uri)
    for key in (TAG, PARENT_TAG, JOB_TAG):
        if key in tags:
            client.set_tag(run_id, key, tags[key])
    if "failure" in run.data.tags:
        client.delete_tag(run_id, "failure")  # that of the attempt before
    client.update_run(run_id, status="RUNNING")
    histories = (client.get_metric_history(run_id, key) for key in run.data.metrics)
    names = (Path(item.path).name for item in client.list_artifacts(run_id, "images"))
    images = (SHOWN_IMAGE.match(name) for name in names)
    return StartedRun(
        run_id,
        frozenset((point.key, point.step) for history in histories for point in history),
        frozenset((match["key"].replace("~", "/"), int(match["step"])) for match in images if match),
    )


PATIENCE_SECONDS = 15.0


class Run:
    """A run whose record is a folder: all there is with `tracking=off`.

    Whatever is written below `folder` becomes an artifact when the run ends.
    """

    id: str | None = None
    checkpoint: Path | None = None
    """Where the state of the run's fit is kept until the run is finished."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the path for the artifact `name`, and make its parent folders."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers at one step."""

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        """Show an image, uint8 (height, width, 3), in the image chart `key`."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Attach or replace tags."""

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        """Record the three splits of the data set as inputs, each with its own digest."""

    def log_model(self, model: keras.Model) -> None:
        """Keep the trained model."""
        model.save(self.path(MODEL))


class TrackedRun(Run):
    """A run in MLflow. Each call keeps an event on disk and returns; a thread delivers it.

    As a context it ends the run: FINISHED, KILLED by Ctrl-C, else FAILED with the reason as the tag `failure`. Raises
    TrackingError from the first call after the store has rejected an event.
    """

    def __init__(
        self, config: Config, mlflow: ModuleType, started: StartedRun, about: SpooledRun, folder: Path, *, alone: bool
    ) -> None:
        super().__init__(about.record)
        self.id, self.config, self.mlflow, self.started, self.about = about.run, config, mlflow, started, about
        self.spool = Spool(folder, lambda events: deliver(mlflow, about.run, folder, events))
        self.sampling = contextlib.ExitStack()
        self.alone = alone

    def __enter__(self) -> TrackedRun:
        if self.config.tracking.system_metrics:
            steps = [step for key, step in self.started.recorded if key.startswith(PREFIX)]
            self.sampling.enter_context(system_metrics(self.about.run, self._keep, max(steps, default=-1) + 1))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.sampling.close()
        status = "FINISHED" if kind is None else "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
        if isinstance(error, Exception):
            with contextlib.suppress(OSError):  # the same full disk, perhaps
                self.spool.add({"tags": {"failure": f"{type(error).__name__}: {error}"[:5000]}})
        try:
            self.spool.add({"end": status, "time": milliseconds()})
        except OSError as full:
            self.spool.close(PATIENCE_SECONDS)
            print(f"{self.spool.folder}: {full.strerror}; the next run here closes run {self.id}", file=sys.stderr)
        else:
            self._finish()
        if status == "KILLED" and self.alone:
            print(f"to go on with the run: {shell_command('train')} resume={self.id}", file=sys.stderr)

    def _finish(self) -> None:
        """Deliver what is left, or say how to do it later."""
        spool, reason = self.spool, ""
        if spool.close(PATIENCE_SECONDS):
            try:
                complete(self.mlflow, self.about, spool.folder, self.about.record)
            except store_errors() as error:
                reason = first_line(error)
        reason = reason or spool.rejected or ("" if spool.delivered else spool.reason or "it does not answer")
        if reason:
            print(
                f"the tracking store does not have all of run {self.id} ({reason}); the rest waits in "
                f"{spool.folder}: {shell_command('sync')} {shlex.quote(str(spool.folder))}",
                file=sys.stderr,
            )
        else:
            discard(spool.folder)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self._add({"metrics": self.started.new_metrics(metrics, step), "step": step, "time": milliseconds()})

    def log_image(self, key: str, image: np.ndarray, step: int) -> None:
        from PIL import Image

        if (key, step) in self.started.shown:
            return
        file = self.spool.folder / "images" / f"{key}-{step}.png".replace("/", "_")
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(file)
        name = str(file.relative_to(self.spool.folder))
        self._add({"image": name, "key": key, "step": step, "time": milliseconds()})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._add({"tags": dict(tags)})

    def log_dataset(self, dataset: PreparedDataset, source: str) -> None:
        splits = dict(dataset.split_digests)
        self._add({"dataset": dataset.name, "digest": dataset.digest, "splits": splits, "source": source})
        self.set_tags({f"{DATA_TAG}.{split}": digest for split, digest in splits.items()})

    def log_model(self, model: keras.Model) -> None:
        if self.config.tracking.log_model:  # delivered when the run ends
            super().log_model(model)

    def _keep(self, metrics: Mapping[str, float], step: int) -> None:
        self.spool.add({"metrics": dict(metrics), "step": step, "time": milliseconds()})

    def _add(self, event: Event) -> None:
        if self.spool.rejected:
            raise TrackingError(f"the tracking store rejects what run {self.id} recorded: {self.spool.rejected}")
        self.spool.add(event)


@contextlib.contextmanager
def start_run(config: Config, name: str, tags: Mapping[str, str], link: RunLink | None = None) -> Iterator[Run]:
    """Open a run, or take one up again as `link` says; see `TrackedRun` for how it ends.

    `Run.folder` is `config.output`, or a temporary one that is gone afterwards. Raises TrackingError where the store
    cannot be used at the start, and for a disk that is full by then or later.
    """
    off = config.tracking.name == "off"
    try:
        with contextlib.ExitStack() as stack:
            if off:
                temporary = tempfile.TemporaryDirectory(prefix="happy-sad-")
                output = None if config.output is None else output_folder(config.output)
                yield Run(output or Path(stack.enter_context(temporary)))
                return
            yield stack.enter_context(_started(config, name, tags, link, stack))
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        where = error.filename2 or error.filename or "the record of the run"
        onward = "start again" if off else "go on with the run: resume=auto"
        raise TrackingError(f"{where}: {error.strerror}; make room and {onward}") from None


def _started(
    config: Config, name: str, tags: Mapping[str, str], link: RunLink | None, stack: contextlib.ExitStack
) -> TrackedRun:
    """Make the run's folder on disk, which stays locked while `stack` is open, and then the run in the store."""
    mlflow = open_store(config.tracking, patient=link is not None)
    for closed in close_dead_runs(config.tracking):
        if link is None or closed != link.resumed:
            kept = (checkpoints_root(config.tracking) / closed).exists()
            onward = f"; resume={closed} goes on with it" if kept else ""
            print(f"run {closed}, whose process was gone, is closed{onward}")
    link = link or RunLink()
    folder = unsent_root(config.tracking) / uuid.uuid4().hex  # each attempt has its own
    folder.mkdir(parents=True)
    stack.enter_context(FileLock(folder / LOCK))  # before it can be found: whoever finds it unlocked closes it
    record = folder / "record" if config.output is None else output_folder(config.output)
    record.mkdir(exist_ok=True)
    (record / MODEL).unlink(missing_ok=True)  # another run's
    uri = tracking_uri(config.tracking)
    about = SpooledRun("", uri, config.tracking.experiment, record.resolve(), backend=tags.get("backend", ""))
    write_spooled_run(folder, about)  # before the run: where this process ends meanwhile, the next start closes it
    try:
        started = begin_run(mlflow, config, name, {**tags, TAG: folder.name}, link)
    except store_errors() as error:
        raise TrackingError(f"no run can be made at {uri}: {first_line(error)}") from error
    about = replace(about, run=started.run_id)
    write_spooled_run(folder, about)
    run = TrackedRun(config, mlflow, started, about, folder, alone=link == RunLink(resumed=link.resumed))
    run.checkpoint = stack.enter_context(kept_checkpoint(config, started.run_id, link))
    return run
