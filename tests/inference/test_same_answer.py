"""One picture, one answer: the same pixels and probabilities wherever it is asked."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from src.config import DatasetConfig
from src.data.drawn import draw_face
from src.data.prepared import prepare
from src.data.samples import RejectedPictureError
from src.inference.bundle import Bundle
from src.inference.classifier import Classifier
from src.inference.runners import create_runner
from src.inference.sources import Picture

MODES = ("RGB", "L", "P", "RGBA", "CMYK", "1")
FORMATS = {"RGB": "webp", "L": "jpg", "P": "gif", "RGBA": "png", "CMYK": "tiff", "1": "bmp"}


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of all colour modes, orientations, formats and several sizes, in class folders."""
    folder = tmp_path_factory.mktemp("sixty")
    for index in range(60):
        mode, orientation = MODES[index % len(MODES)], 1 + index % 8
        picture = Image.fromarray(draw_face(3, index, 40 + 7 * index)[0])
        picture = picture.resize((picture.width, picture.width + index)).convert(mode)
        exif = Image.Exif()
        exif[0x0112] = orientation
        place = folder / ("happy" if index % 2 else "sad")
        place.mkdir(exist_ok=True)
        options = {"exif": exif} if FORMATS[mode] in ("jpg", "webp", "png", "tiff") else {}
        picture.save(place / f"{index:02d}.{FORMATS[mode]}", **options)
    return folder


@pytest.fixture(scope="module")
def pixels(sixty: Path, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.uint8]]:
    """The pictures as training prepares them, by path."""
    cache = str(tmp_path_factory.mktemp("cache"))
    config = DatasetConfig(
        "sixty", "folder", path=str(sixty), image_size=bundle.image_size, near_duplicate_distance=None, cache=cache
    )
    dataset = prepare(config)
    return {str(sixty / path): dataset.images[row] for row, path in enumerate(dataset.table["path"])}


def test_prediction_prepares_the_pixels_of_training(bundle: Bundle, pixels: dict[str, NDArray[np.uint8]]) -> None:
    assert len(pixels) == 60
    classifier = Classifier(bundle)
    for path, trained_on in pixels.items():
        prepared = classifier.prepare(Picture(path))
        assert not isinstance(prepared, RejectedPictureError)
        np.testing.assert_array_equal(prepared, trained_on)


@pytest.mark.parametrize(("model_format", "tolerance"), [("litert", 1e-4), ("onnx", 1e-4), ("int8", 0.05)])
def test_every_format_says_what_keras_says(
    bundle: Bundle, pixels: dict[str, NDArray[np.uint8]], model_format: str, tolerance: float
) -> None:
    pictures = np.stack(list(pixels.values()))
    model = keras.saving.load_model(bundle.model_file("keras"), compile=False, safe_mode=True)
    expected = model.predict_on_batch(pictures).reshape(-1)
    run = create_runner(bundle, model_format, threads=2)
    np.testing.assert_allclose(run(pictures), expected, atol=tolerance)
    np.testing.assert_allclose(run(pictures[:1]), expected[:1], atol=tolerance)
    assert np.ptp(expected) > 0.05, "the model must tell these pictures apart for this test to mean something"


def test_answers_do_not_depend_on_the_company_of_other_pictures(
    bundle: Bundle, pixels: dict[str, NDArray[np.uint8]]
) -> None:
    classifier = Classifier(bundle)
    together = list(classifier.answers(Picture(path) for path in pixels))
    assert [answer.path for answer in together] == list(pixels)
    alone = [next(classifier.answers([Picture(path)])) for path in list(pixels)[:5]]
    np.testing.assert_allclose([a.probability for a in alone], [a.probability for a in together[:5]], atol=1e-6)


def test_pixels_of_another_size_are_a_defect(bundle: Bundle) -> None:
    with pytest.raises(ValueError, match="is wanted"):
        create_runner(bundle)(np.zeros((1, 8, 8, 3), np.uint8))
