"""One image, one answer: the same pixels and probabilities wherever it is asked."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import keras
import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from src.config import DatasetConfig, ExportConfig, ModelConfig, RegisterConfig, TrackingConfig
from src.conversion.exporting import write_model
from src.conversion.registration import register
from src.data.prepared import prepare
from src.data.samples import RejectedImageError
from src.models.classifier import create_classifier, mirrored, unmirrored
from src.runtime.bundle import Bundle, open_bundle, write_manifest
from src.runtime.predictor import ImageFile, ImagePredictor
from src.runtime.runners import RUNNERS, create_runner
from src.synthetic.faces import draw_face
from src.web.service import create_service
from tests.trained_model import Trained

INT8_TOLERANCE = ExportConfig(TrackingConfig("off")).int8_tolerance

FORMATS_OF = {
    "RGB": ("jpg", "png", "webp", "bmp", "gif", "tiff"),
    "L": ("jpg", "png", "webp", "bmp", "gif", "tiff"),
    "LA": ("png", "tiff"),
    "P": ("png", "bmp", "gif", "tiff"),
    "RGBA": ("png", "webp", "tiff"),
    "CMYK": ("jpg", "tiff"),
    "1": ("png", "bmp", "gif", "tiff"),
    "I;16": ("png", "tiff"),
}
KINDS = [(mode, ending) for mode, endings in FORMATS_OF.items() for ending in endings]
WITH_EXIF = ("jpg", "png", "webp", "tiff")


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty images of all color modes, formats, EXIF orientations and sixty sizes, in class folders."""
    folder = tmp_path_factory.mktemp("sixty")
    for index in range(60):
        mode, ending = KINDS[index % len(KINDS)]
        image = Image.fromarray(draw_face(3, index, 24 + 7 * index)[0])
        image = _in_mode(image.resize((image.width, image.width + index)), mode)
        exif = Image.Exif()
        exif[0x0112] = 1 + (index + index // len(KINDS)) % 8
        place = folder / ("happy" if index % 2 else "sad")
        place.mkdir(exist_ok=True)
        image.save(place / f"{index:02d}.{ending}", **({"exif": exif} if ending in WITH_EXIF else {}))
    return folder


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """The image in another mode; where there is an alpha channel, it fades out to the right."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    changed = image.convert(mode)
    if mode in ("LA", "RGBA"):
        fading = np.tile(np.linspace(255, 0, image.width).astype(np.uint8), (image.height, 1))
        changed.putalpha(Image.fromarray(fading))
    return changed


@pytest.fixture(scope="module")
def pixels(sixty: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.uint8]]:
    """The images as training prepares them, by path."""
    cache = str(tmp_path_factory.mktemp("cache"))
    config = DatasetConfig(
        "sixty", "folder", path=str(sixty), image_size=bundle.image_size, near_duplicate_distance=None, cache=cache
    )
    dataset = prepare(config)
    return {str(sixty / path): dataset.images[row] for row, path in enumerate(dataset.table["path"])}


def test_prediction_prepares_the_pixels_of_training(bundle: Bundle, pixels: dict[str, NDArray[np.uint8]]) -> None:
    assert len(pixels) == 60
    classifier = ImagePredictor(bundle)
    for path, trained_on in pixels.items():
        prepared = classifier.prepare(ImageFile(path))
        assert not isinstance(prepared, RejectedImageError)
        np.testing.assert_array_equal(prepared, trained_on)


@pytest.fixture(scope="module")
def expected(bundle: Bundle, pixels: dict[str, NDArray[np.uint8]]) -> NDArray[np.float64]:
    """What Keras says of the pixels that training sees."""
    model = keras.saving.load_model(bundle.model_file("keras"), compile=False, safe_mode=True)
    said = model.predict_on_batch(np.stack(list(pixels.values()))).reshape(-1)
    assert np.ptp(said) > 0.05, "the model must tell these images apart for these tests to mean something"
    return said


@pytest.mark.parametrize(("model_format", "tolerance"), [("litert", 1e-4), ("onnx", 1e-4), ("int8", 0.05)])
def test_every_format_says_what_keras_says(
    bundle: Bundle,
    pixels: dict[str, NDArray[np.uint8]],
    expected: NDArray[np.float64],
    model_format: str,
    tolerance: float,
) -> None:
    images = np.stack(list(pixels.values()))
    run = create_runner(bundle, model_format, threads=2)
    np.testing.assert_allclose(run(images), expected, atol=tolerance)
    np.testing.assert_allclose(run(images[:1]), expected[:1], atol=tolerance)
    assert np.abs(run(images) - expected).mean() < INT8_TOLERANCE


@pytest.mark.parametrize(("model_format", "tolerance"), [("litert", 1e-4), ("onnx", 1e-4), ("int8", 0.05)])
def test_every_format_takes_the_mean_over_an_image_and_its_mirror_image(
    model_format: str, tolerance: float, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    config = ModelConfig("small", gray=True, enlarge=2, filters=[8, 8], padding="same", dense=[16])
    one_sided = create_classifier(config, 16)
    decision = one_sided.get_layer("probability")
    decision.set_weights([weight * 20 for weight in decision.get_weights()])
    both_sides = mirrored(one_sided)
    assert unmirrored(both_sides) is one_sided
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    sides = [np.asarray(one_sided(some)).reshape(-1) for some in (images, images[:, :, ::-1])]
    assert np.abs(sides[0] - sides[1]).max() > 0.1, "or one side would do"
    np.testing.assert_allclose(np.asarray(both_sides(images)).reshape(-1), np.mean(sides, axis=0), atol=1e-6)
    run = RUNNERS[model_format](write_model(both_sides, model_format, tmp_path, images), 16, 1)
    for count in (1, 5, 2):
        np.testing.assert_allclose(run(images[:count]), np.mean(sides, axis=0)[:count], atol=tolerance)


@pytest.mark.parametrize("model_format", ["litert", "onnx"])
def test_command_and_service_say_what_keras_says(
    bundle: Bundle,
    pixels: dict[str, NDArray[np.uint8]],
    expected: NDArray[np.float64],
    model_format: str,
    tmp_path: Path,
    run_command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    preferring = shutil.copytree(bundle.folder, tmp_path / model_format)
    write_manifest(replace(bundle, folder=preferring, formats=(model_format,)))
    said = bundle.calibrated(expected)
    lines = run_command("src.predict", *pixels, "--json", "--model", str(preferring)).stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["path"] for answer in answers] == list(pixels)
    np.testing.assert_allclose([answer["p_happy"] for answer in answers], said, atol=1e-4)

    client = TestClient(create_service(ImagePredictor(open_bundle(preferring))), base_url="http://localhost")
    for some in (list(pixels)[:30], list(pixels)[30:]):
        form = client.post("/v1/predict", files=[("files", (path, Path(path).read_bytes())) for path in some]).json()
        by_name = dict(zip(pixels, said, strict=True))
        found = [answer["p_happy"] for answer in form["answers"]]
        np.testing.assert_allclose(found, [by_name[path] for path in some], atol=1e-4)


@pytest.fixture(scope="module")
def scoring_server(trained: Trained) -> Iterator[str]:
    """`mlflow models serve` of the small model, registered: the address to ask."""
    register(RegisterConfig(trained.tracking, run=trained.run_id, name="served"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": str(trained.tracking.uri), "PATH": programs}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/served@champion"]
    command += ["--env-manager", "local", "--port", str(port)]
    with tempfile.TemporaryDirectory() as elsewhere, tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command, cwd=elsewhere, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/ping", server, log)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # the server that it starts is in its group
            server.wait(20)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: IO[str]) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=2)  # noqa: S310
            return
        except OSError:
            log.seek(0)
            assert server.poll() is None, log.read()
            assert time.monotonic() < deadline, log.read()
            time.sleep(0.2)


def ask(address: str, body: object) -> list[dict[str, Any]]:
    """What MLflow's scoring server answers."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        predictions: list[dict[str, Any]] = json.load(response)["predictions"]
    return predictions


def test_mlflow_serves_files_and_pixels_with_the_answers_of_the_others(
    scoring_server: str, bundle: Bundle, pixels: dict[str, NDArray[np.uint8]], expected: NDArray[np.float64]
) -> None:
    texts = [base64.b64encode(Path(path).read_bytes()).decode() for path in pixels]
    said = bundle.calibrated(expected)
    arrays = [image.tolist() for image in pixels.values()]
    bodies = [
        {"dataframe_split": {"columns": ["image"], "data": [[text] for text in texts]}},
        {"dataframe_records": [{"image": text} for text in texts]},
        {"inputs": texts},
        {"inputs": {"image": texts}},
        {"instances": texts},
        {"inputs": arrays},
        {"inputs": np.asarray(arrays, np.float64).tolist()},
        {"dataframe_records": [{"image": array} for array in arrays]},
    ]
    for body in bodies:
        answers = ask(scoring_server, body)
        np.testing.assert_allclose([answer["p_happy"] for answer in answers], said, atol=1e-4)
        assert [answer["label"] for answer in answers] == [bundle.label(answer["p_happy"]) for answer in answers]


def test_mlflow_prepares_pixels_of_any_size_as_a_file_of_them(scoring_server: str, tmp_path: Path) -> None:
    large, _ = draw_face(9, 0, 256)
    Image.fromarray(large).save(tmp_path / "large.png")
    text = base64.b64encode((tmp_path / "large.png").read_bytes()).decode()
    from_file, from_pixels = (ask(scoring_server, {"inputs": [image]}) for image in (text, large.tolist()))
    assert from_file == from_pixels


def test_mlflow_gives_a_bad_image_its_own_verdict(scoring_server: str, album: Path) -> None:
    texts = [base64.b64encode((album / name).read_bytes()).decode() for name in ("a.png", "c.jpg", "d.txt")]
    answers = ask(scoring_server, {"inputs": [*texts, "no base64!"]})
    assert [answer["verdict"] for answer in answers] == ["ok", "unreadable", "unreadable", "unreadable"]
    assert [answer["detail"].partition(":")[0] for answer in answers[:3]] == ["", "truncated", "not_an_image"]
    assert answers[3]["p_happy"] is answers[3]["label"] is None
    (scaled,) = ask(scoring_server, {"inputs": np.full((1, 32, 32, 3), 0.5).tolist()})
    assert scaled["detail"] == "pixels from 0 to 1: multiply them by 255"


def test_the_registered_model_answers_to_python_too(trained: Trained, scoring_server: str, album: Path) -> None:
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(trained.tracking.uri)
    model = mlflow.pyfunc.load_model("models:/served@champion")
    data = (album / "a.png").read_bytes()
    answer = model.predict(pd.DataFrame({"image": [data]})).to_dict("records")
    assert answer == ask(scoring_server, {"inputs": [base64.b64encode(data).decode()]})
    assert model.predict({"image": [data]}).to_dict("records") == answer
    pixels = np.asarray(Image.open(album / "a.png").convert("RGB"))
    for images in (pixels[None], pixels[None].astype(np.float32)):
        assert model.predict({"image": images}).to_dict("records") == answer
    logged = Path(mlflow.artifacts.download_artifacts("models:/served@champion"))
    assert (logged / "code" / "happy_sad" / "runtime" / "predictor.py").exists()
    assert not list(logged.rglob("*.pkl"))


def test_answers_do_not_depend_on_the_company_of_other_images(
    bundle: Bundle, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    classifier = ImagePredictor(bundle)
    together = list(classifier.answers(ImageFile(path) for path in pixels))
    assert [answer.path for answer in together] == list(pixels)
    alone = [next(classifier.answers([ImageFile(path)])) for path in list(pixels)[:5]]
    np.testing.assert_allclose([a.probability for a in alone], [a.probability for a in together[:5]], atol=1e-6)


def test_pixels_of_another_size_are_a_defect(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="is wanted"):
        create_runner(bundle)(np.zeros((1, 8, 8, 3), np.uint8))
