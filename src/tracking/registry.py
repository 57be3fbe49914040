"""MLflow's model registry: versions of a model, and aliases that move between them and back."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import TrackingConfig
from ..errors import TrackingError
from . import model
from .model import bundle_place, model_arguments, packaged_code
from .read import RecordedRun, connect, download

if TYPE_CHECKING:
    from mlflow import MlflowClient

REMEMBERED = 100  # earlier holders of an alias; a tag's value has an end


@dataclass(frozen=True)
class Version:
    """A version of a registered model and the run that its model comes from."""

    name: str
    number: str
    run_id: str | None

    def __str__(self) -> str:
        return f"version {self.number}"


def holders(tracking: TrackingConfig, name: str, alias: str) -> list[Version]:
    """The versions that held the alias and are still there, the present one last; empty where none holds it."""
    client = _client(tracking)
    with _explained(f"models:/{name}@{alias}"):
        if alias not in _aliases(client, name):
            return []
        return [_version(client, name, number) for number in _kept(client, name, _history(client, name, alias))]


def _kept(client: MlflowClient, name: str, numbers: Sequence[str]) -> list[str]:
    there = {str(version.version) for version in client.search_model_versions(f"name = '{name}'")}
    return [number for number in numbers if number in there]


def add_version(tracking: TrackingConfig, run: RecordedRun, bundle: Path, keras_model: Path, name: str) -> Version:
    """Log the bundle's folder as a model of `run` that serves itself, with the `.keras` file that it was made from, and
    make it the newest version of `name`, with a description and the test scores as tags.
    """
    mlflow = connect(tracking)
    with _explained(f"name={name}"), _quiet(), packaged_code() as code:
        mlflow.set_experiment(experiment_id=mlflow.get_run(run.id).info.experiment_id)
        logged = mlflow.models.Model.log(
            artifact_path=None,
            flavor=model,
            flavor_name="python_function",
            keras_model=keras_model,
            name=name,
            run_id=run.id,  # a run that has ended stays as it is
            registered_model_name=name,
            await_registration_for=0,
            **model_arguments(bundle, code),
        )
    version = Version(name, str(logged.registered_model_version), run.id)
    client = _client(tracking)
    with _explained(f"name={name}"):
        if not client.get_registered_model(name).description:  # one that a person wrote stays
            client.update_registered_model(name, _model_description(run))
        client.update_model_version(name, version.number, _description(run, version))
        for key, score in scores_text(run).items():
            client.set_model_version_tag(name, version.number, key, score)
    return version


def scores_text(run: RecordedRun) -> dict[str, str]:
    """The run's test scores with their 95 % intervals as text: `test/accuracy` is `0.850 [0.762, 0.910]`."""
    found = run.metrics
    return {
        key: f"{found[key]:.3f} [{found[f'{key}_low']:.3f}, {found[f'{key}_high']:.3f}]"
        for key in sorted(found)
        if key.startswith("test/") and f"{key}_low" in found and f"{key}_high" in found
    }


def _model_description(run: RecordedRun) -> str:
    """Markdown for the page of all versions."""
    positive, negative = (run.params.get(f"dataset.{role}", role) for role in ("positive", "negative"))
    return f"""Labels images as {positive} or {negative}.

The tags of a version are its test scores with 95 % intervals. An alias moves to a version only if a paired comparison
on the same test images does not find it worse than the one that holds it."""


def _description(run: RecordedRun, version: Version) -> str:
    """Markdown for the version's page: which run it is, how good, and how it is loaded."""
    positive, side = run.params.get("dataset.positive", "class 1"), run.params.get("dataset.image_size", "side")
    accuracy = scores_text(run).get("test/accuracy", "not measured")
    uri = f"models:/{version.name}/{version.number}"
    return f"""{run.name}, run `{run.id}`. Test accuracy {accuracy} on {run.params.get("dataset.name", "its data")}.

    mlflow.pyfunc.load_model("{uri}").predict([open("photo.jpg", "rb").read()])
    mlflow.keras.load_model("{uri}")

The Keras model maps pixels from 0 to 255, float32 (n, {side}, {side}, 3), to the uncalibrated P({positive}).
The model labels the apparent expression in an image, not what a person feels."""


