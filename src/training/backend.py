"""The Keras backend of this process: a quiet start, seeds, compute precision and the devices it runs on."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ..config import suggest
from ..errors import ConfigError
from ..system import keep_freed_memory, quiet_stderr, usable_cores

BACKENDS = ("tensorflow", "jax")
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
BFLOAT16_COMPUTE_CAPABILITY = (8, 0)
GC_THRESHOLDS = (50_000, 20, 100)
"""How many new objects Python's collector of cycles waits for. TensorFlow and MLflow make a million that stay; looking
among them as often as by default took an eighth of a short run.
"""


def start_backend() -> str:
    """Import Keras with its backend and return the backend's name; GPU memory is taken as needed, not all at once."""
    import_backend()
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with quiet_stderr():
            for gpu in tf.config.list_physical_devices("GPU"):
                # Refused once a device is in use, which is then already set up.
                with contextlib.suppress(RuntimeError):
                    tf.config.experimental.set_memory_growth(gpu, True)
    return str(keras.backend.backend())


def import_backend() -> None:
    """Import Keras with its backend and touch no device, so that the process may still be forked.

    TensorFlow's notices are written past every log level by its C++ start-up code, so stderr is closed to them for as
    long as the import takes; an import that fails still raises. Raises ConfigError for another backend than those two.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Keras asks JAX for 64-bit indices, which JAX makes 32-bit and says so at every use.
    warnings.filterwarnings("ignore", message="Explicitly requested dtype int64")
    backend = os.environ["KERAS_BACKEND"]
    if backend not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND={backend}: accepts {' or '.join(BACKENDS)}{suggest(backend, BACKENDS)}")
    is_first = "keras" not in sys.modules
    if is_first:
        gc.set_threshold(*GC_THRESHOLDS)
        keep_freed_memory()
    try:
        with quiet_stderr(), _without_jax() if backend == "tensorflow" else contextlib.nullcontext():
            import keras  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        raise ConfigError(f"KERAS_BACKEND={backend}: needs {error.name}, which is not installed") from None
    if is_first:  # what later runs of this process leave is garbage, which must not be frozen
        gc.freeze()  # the modules live as long as the process: no collection, and no forked worker, has to walk them


@contextlib.contextmanager
def _without_jax() -> Iterator[None]:
    """TensorFlow imports a JAX that happens to be installed, a sixth of its own time, to convert JAX's models."""
    if "jax" in sys.modules:
        yield
        return
    sys.modules["jax"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["jax"]


def reset(seed: int, precision: str) -> str:
    """Make the process as good as new for one run: no state of an earlier run, this seed, this compute precision.

    Returns the precision in force (float32, bfloat16 or float16).
    """
    import keras

    keras.backend.clear_session()
    with quiet_stderr():  # on another backend this is where Keras imports a TensorFlow that happens to be there
        keras.utils.set_random_seed(seed)
    resolved = resolve_precision(precision)
    keras.config.set_dtype_policy(POLICIES[resolved])
    return resolved


def resolve_precision(precision: str) -> str:
    """`auto` becomes bfloat16 where the device multiplies it faster, else float32."""
    if precision == "float16" and not gpus():
        raise ConfigError("trainer.precision=float16: needs a GPU; on a CPU use bfloat16, float32 or auto")
    if precision != "auto":
        return precision
    if gpus():
        return "bfloat16" if _gpu_compute_capability() >= BFLOAT16_COMPUTE_CAPABILITY else "float32"
    return "bfloat16" if _cpu_prefers_bfloat16() else "float32"


def _cpu_prefers_bfloat16() -> bool:
    """Intel's processors without AMX multiply it no faster than float32, and a step pays 15 % for the conversions."""
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and cpu_vendor() != "GenuineIntel")


def gpus() -> list[Any]:
    """The GPUs that the backend sees."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return list(tf.config.list_physical_devices("GPU"))
    import jax

    return [device for device in jax.devices() if device.platform == "gpu"]


def distribution() -> AbstractContextManager[Any]:
    """The scope to build and compile in: all GPUs at once where there are several; under JAX all of its devices."""
    import keras

    if keras.backend.backend() != "tensorflow":
        import jax

        return contextlib.nullcontext() if len(jax.devices()) < 2 else _split_batches().scope()  # type: ignore[no-any-return]
    if len(gpus()) < 2:
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.distribute.MirroredStrategy().scope()  # type: ignore[no-any-return]


def _split_batches() -> Any:
    """Keras's DataParallel, whose batches come to every device whole and are split by `split_over_devices`: it would
    split them before, which fails for a last batch that is no multiple of the number of devices.
    """
    import keras

    class SplitInside(keras.distribution.DataParallel):  # type: ignore[misc]
        def get_data_layout(self, data_shape: tuple[int, ...]) -> Any:
            return keras.distribution.TensorLayout([None] * len(data_shape), self.device_mesh)

    return SplitInside()


def split_over_devices(batch: dict[str, Any]) -> dict[str, Any]:
    """Each device's share of a batch, inside the compiled step; the batch as it is where one device has it all."""
    import keras

    found = keras.distribution.distribution()
    if found is None or len(batch["images"]) % found.num_model_replicas:
        return batch

    def layout(values: Any) -> Any:
        axes = [found.batch_dim_name, *[None] * (len(values.shape) - 1)]
        return keras.distribution.TensorLayout(axes, found.device_mesh)

    return {name: keras.distribution.distribute_tensor(values, layout(values)) for name, values in batch.items()}


def use_xla() -> bool | str:
    """Return whether to use XLA: always under JAX, Keras's choice on a GPU, never on a CPU (3 times slower there)."""
    import keras

    return "auto" if keras.backend.backend() == "jax" or gpus() else False


def memory_errors() -> tuple[type[Exception], ...]:
    """List the errors that a fit raises for a lack of memory, among other things: see `is_out_of_memory`."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return (MemoryError, tf.errors.OpError)
    import jax

    return (MemoryError, jax.errors.JaxRuntimeError)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether one of `memory_errors` says that memory, of the machine or of a GPU, was not enough."""
    said = re.search("Resource_?Exhausted|out of memory", f"{type(error).__name__}: {error}", re.IGNORECASE)
    return isinstance(error, MemoryError) or said is not None


def device_name() -> str:
    """Name the device for a person: `2 CPU cores (AMD EPYC)` or `1 GPU (NVIDIA H200)`."""
    found = gpus()
    if not found:
        return f"{len(usable_cores())} CPU cores ({_cpu_model()})"
    return f"{len(found)} GPU ({_gpu_details(found[0]).get('device_name', 'unknown')})"


def cpu_flags() -> set[str]:
    """The instruction-set flags of the CPU; empty where the system does not list them."""
    return set(_cpu_field("flags").split())


def cpu_vendor() -> str:
    """Read the CPU's vendor, as it says itself; empty where the system does not tell."""
    return _cpu_field("vendor_id")


def _cpu_model() -> str:
    return _cpu_field("model name") or platform.processor() or platform.machine()


def _cpu_field(name: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _gpu_compute_capability() -> tuple[int, int]:
    """The lowest compute capability among the GPUs; (0, 0) where unknown (not an NVIDIA one)."""
    return min(_gpu_details(gpu).get("compute_capability", (0, 0)) for gpu in gpus())


def _gpu_details(gpu: Any) -> dict[str, Any]:
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return dict(tf.config.experimental.get_device_details(gpu))
    major, _, minor = str(getattr(gpu, "compute_capability", "0.0")).partition(".")
    return {"device_name": gpu.device_kind, "compute_capability": (int(major), int(minor or 0))}
