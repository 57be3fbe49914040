"""Backbones of `keras.applications` as architectures: a network with weights from ImageNet, under the family's head."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import keras
from keras import layers

from ..config import ModelConfig
from ..errors import ConfigError
from . import efficientnet_lite
from .cnn import architecture, head

_HOME = "https://storage.googleapis.com/tensorflow/keras-applications"


@dataclass(frozen=True)
class Backbone:
    """A function of `keras.applications`, and Keras's file of its weights without the head, with its hash."""

    function: str
    url: str
    digest: str


BACKBONES = {
    "mobilenet_v3_small": Backbone(
        "MobileNetV3Small",
        f"{_HOME}/mobilenet_v3/weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5",
        "md5:d3e8ec802a04aa4fc771ee12a9a9b836",
    ),
    "efficientnet_v2_b0": Backbone(
        "EfficientNetV2B0",
        f"{_HOME}/efficientnet_v2/efficientnetv2-b0_notop.h5",
        "md5:893217f2bb855e2983157299931e43ff",
    ),
    "convnext_tiny": Backbone(
        "ConvNeXtTiny",
        f"{_HOME}/convnext/convnext_tiny_notop.h5",
        "sha256:d547c096cabd03329d7be5562c5e14798aa39ed24b474157cef5e85ab9e49ef1",
    ),
}


def _features(name: str, x: Any, config: ModelConfig) -> Any:
    """Pixels (batch, size, size, channels) in 0..1 through a backbone, which scales pixels in 0..255 itself, and the
    head of the CNN family: `head`, `dense` and `dropout` of `config` count, its stages do not.
    """
    x = layers.Rescaling(255.0, name="pixels")(x)
    if x.shape[-1] == 1:
        x = layers.Concatenate(name="channels")([x, x, x])
    network = getattr(keras.applications, BACKBONES[name].function)(
        include_top=False, weights=None, input_shape=x.shape[1:]
    )
    # A layer of this graph, not of the nested one, has the last map as its output: what Grad-CAM looks at.
    return head(layers.Activation("linear", name="map")(network(x)), config)


for _name in BACKBONES:
    architecture(_name)(partial(_features, _name))


def imagenet_weights(name: str) -> Path:
    """Keras's weights of the backbone `name` from ImageNet: from Keras's own folder, or fetched into it.

    Raises ConfigError for another architecture, and where the file cannot be fetched.
    """
    import pooch
    import requests

    if name == efficientnet_lite.NAME:
        return efficientnet_lite.imagenet_file()
    if name not in BACKBONES:
        known = ", ".join([efficientnet_lite.NAME, *BACKBONES])
        raise ConfigError(f"model.weights=imagenet: of {known} only, not of model.architecture={name}")
    found = BACKBONES[name]
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"  # Keras's own
    file = folder / PurePosixPath(urlsplit(found.url).path).name
    if file.exists():
        return file
    pooch.get_logger().setLevel("ERROR")
    try:
        return Path(pooch.retrieve(found.url, found.digest, file.name, folder))
    except (requests.RequestException, OSError, ValueError):
        raise ConfigError(
            f"model.weights=imagenet: {found.url} cannot be fetched; put it into {folder}, or begin "
            "from weights that are drawn: model.weights=null"
        ) from None
