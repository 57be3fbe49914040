"""A data set's images on the device that computes, gathered inside the compiled step by their row numbers.

On a CPU the device's memory is the host's: the memory map itself is handed to the backend, so that nothing is copied
and its pages stay the system's to give back. On a GPU the images are copied there once.
"""

from __future__ import annotations

import mmap
from typing import Any

import keras
import numpy as np
from keras import ops

from .backend import gpus

MAX_GPU_BYTES = 8 * 2**30
ALIGNMENT = 64  # bytes; what both backends ask of memory that they take as it is


class DeviceImages:
    """The images of `images`, uint8 (n, height, width, 3), as an array of the backend.

    TensorFlow's compiled step refers to the array; JAX would make it a constant of the program, so there each batch
    carries a reference to it.
    """

    def __init__(self, images: np.ndarray) -> None:
        self.array = ops.convert_to_tensor(images) if gpus() else _in_place(images)
        self.is_input = keras.backend.backend() == "jax"

    def batch(self, rows: np.ndarray) -> dict[str, Any]:
        """The inputs from which `take` makes the images of `rows`."""
        numbers = {"rows": rows.astype("int32")}
        return {"all_images": self.array, **numbers} if self.is_input else numbers

    def take(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch of images and labels, of the inputs of a batch."""
        images = inputs["all_images"] if self.is_input else self.array
        return {"images": ops.take(images, inputs["rows"], axis=0), "labels": inputs["labels"]}


def device_images(images: np.ndarray) -> DeviceImages | None:
    """The images on the device; None where batches must be brought there one by one.

    That is where they take more than `MAX_GPU_BYTES` of a GPU, where several devices share a step, or where the array
    in memory is not laid out as the backend needs it.
    """
    found = gpus()
    if len(found) > 1 or _is_distributed():
        return None
    fits = images.nbytes <= MAX_GPU_BYTES if found else images.ctypes.data % ALIGNMENT == 0 and _is_whole(images)
    return DeviceImages(images) if fits else None


def _is_distributed() -> bool:
    """Whether a step is shared by several devices, of a CPU too."""
    if keras.backend.backend() != "tensorflow":
        return keras.distribution.distribution() is not None
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())


def _is_whole(images: np.ndarray) -> bool:
    """Whether the array is all of a memory map, and not a view of it."""
    return isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap) and images.flags.c_contiguous


def _in_place(images: Any) -> Any:
    """A memory map as the backend's array, opened again copy-on-write: neither backend takes read-only memory."""
    images = np.memmap(images.filename, images.dtype, "c", images.offset, images.shape)
    if keras.backend.backend() == "jax":
        from jax import numpy as jnp

        return jnp.from_dlpack(images)
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())
