"""Random changes to training batches, as Keras layers that run inside the model and so repeat from the run's seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from ..config import AugmentationConfig
from .weights import float32

Batch = dict[str, Any]
PIXELS = (0, 255)
SHRUNK_BY = (2, 3, 4)


class Augmentation(layers.Layer):
    """Geometry, color and erasing image by image, then MixUp and CutMix between the images of a batch.

    Takes and gives {"images": (batch, height, width, 3) in 0..255, "labels": (batch, columns)}, both float32. Labels
    change only where images are mixed. Where MixUp and CutMix are both on, each image gets one of them, by a fair
    coin.
    """

    def __init__(self, config: AugmentationConfig) -> None:
        super().__init__(dtype="float32", name="augmentation")
        with float32():  # bfloat16 holds whole pixel values, but not what lies between them
            self.image_layers = _image_layers(config)
            self.mixing_layers = _mixing_layers(config)
        self.coin = keras.random.SeedGenerator()

    def build(self, input_shape: Any) -> None:
        """Nothing to make: the layers hold random states only."""
        self.built = True

    def call(self, batch: Batch) -> Batch:
        images, labels = ops.cast(batch["images"], "float32"), batch["labels"]
        for layer in self.image_layers:
            images = layer(images, training=True)
        mixed = [layer({"images": images, "labels": labels}, training=True) for layer in self.mixing_layers]
        if len(mixed) == 2:
            return self._choose(*mixed)
        return mixed[0] if mixed else {"images": images, "labels": labels}

    def _choose(self, first: Batch, second: Batch) -> Batch:
        heads = keras.random.uniform((ops.shape(first["labels"])[0], 1), seed=self.coin) < 0.5
        wide = ops.reshape(heads, (-1, 1, 1, 1))
        return {
            "images": ops.where(wide, first["images"], second["images"]),
            "labels": ops.where(heads, first["labels"], second["labels"]),
        }


def _image_layers(config: AugmentationConfig) -> list[layers.Layer]:
    """The layers whose strength is not zero, geometry before color before erasing."""
    color = (config.brightness, config.contrast, config.saturation, config.hue)
    choices: list[tuple[bool | float, Callable[[], layers.Layer]]] = [
        (config.flip, lambda: layers.RandomFlip("horizontal")),
        (config.rotation, lambda: layers.RandomRotation(config.rotation, fill_mode="reflect")),
        (
            config.translation,
            lambda: layers.RandomTranslation(config.translation, config.translation, fill_mode="reflect"),
        ),
        (config.zoom, lambda: layers.RandomZoom(config.zoom, fill_mode="reflect")),
        (config.shear, lambda: layers.RandomShear(config.shear, config.shear, fill_mode="reflect")),
        (config.randaugment, lambda: _on_fractions(layers.RandAugment((0, 1), factor=config.randaugment))),
        (any(color), lambda: _color_jitter(config)),
        (config.grayscale, lambda: layers.RandomGrayscale(config.grayscale)),
        (config.resolution, lambda: RandomResolution(config.resolution)),
        (config.erasing, lambda: layers.RandomErasing((config.erasing, config.erasing), value_range=PIXELS)),
    ]
    return [create() for strength, create in choices if strength]


class RandomResolution(layers.Layer):
    """Shrinks a `share` of the images to a half, a third or a quarter and enlarges them again: photos come in all
    sizes, and a face that fills little of one is blurred once it is cut out.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generator = keras.random.SeedGenerator()

    def call(self, images: Any, training: bool = False) -> Any:
        if not training:
            return images
        height, width = images.shape[1:3]
        which = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), seed=self.generator) / self.share * len(SHRUNK_BY)
        for place, divisor in enumerate(SHRUNK_BY):
            small = (max(1, height // divisor), max(1, width // divisor))
            coarse = ops.image.resize(ops.image.resize(images, small, antialias=True), (height, width))
            images = ops.where((which >= place) & (which < place + 1), coarse, images)
        return images


def _on_fractions(layer: layers.Layer) -> layers.Layer:
    """`layer`, which changes pixels in 0..1, for pixels in 0..255."""
    return layers.Pipeline([layers.Rescaling(1 / 255), layer, layers.Rescaling(255.0)])


def _color_jitter(config: AugmentationConfig) -> layers.Layer:
    """Color changes on pixels in 0..1: in 0..255, Keras 3.15 clips the saturation too late and leaves the range."""
    jitter = layers.RandomColorJitter(
        value_range=(0, 1),
        brightness_factor=config.brightness or None,
        contrast_factor=config.contrast or None,
        saturation_factor=(0.5 - config.saturation, 0.5 + config.saturation) if config.saturation else None,
        hue_factor=config.hue or None,
    )
    return _on_fractions(jitter)


def _mixing_layers(config: AugmentationConfig) -> list[layers.Layer]:
    mixup = [layers.MixUp(config.mixup)] if config.mixup else []
    cutmix = [layers.CutMix(config.cutmix)] if config.cutmix else []
    return mixup + cutmix