def move_alias(tracking: TrackingConfig, version: Version, alias: str, tags: Mapping[str, str]) -> None:
    """Give the alias to `version`, remember who held it, and tag the version: `ALIAS.KEY` for each of `tags`."""
    client = _client(tracking)
    with _explained(f"models:/{version.name}@{alias}"):
        for key, value in tags.items():
            client.set_model_version_tag(version.name, version.number, f"{alias}.{key}", value[:5000])
        held = _history(client, version.name, alias)
        _give(client, version.name, alias, [*held, version.number])


def roll_back(tracking: TrackingConfig, name: str, alias: str) -> tuple[Version, Version]:
    """Give the alias back to the version that held it before; that version, and the one that loses it.

    Versions deleted in the meantime are passed over. Raises TrackingError where none is left.
    """
    client = _client(tracking)
    with _explained(f"models:/{name}@{alias}"):
        if alias not in _aliases(client, name):
            raise TrackingError(f"models:/{name}@{alias}: no version holds this alias")
        held = _history(client, name, alias)
        earlier = _kept(client, name, held[:-1])
        if not earlier:
            raise TrackingError(f"models:/{name}@{alias}: no version held it before version {held[-1]}")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        client.set_model_version_tag(name, held[-1], f"{alias}.rolled_back", now)
        _give(client, name, alias, earlier)
        return _version(client, name, earlier[-1]), _version(client, name, held[-1])


def registered_bundle(tracking: TrackingConfig, which: str, keep: Path) -> Path | None:
    """The bundle inside the model that `models:/...` names, fetched once into `keep`; None where it has none.

    Raises TrackingError where there is no such model.
    """
    mlflow = connect(tracking)
    with _explained(which):
        info = mlflow.models.get_model_info(which)
    model_id, place = info.model_uuid, bundle_place(info.flavors)
    if place is None:
        return None
    if not re.fullmatch(r"[\w-]+", model_id):
        raise TrackingError(f"{which}: its id {model_id!r} cannot name a folder")
    kept = keep / model_id
    if not kept.is_dir():
        keep.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=keep) as temporary:
            fetched = download(f"{which}/{place}", Path(temporary))
            if fetched is None:
                raise TrackingError(f"{which}: its {place} cannot be fetched")
            with contextlib.suppress(OSError):  # another process was first
                fetched.rename(kept)
    return kept


def _give(client: MlflowClient, name: str, alias: str, held: list[str]) -> None:
    client.set_registered_model_tag(name, f"{alias}.history", " ".join(held[-REMEMBERED:]))
    client.set_registered_model_alias(name, alias, held[-1])


def _history(client: MlflowClient, name: str, alias: str) -> list[str]:
    """Versions that held the alias, the present one last, also where it was moved by hand meanwhile."""
    held = client.get_registered_model(name).tags.get(f"{alias}.history", "").split()
    present = _aliases(client, name).get(alias)
    return held if present is None or held[-1:] == [present] else [*held, present]


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    import mlflow

    try:
        aliases: Mapping[str, Any] = client.get_registered_model(name).aliases
    except mlflow.MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    return {alias: str(number) for alias, number in aliases.items()}


def _version(client: MlflowClient, name: str, number: str) -> Version:
    return Version(name, number, client.get_model_version(name, number).run_id or None)


def _client(tracking: TrackingConfig) -> MlflowClient:
    client: MlflowClient = connect(tracking).MlflowClient()
    return client


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    import mlflow

    try:
        yield
    except (mlflow.MlflowException, OSError) as error:
        raise TrackingError(f"{what}: {str(error).splitlines()[0]}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without MLflow's advice to give an input example and its notices of what it made."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
