"""Making a run in MLflow, or taking up one that was begun before."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..config import Config
from ..config.identity import config_digest, flat_params
from .announcements import TAG
from .link import RunLink
from .store import GIVEN_RUN, check_given_run, checked_id

# How MLflow names the files of an image chart; `~` is `/` there.
SHOWN_IMAGE = re.compile(r"(?P<key>.+)\+step\+(?P<step>\d+)\+timestamp\+.+\.png")
DIGEST_TAG, PARENT_TAG, JOB_TAG = "config.digest", "mlflow.parentRunId", "sweep.job"


@dataclass(frozen=True)
class Begun:
    """A run made in MLflow; `recorded` and `shown` are the metrics and images, as (key, step), that an earlier
    attempt at it has left.
    """

    run_id: str
    recorded: frozenset[tuple[str, int]] = frozenset()
    shown: frozenset[tuple[str, int]] = frozenset()

    def news(self, metrics: Mapping[str, float], step: int) -> dict[str, float]:
        """Those of `metrics` that are not recorded yet."""
        return {name: float(value) for name, value in metrics.items() if (name, step) not in self.recorded}


def begin_run(mlflow: ModuleType, config: Config, name: str, tags: Mapping[str, str], link: RunLink) -> Begun:
    """Make the run that `config` describes, below its parent and with its parameters, or take up the job's own, or
    record into the run that MLFLOW_RUN_ID names. Raises TrackingError where that one is not in the experiment.
    """
    from mlflow.tracking.context.registry import resolve_tags  # who, from where, by which command

    client, given = mlflow.MlflowClient(), None
    if link == RunLink() and (given := check_given_run(mlflow, config.tracking)):
        os.environ.pop(GIVEN_RUN)  # one run only, as MLflow's own functions do
    experiment = client.get_experiment_by_name(config.tracking.experiment).experiment_id
    links = {PARENT_TAG: link.parent, JOB_TAG: link.job}
    tags = {**tags, DIGEST_TAG: config_digest(config), **{key: value for key, value in links.items() if value}}
    if link.resumed:
        return _take_up(client, client.get_run(link.resumed), tags)
    earlier = client.search_runs([experiment], f"tags.`{JOB_TAG}` = '{link.job}'", max_results=1) if link.job else []
    if earlier:
        return _take_up(client, earlier[0], tags)
    tags = resolve_tags(dict(tags))
    run_id = checked_id(given or client.create_run(experiment, tags=tags, run_name=name).info.run_id)
    params = [mlflow.entities.Param(key, value) for key, value in flat_params(config).items()]
    client.log_batch(run_id, params=params, tags=[mlflow.entities.RunTag(*tag) for tag in tags.items() if given])
    if given:
        client.update_run(given, status="RUNNING")
    return Begun(run_id)


def _take_up(client: Any, run: Any, tags: Mapping[str, str]) -> Begun:
    """Go on with a run that an earlier attempt has begun: nothing that it recorded is recorded again."""
    run_id = checked_id(run.info.run_id)
    for key in (TAG, PARENT_TAG, JOB_TAG):
        if key in tags:
            client.set_tag(run_id, key, tags[key])
    if "failure" in run.data.tags:
        client.delete_tag(run_id, "failure")  # that of the attempt before
    client.update_run(run_id, status="RUNNING")
    histories = (client.get_metric_history(run_id, key) for key in run.data.metrics)
    names = (Path(item.path).name for item in client.list_artifacts(run_id, "images"))
    images = (SHOWN_IMAGE.match(name) for name in names)
    return Begun(
        run_id,
        frozenset((point.key, point.step) for history in histories for point in history),
        frozenset((match["key"].replace("~", "/"), int(match["step"])) for match in images if match),
    )
