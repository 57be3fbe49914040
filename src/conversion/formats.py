"""A Keras model written in each format of a bundle."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..native_stderr import quiet_stderr
from ..runtime.bundle import MODEL_FILES

CALIBRATION_PICTURES = 200


def write_model(model: keras.Model, model_format: str, folder: Path, calibration: NDArray[np.uint8]) -> Path:
    """Write `model` to `folder` in one format and return the file.

    `calibration`, training pictures uint8 (n, size, size, 3), tell int8 the range of every activation. Raises
    BundleError where a needed package is not installed.
    """
    file = folder / MODEL_FILES[model_format]
    try:
        with _quiet():
            _WRITERS[model_format](model, file, calibration)
    except ImportError as error:
        raise BundleError(f"formats={model_format}: {error}; pip install 'happy-sad[export]'") from None
    return file


def _write_keras(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    model.save(file)


def _write_litert(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    file.write_bytes(_converter(model).convert())


def _write_int8(model: keras.Model, file: Path, calibration: NDArray[np.uint8]) -> None:
    """Full integer weights and activations, one scale for each channel of a kernel (Jacob et al. 2018); pictures go in
    and probabilities come out as floats, so that both LiteRT files are used in one way.
    """
    import tensorflow as tf

    def pictures() -> Iterator[list[NDArray[np.float32]]]:
        for picture in calibration[:CALIBRATION_PICTURES]:
            yield [picture[None].astype(np.float32)]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = pictures
    file.write_bytes(converter.convert())


def _write_onnx(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    model.export(str(file), format="onnx", verbose=False)


def _converter(model: keras.Model):  # type: ignore[no-untyped-def] # tf.lite.TFLiteConverter, whose import is late
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_keras_model(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' notices, which come from Python and, on stderr, from C++."""
    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_WRITERS: dict[str, Callable[[keras.Model, Path, NDArray[np.uint8]], None]] = {
    "keras": _write_keras,
    "litert": _write_litert,
    "int8": _write_int8,
    "onnx": _write_onnx,
}
