"""A data set's images on the device that computes, gathered inside the compiled step by their row numbers.

On a CPU the device's memory is the host's: the memory map itself is handed to the backend, so that nothing is copied
and its pages stay the system's to give back. On a GPU the images are copied there once.
"""

from __future__ import annotations

import mmap
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras import ops

from .backend import gpus

if TYPE_CHECKING:
    from ..models.host_augmentation import HostAugmentation


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
        return {"stored_images": self.array, **numbers} if self.is_input else numbers

    def take(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """A batch of images and labels, of the inputs of a batch."""
        images = inputs["stored_images"] if self.is_input else self.array
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
    """Return whether a step is shared by several devices, of a CPU too."""
    if keras.backend.backend() != "tensorflow":
        return keras.distribution.distribution() is not None
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())


def _is_whole(images: np.ndarray) -> bool:
    """Return whether the array is all of a memory map, and not a view of it."""
    return isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap) and images.flags.c_contiguous


def _in_place(images: Any) -> Any:
    """A memory map as the backend's array, opened again copy-on-write: neither backend takes read-only memory."""
    images = np.memmap(images.filename, images.dtype, "c", images.offset, images.shape)
    if keras.backend.backend() == "jax":
        from jax import numpy as jnp

        return jnp.from_dlpack(images)
    import tensorflow as tf

    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


Batch = tuple[dict[str, Any], Any, Any]
AUGMENTATION = 2  # tells its random numbers from those of the order and of the statistics


class Batches(keras.utils.PyDataset):
    """Batches of `rows` of a memory-mapped image array.

    A batch is ({"images": uint8 (n, height, width, 3), "labels": float32 (n, columns)}, labels (n, 1), sample weights
    (n,)). Metrics are taken against the labels; the input's are the `targets` of the loss, between 0 and 1 (None: the
    labels), of one column or, with an auxiliary head, more. Augmentation may mix them. Where the images lie on the
    device (`on_device`), it holds what `DeviceImages.take` makes "images" of instead. With a `seed`, every epoch is a
    new permutation drawn from (seed, epoch), and `augmentation` draws from (seed, epoch, batch), so that batches are
    the same whichever thread makes them; without one, rows keep their order. `feed` is what a fit reads.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        *,
        seed: int | None = None,
        sample_weights: np.ndarray | None = None,
        targets: np.ndarray | None = None,
        on_device: DeviceImages | None = None,
        augmentation: HostAugmentation | None = None,
    ) -> None:
        super().__init__()
        self.images = images
        self.labels = labels.astype("float32").reshape(-1, 1)
        self.targets = self.labels if targets is None else targets.astype("float32").reshape(len(targets), -1)
        self.sample_weights = np.ones(len(labels), "float32") if sample_weights is None else sample_weights
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.on_device = on_device
        self.augmentation = augmentation
        self.epoch = 0
        self.order = self._draw_order()

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self.batch_size
        rows = self.order[start : start + self.batch_size]
        targets = self.targets[rows]
        if self.on_device:
            inputs = self.on_device.batch(rows)
        else:
            images = np.asarray(self.images[rows])
            if self.augmentation:
                random = np.random.default_rng((self.seed or 0, self.epoch, index, AUGMENTATION))
                images, targets = self.augmentation(images, targets, random)
            inputs = {"images": images}
        return {**inputs, "labels": targets}, self.labels[rows], self.sample_weights[rows]

    def feed(self) -> Any:
        """These batches for `fit`: under TensorFlow a data set of its own kind.

        Keras's way from one to the other waits a tenth of a second for its threads at the end of each pass, or turns
        on tf.data's autotuning, which stalls there for longer.
        """
        if keras.backend.backend() != "tensorflow":
            return self if self.on_device else AheadOfStep(self)
        import tensorflow as tf

        signature = tf.nest.map_structure(lambda part: tf.TensorSpec((None, *part.shape[1:]), part.dtype), self[0])
        made = tf.data.Dataset.from_generator(
            lambda: map(self.__getitem__, range(len(self))), output_signature=signature
        )
        made = made.apply(tf.data.experimental.assert_cardinality(len(self)))
        options = tf.data.Options()
        options.autotune.enabled = False
        return (made if self.on_device else made.prefetch(2)).with_options(options)

    def go_to(self, epoch: int) -> None:
        """Take the order of `epoch`, counted from 0."""
        self.epoch = epoch
        self.order = self._draw_order()

    def _draw_order(self) -> np.ndarray:
        if self.seed is None:
            return self.rows
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)


class AheadOfStep(keras.utils.PyDataset):
    """Batches of which the next one is made while the step computes.

    Keras's own threads (`workers`) take batches before the callbacks have begun the epoch, in the order of the last
    one, and leave out what it looked at to build the model (keras-team/keras issue 23283).
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches
        self.thread = ThreadPoolExecutor(1)
        self.next: tuple[tuple[int, int], Future[Batch]] | None = None

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Batch:
        wanted, made = (self.batches.epoch, index), self.next
        batch = made[1].result() if made is not None and made[0] == wanted else self.batches[index]
        following = index + 1
        self.next = None
        if following < len(self):
            self.next = (self.batches.epoch, following), self.thread.submit(self.batches.__getitem__, following)
        return batch


class OrderBatches(keras.callbacks.Callback):
    """Gives each epoch its own order. Keras's own `on_epoch_end` of a data set is also called where no epoch ended."""

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.batches.go_to(epoch)


def balanced_weights(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """One float32 weight for each label so that both classes weigh the same over `rows`, with mean 1 there."""
    counts = np.bincount(labels[rows].astype(int), minlength=2)
    weights: np.ndarray = (len(rows) / (2 * np.maximum(counts, 1))).astype("float32")
    return weights[labels.astype(int)]
