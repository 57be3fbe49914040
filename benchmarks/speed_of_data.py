"""Speed and memory of preparing, grouping and predicting many images: `python -m benchmarks speed data`."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.harness import ROUNDS, Row, faster, in_turn
from src.config import PROJECT_ROOT, DatasetConfig, SyntheticConfig
from src.data import building
from src.data.decoding import DecodedSample
from src.data.duplicates import connected_groups, near_duplicate_pairs
from src.data.locators import FileLocator
from src.data.prepared import prepare
from src.data.samples import Sample
from src.data.sources.folders import Listing, register_source
from src.synthetic.faces import draw_face

FEW, MANY, SIDE = 1_000, 10_000, 32
ROWS = (100_000, 400_000)
HASHES = 1_000_000
STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue")
FOLDER, FOLDER_ROUNDS, DIFFERENT = 1_000, 3, 20
CALLS = 200


def data_rows(folder: Path, rounds: int = ROUNDS) -> list[Row]:
    """All rows about data and prediction; `folder` is for images."""
    return [*_preparing(), _grouping(), _folder(folder, rounds), _one_face(folder, rounds)]


def _preparing() -> list[Row]:
    took = {f"{count:,}, s": _alone(_prepare_faces, count)[0] for count in (FEW, MANY)}
    few, many = took.values()
    rise = 100 * ((many / MANY) / (few / FEW) - 1)
    small, large = (_alone(_prepare_table, count)[1] for count in ROWS)
    bytes_each = (large - small) / (ROWS[1] - ROWS[0]) / 1000
    what = f"preparing {MANY:,} images, rise in time for each"
    return [
        Row(what, f"preparing {FEW:,}", [rise], "%", 15, at_least=False, took=took),
        Row(f"a table of {ROWS[1]:,} files, memory for each", "", [bytes_each], "kB", 0.6, at_least=False),
    ]


def _alone(work: Callable[[int], None], count: int) -> tuple[float, float]:
    """Return the seconds of `work(count)` in a process of its own, and the peak memory of that process in bytes."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, count))


def _measured(work: Callable[[int], None], count: int) -> tuple[float, float]:
    started = time.perf_counter()
    work(count)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _prepare_faces(count: int) -> None:
    faces = SyntheticConfig(count=count)
    with tempfile.TemporaryDirectory() as cache:
        prepare(
            DatasetConfig(
                "synthetic",
                "synthetic",
                image_size=SIDE,
                near_duplicate_distance=None,
                workers=1,
                cache=cache,
                synthetic=faces,
            )
        )


def _prepare_table(count: int) -> None:
    """Prepare images with made-up names and facts; samples, copies, groups, digests and splits are real."""
    register_source("made_up")(lambda config: Listing([_sample(index) for index in range(int(config.path or 0))]))
    with mock.patch.object(building, "decode_samples", _made_up), tempfile.TemporaryDirectory() as cache:
        prepare(DatasetConfig("made_up", "made_up", str(count), image_size=8, crop_duplicates=False, cache=cache))


def _sample(index: int) -> Sample:
    locator = FileLocator(f"/images/{index:08}.jpg", 9000, 10**18 + index)
    return Sample(f"class{index % 2}/image_{index:08}.jpg", index % 2, locator)


def _made_up(samples: Iterable[Sample], count: int, *_: object) -> Iterator[tuple[int, Sample, DecodedSample]]:
    for slot, sample in enumerate(samples):
        random = hashlib.sha256(sample.path.encode())
        phash, dhash, *_rest = struct.unpack("<4Q", random.digest())
        facts = {"width": 320, "height": 240, "format": "JPEG", "mode": "RGB", "bytes": 9000, "color": "color"}
        facts |= {"pixel_digest": random.hexdigest()[:16], "phash": phash, "dhash": dhash}
        facts |= dict.fromkeys(STATISTICS, slot / count)
        yield slot, sample, DecodedSample("ok", "", random.hexdigest(), facts)


def _grouping() -> Row:
    """Group a million hashes of images that resemble each other, a tenth of them changed copies of others."""
    count, random = HASHES, np.random.default_rng(0)
    phash, dhash = _alike(count, random), _alike(count, random)
    copied = random.integers(0, count // 2, count // 10)
    copies = count // 2 + np.arange(len(copied))
    for hashes, bits in ((phash, 6), (dhash, 10)):
        hashes[copies] = hashes[copied]
        for _ in range(bits):
            hashes[copies] ^= np.uint64(1) << random.integers(0, 64, len(copies), dtype=np.uint64)
    started = time.perf_counter()
    groups = connected_groups(count, near_duplicate_pairs(phash, dhash, 6, 10))
    seconds = time.perf_counter() - started
    took = {"peak, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}
    took["copies found"] = float((groups[copied] == groups[copies]).mean())
    return Row(f"grouping {HASHES:,} hashes that are alike", "", [seconds], "s", 60, at_least=False, took=took)


def _alike(count: int, random: np.random.Generator) -> NDArray[np.uint64]:
    """Return hashes (count,) in which each bit is one with its own probability, from rare to usual."""
    hashes = np.zeros(count, dtype=np.uint64)
    for bit, probability in enumerate(random.beta(2.0, 2.0, size=64)):
        hashes |= (random.random(count) < probability).astype(np.uint64) << np.uint64(bit)
    return hashes


def _folder(folder: Path, rounds: int) -> Row:
    """Preparing runs on all cores, the models on one, as in the command; under 100 % they overlap."""
    from src.conversion.opening import open_model
    from src.runtime.photos import open_predictor
    from src.runtime.predictor import BATCH_SIZE, list_images

    (folder / "folder").mkdir()
    for index in range(DIFFERENT):
        face = Image.fromarray(draw_face(0, index, 512)[0])
        for place in range(index, FOLDER, DIFFERENT):
            face.save(folder / "folder" / f"{place:06}.jpg", quality=90)
    classifier, images = open_predictor(open_model()), list_images([str(folder / "folder")], recursive=False)
    prepared: list[Any] = []

    def prepare_all() -> None:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            prepared[:] = pool.map(classifier.prepare, images)

    def run_models() -> None:
        for start in range(0, len(prepared), BATCH_SIZE):
            classifier.evaluate(prepared[start : start + BATCH_SIZE])

    def command() -> None:
        arguments = [sys.executable, "-m", "src.predict", str(folder / "folder")]
        subprocess.run(arguments, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, check=True)

    works = {"preparing alone": prepare_all, "models alone": run_models, "command": command}
    took = in_turn(works, min(rounds, FOLDER_ROUNDS))
    shares = 100 * np.array(took["command"]) / (np.array(took["preparing alone"]) + np.array(took["models alone"]))
    what, rates = f"a folder of {FOLDER:,} JPEGs, with the command's start", {}
    for name, seconds in took.items():
        rates[f"{name}, images/s"] = FOLDER / float(np.median(seconds))
    return Row(what, "preparing alone plus models alone", shares.tolist(), "%", 110, at_least=False, took=rates)


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
