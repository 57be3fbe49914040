"""Preparing, grouping and predicting many images: `python -m benchmarks.data_speed [ROUNDS]`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.group_hashes import KINDS, group
from benchmarks.harness import ROUNDS, Row, faster, in_turn, show
from benchmarks.predict_folder import measure, write_images
from benchmarks.prepare_memory import prepare_faces
from benchmarks.table_memory import measured
from src.synthetic.faces import draw_face

FEW, MANY, SIDE = 1_000, 10_000, 32
ROWS = (100_000, 400_000)
FOLDER, FOLDER_ROUNDS = 1_000, 3
CALLS = 200


def data_rows(folder: Path, rounds: int = ROUNDS) -> list[Row]:
    """All rows about data and prediction; `folder` is for images."""
    return [*_preparing(), _grouping(), _folder(folder, rounds), _one_face(folder, rounds)]


def _preparing() -> list[Row]:
    took = {}
    for count in (FEW, MANY):
        with tempfile.TemporaryDirectory() as cache:
            took[f"{count:,}, s"], _ = prepare_faces(SIDE, count, cache)
    few, many = took.values()
    rise = 100 * ((many / MANY) / (few / FEW) - 1)
    small, large = (measured(count)[1] for count in ROWS)
    bytes_each = (large - small) / (ROWS[1] - ROWS[0]) / 1000
    what = f"preparing {MANY:,} images, rise in time for each"
    return [
        Row(what, f"preparing {FEW:,}", [rise], "%", 15, at_least=False, took=took),
        Row(f"a table of {ROWS[1]:,} files, memory for each", "", [bytes_each], "kB", 0.6, at_least=False),
    ]


def _grouping() -> Row:
    seconds, peak, *_ = group(KINDS["alike"], 1_000_000)
    what = "grouping 1,000,000 hashes that are alike"
    return Row(what, "", [seconds], "s", 60, at_least=False, took={"peak, GB": peak})


def _folder(folder: Path, rounds: int) -> Row:
    images = folder / "folder"
    images.mkdir()
    write_images(images, FOLDER, 512)
    took = measure(images, min(rounds, FOLDER_ROUNDS))  # faces are looked for: which takes most of it
    alone = np.array(took["preparing alone"]) + np.array(took["models alone"])
    shares = 100 * np.array(took["command, folder"]) / alone
    what = f"a folder of {FOLDER:,} JPEGs, with the command's start"
    return Row(what, "preparing alone plus models alone", shares.tolist(), "%", 110, at_least=False)


def _one_face(folder: Path, rounds: int) -> Row:
    """The shipped face model with its preparation, and a net of mini-XCEPTION's size with the same decoding."""
    from src.conversion.opening import open_model
    from src.runtime.predictor import ImagePredictor, list_images

    (folder / "face").mkdir()
    Image.fromarray(draw_face(0, 0, 48)[0]).save(folder / "face" / "one.png")
    classifier, (image,) = ImagePredictor(open_model()), list_images([str(folder / "face")], recursive=False)
    small = _mini_xception(folder / "small.tflite")

    def ours() -> None:
        for _ in range(CALLS):
            classifier.probabilities(np.asarray(classifier.prepare(image))[None])

    def theirs() -> None:
        for _ in range(CALLS):
            with Image.open(image.path) as opened:
                gray = opened.convert("L").resize((64, 64), Image.Resampling.BILINEAR)
            small(np.asarray(gray, np.float32)[None, :, :, None] / 127.5 - 1)

    found = in_turn({"ours": ours, "small net": theirs}, rounds)
    return faster("one face, one thread, preparation included", "mini-XCEPTION-sized TFLite net", found, NAMES, 1.0)


NAMES = ("ours", "small net")


def _mini_xception(file: Path) -> Callable[[np.ndarray], None]:
    """mini-XCEPTION's layers (Arriaga et al. 2017, arXiv 1710.07557), untrained, as a TFLite model on one thread."""
    from src.training.backend import start_backend

    start_backend()
    import keras
    from ai_edge_litert.interpreter import Interpreter
    from keras import layers

    keras.config.set_dtype_policy("float32")
    inputs = x = keras.Input((64, 64, 1))
    for _ in range(2):
        x = layers.Activation("relu")(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x)))
    for filters in (16, 32, 64, 128):
        shortcut = layers.BatchNormalization()(layers.Conv2D(filters, 1, 2, padding="same", use_bias=False)(x))
        x = layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
        x = layers.BatchNormalization()(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False)(x))
        x = layers.Add()([layers.MaxPooling2D(3, 2, padding="same")(x), shortcut])
    outputs = layers.Activation("softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, padding="same")(x)))
    keras.Model(inputs, outputs).export(file, format="litert", verbose=False)
    interpreter = Interpreter(str(file), num_threads=1)
    interpreter.allocate_tensors()
    place = interpreter.get_input_details()[0]["index"]

    def predict(face: np.ndarray) -> None:
        interpreter.set_tensor(place, face)
        interpreter.invoke()

    return predict


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        show(data_rows(Path(temporary), *(int(argument) for argument in sys.argv[1:])))
