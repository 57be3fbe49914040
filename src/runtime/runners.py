"""Running a bundle's model without the framework that trained it: LiteRT or ONNX Runtime, whichever is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError
from ..system import quiet_stderr
from .bundle import Bundle

Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Images, uint8 (n, size, size, 3), to the model's own P(class 1), float32 (n,). May be called from any thread."""

_RUNTIMES = {"litert": "ai_edge_litert", "int8": "ai_edge_litert", "onnx": "onnxruntime"}


def usable_format(bundle: Bundle, wanted: str | None = None) -> str:
    """The first of the bundle's formats whose runtime is installed, or `wanted`. Raises BundleError."""
    choices = [name for name in bundle.formats if name in _RUNTIMES]
    if wanted is not None and wanted not in choices:
        raise BundleError(f"{bundle.folder} holds no {wanted} model; it has {', '.join(choices)}")
    for name in [wanted] if wanted else choices:
        if importlib.util.find_spec(_RUNTIMES[name]):
            return name
    needed = sorted({_RUNTIMES[name].replace("_", "-") for name in ([wanted] if wanted else choices)})
    raise BundleError(f"{bundle.folder}: running it needs one of {', '.join(needed)}: pip install {needed[0]}")


def create_runner(bundle: Bundle, model_format: str | None = None, threads: int = 1) -> Runner:
    """A runner of the bundle's preferred format, or of `model_format`, on `threads` threads. Raises BundleError."""
    chosen = usable_format(bundle, model_format)
    return RUNNERS[chosen](bundle.model_file(chosen), bundle.image_size, threads)


def create_scene_runner(bundle: Bundle, size: int, model_format: str | None = None, threads: int = 1) -> Runner:
    """`create_runner` for the bundle's scene model, which takes images of `size`. Raises BundleError."""
    chosen = usable_format(bundle, model_format)
    return RUNNERS[chosen](bundle.scene_file(chosen), size, threads)


def litert_runner(file: Path, size: int, threads: int = 1) -> Runner:
    """A runner of a LiteRT (TensorFlow Lite) file. Raises BundleError for a file that is none."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet_stderr():
            interpreter = Interpreter(model_path=str(file), num_threads=threads)
            interpreter.allocate_tensors()
        source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    except (ValueError, RuntimeError, IndexError) as error:
        raise BundleError(f"{file}: LiteRT cannot read it: {error}") from None
    lock, prepared = Lock(), 1

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        nonlocal prepared
        with lock:  # an interpreter holds one batch
            if prepared != len(images):
                interpreter.resize_tensor_input(source, (len(images), size, size, 3))
                interpreter.allocate_tensors()
                prepared = len(images)
            interpreter.set_tensor(source, images.astype(np.float32))
            interpreter.invoke()
            return np.asarray(interpreter.get_tensor(target), np.float32).reshape(-1)

    return _checked(run, size)


def onnx_runner(file: Path, size: int, threads: int = 1) -> Runner:
    """A runner of an ONNX file. Raises BundleError for a file that is none."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except (RuntimeError, ValueError, onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf) as error:
        raise BundleError(f"{file}: ONNX Runtime cannot read it: {error}") from None
    source = session.get_inputs()[0].name

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (probabilities,) = session.run(None, {source: images.astype(np.float32)})
        return np.asarray(probabilities, np.float32).reshape(-1)

    return _checked(run, size)


RUNNERS: dict[str, Callable[[Path, int, int], Runner]] = {
    "litert": litert_runner,
    "int8": litert_runner,
    "onnx": onnx_runner,
}
"""Format -> what makes a runner of a file, for images of a size and a number of threads."""


def _checked(run: Runner, size: int) -> Runner:
    def checked(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if images.dtype != np.uint8 or images.shape[1:] != (size, size, 3):
            raise ValueError(f"images of {images.dtype} {images.shape}: uint8 (n, {size}, {size}, 3) is wanted")
        return run(images) if len(images) else np.zeros(0, np.float32)

    return checked
