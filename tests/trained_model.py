"""One small trained model and its bundle, made once for all tests of using a model."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from src.config import ExportConfig, TrackingConfig
from src.conversion import opening
from src.detection.faces import BLAZEFACE
from src.evaluation import recorded
from src.runtime.bundle import CARD, Bundle, Fusion, Scene, open_bundle, write_manifest
from src.synthetic.faces import draw_face
from src.tracking.read import find_run, model_folder
from tests.composing import BRIEF_EVALUATION, compose_config

SMALL = ["dataset=photos", "dataset.image_size=32", "dataset.near_duplicate_distance=null", "model.filters=[8,16]"]
SMALL += ["model.dense=[16]", "optimizer.learning_rate=0.003", "trainer.epochs=6", "trainer.batch_size=16"]
SMALL += ["trainer.early_stopping=0", "evaluation.slices=false", *BRIEF_EVALUATION]


def write_light_and_dark(folder: Path) -> None:
    """Happy images are light and sad ones dark: what a small model learns in seconds, whatever its seed."""
    random = np.random.default_rng(0)
    for name, level in (("happy", 170), ("sad", 85)):
        (folder / name).mkdir(parents=True)
        for index in range(60):
            pixels = random.integers(level - 60, level + 60, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.fixture(scope="session", autouse=True)
def _kept_bundles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Bundles made of runs, and their images, are kept where no user's are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "BUNDLES", tmp_path_factory.mktemp("bundles"))
        patch.setattr(recorded, "CACHE", str(tmp_path_factory.mktemp("prepared")))
        yield


MadeOnce = Callable[[str, Callable[[Path], None]], Path]


@dataclass(frozen=True)
class Trained:
    """A small trained model: its run in a private store, and its record as `output=` leaves it."""

    tracking: TrackingConfig
    run_id: str
    record: Path
    overrides: list[str]


def train_small(overrides: list[str]) -> str:
    """Train with the given overrides and return the run's id."""
    from src.training.run import train

    run_id = train(compose_config(*overrides)).run_id
    assert run_id is not None
    return run_id


@pytest.fixture(scope="session")
def trained_once(made_once: MadeOnce, empty_store: Path) -> Trained:
    """One small training for all processes of the session, recorded both ways. Tests only read it."""

    def fill(folder: Path) -> None:
        write_light_and_dark(folder / "images")
        (folder / "store").mkdir()
        shutil.copy(empty_store, folder / "store" / "mlflow.db")
        run_id = train_small([*overrides(folder), f"output={folder}/record"])
        models = model_folder(find_run(TrackingConfig("local", uri=store(folder)), run_id))
        assert models is not None
        shutil.copy(next(models.rglob("*.keras")), folder / "record" / "model.keras")
        (folder / "run_id").write_text(run_id)

    def store(folder: Path) -> str:
        return f"sqlite:///{folder}/store/mlflow.db"

    def overrides(folder: Path) -> list[str]:
        places = [f"dataset.path={folder}/images", f"dataset.cache={folder}/cache", f"tracking.uri={store(folder)}"]
        return [*SMALL, *places]

    folder = made_once("trained", fill)
    tracking = TrackingConfig("local", uri=store(folder))
    return Trained(tracking, (folder / "run_id").read_text(), folder / "record", overrides(folder))


@pytest.fixture(scope="module")
def trained(trained_once: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small training in a copy of its store, to which the tests of a module may add."""
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    shutil.copy(trained_once.tracking.uri.removeprefix("sqlite:///"), database)
    uri = f"sqlite:///{database}"
    return replace(
        trained_once,
        tracking=replace(trained_once.tracking, uri=uri),
        overrides=[*trained_once.overrides[:-1], f"tracking.uri={uri}"],
    )


@pytest.fixture(scope="session")
def record(trained_once: Trained) -> Path:
    """The record of a small trained run, as `tracking=off` leaves it."""
    return trained_once.record


@pytest.fixture(scope="session")
def bundle(record: Path, made_once: MadeOnce) -> Bundle:
    """Its bundle, with all formats."""
    from src.conversion.export import export

    def fill(folder: Path) -> None:
        export(ExportConfig(TrackingConfig("off"), run=str(record), output=str(folder / "small")))

    return open_bundle(made_once("bundle", fill) / "small")


@pytest.fixture(scope="session")
def photo_bundle(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small model twice, for faces and for scenes, with a fusion that tells both cases apart."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    folder.mkdir()
    shutil.copy(bundle.model_file("litert"), folder / "model.tflite")
    shutil.copy(bundle.model_file("litert"), folder / "scene_model.tflite")
    shutil.copy(bundle.folder / CARD, folder / CARD)
    fusion = Fusion(joining="mean", with_faces=(0.2, 0.7, 0.6), without_faces=(-0.1, 0.9))
    scene = Scene(
        image_size=bundle.image_size, dataset_digest=bundle.dataset_digest, fusion=fusion, detection=BLAZEFACE
    )
    return write_manifest(replace(bundle, folder=folder, formats=("litert",), scene=scene))


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Images in several formats and modes, with two that cannot be read, and one in a folder of its own."""
    folder = tmp_path / "album"
    (folder / "more").mkdir(parents=True)
    faces = [Image.fromarray(draw_face(7, index, 64)[0]) for index in range(5)]
    faces[0].save(folder / "a.png")
    faces[1].convert("L").save(folder / "b.jpg")
    (folder / "c.jpg").write_bytes(image_bytes(faces[2], "JPEG")[:700])
    (folder / "d.txt").write_text("no image at all, but some words in a file")
    faces[3].save(folder / "e.webp", lossless=True)
    faces[4].save(folder / "more" / "f.gif")
    return folder


def image_bytes(image: Image.Image, image_format: str) -> bytes:
    stream = BytesIO()
    image.save(stream, image_format)
    return stream.getvalue()


@pytest.fixture
def image() -> Callable[[int], Image.Image]:
    """A synthetic face by its number."""
    return lambda index: Image.fromarray(draw_face(7, index, 96)[0])


Run = Callable[..., SimpleNamespace]


@pytest.fixture
def predict(bundle: Bundle) -> Run:
    """Run the command in this process with the small model: exit code, lines and error."""
    from src import predict as module

    def run(*arguments: object, stdin: bytes | None = None) -> SimpleNamespace:
        import typer

        from src.errors import UserError

        app = typer.Typer()
        app.command()(module.predict)
        result = CliRunner().invoke(app, ["--model", str(bundle.folder), *map(str, arguments)], input=stdin)
        code, error = result.exit_code, result.exception
        if error and not isinstance(error, UserError | SystemExit):
            raise error
        if isinstance(error, UserError):
            code = error.exit_code
        said = result.stderr
        return SimpleNamespace(code=code, lines=result.stdout.splitlines(), said=said, error=str(error or said))

    return run
