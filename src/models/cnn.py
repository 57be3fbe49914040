"""The registry of architectures and the CNN family: from the tutorial's network to separable residual nets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import layers

from ..config import ModelConfig, suggest
from ..errors import ConfigError

Features = Callable[[Any, ModelConfig], Any]
"""From pixels in 0..1, (batch, size, size, channels), to features, (batch, n), as a Keras graph."""

_ARCHITECTURES: dict[str, Features] = {}


def architecture(name: str) -> Callable[[Features], Features]:
    """Register the function below as the architecture `name`. Raises ValueError where there is one of that name."""

    def register(features: Features) -> Features:
        if name in _ARCHITECTURES:
            raise ValueError(f"there is an architecture {name} already")
        _ARCHITECTURES[name] = features
        return features

    return register


def find_architecture(name: str) -> Features:
    """The architecture registered as `name`. Raises ConfigError."""
    if name not in _ARCHITECTURES:
        known = sorted(_ARCHITECTURES)
        raise ConfigError(f"model.architecture={name}: accepts {', '.join(known)}{suggest(name, known)}")
    return _ARCHITECTURES[name]


Tensor = Any


@architecture("cnn")
def cnn_features(x: Tensor, config: ModelConfig) -> Tensor:
    """Stages of convolutions and pooling, then the head and its dense layers: (batch, size, size, channels) in 0..1 to
    (batch, features). Raises ConfigError where the stages shrink the image away.
    """
    _check_spatial_size(config, x.shape[1])
    for stage, filters in enumerate(config.filters, start=1):
        x = _stage(x, config, filters, f"stage{stage}", stride=config.stem_stride if stage == 1 else 1)
    return head(x, config)


def _check_spatial_size(config: ModelConfig, image_size: int) -> None:
    if config.padding == "same":
        return
    size = image_size
    for stage in range(len(config.filters)):
        for convolution in range(config.convolutions):
            stride = config.stem_stride if stage == convolution == 0 else 1
            size = (size - config.kernel_size) // stride + 1
        size //= 2
        if size < 1:
            raise ConfigError(
                f"dataset.image_size={image_size // config.enlarge}: too small for the {len(config.filters)} stages of "
                f"model={config.name}; use larger images, fewer model.filters or model.padding=same"
            )


def _stage(x: Tensor, config: ModelConfig, filters: int, name: str, stride: int) -> Tensor:
    """`convolutions` layers, a shortcut around them where `residual`, then 2x2 max pooling."""
    shortcut = x
    for index in range(1, config.convolutions + 1):
        step = stride if index == 1 else 1
        x = _convolution(config, filters, step, f"{name}_conv{index}")(x)
        x = _normalization(config, f"{name}_norm{index}")(x)
        if config.residual and index == config.convolutions:
            x = layers.Add(name=f"{name}_add")([x, _shortcut(shortcut, filters, stride, name)])
        x = layers.Activation(config.activation, name=f"{name}_{config.activation}{index}")(x)
    x = layers.MaxPooling2D(padding=config.padding, name=f"{name}_pool")(x)
    return layers.SpatialDropout2D(config.spatial_dropout, name=f"{name}_drop")(x) if config.spatial_dropout else x


def _shortcut(x: Tensor, filters: int, stride: int, name: str) -> Tensor:
    """The input brought to the stage's shape: averaged, not skipped over, where there is a stride (He et al., 2019,
    "Bag of tricks", ResNet-D). A strided 1x1 convolution also crashes in TensorFlow 2.21's CPU gradient.
    """
    if stride > 1:
        x = layers.AveragePooling2D(stride, padding="same", name=f"{name}_shortcut_pool")(x)
    return layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)


def _convolution(config: ModelConfig, filters: int, stride: int, name: str) -> layers.Layer:
    kind = layers.SeparableConv2D if config.convolution == "separable" else layers.Conv2D
    return kind(
        filters,
        config.kernel_size,
        strides=stride,
        padding=config.padding,
        use_bias=config.normalization == "none",
        name=name,
    )


def _normalization(config: ModelConfig, name: str) -> Callable[[Tensor], Tensor]:
    if config.normalization == "batch":
        return layers.BatchNormalization(name=name)
    if config.normalization == "layer":
        return layers.LayerNormalization(name=name)
    if config.normalization == "group":
        return layers.GroupNormalization(groups=-1, name=name)
    return lambda x: x


def head(x: Tensor, config: ModelConfig) -> Tensor:
    """The last map as one vector, the dense layers and dropout: (batch, n, n, channels) to (batch, features)."""
    if config.head == "flatten":
        x = layers.Flatten(name="flatten")(x)
    elif config.head == "global_max":
        x = layers.GlobalMaxPooling2D(name="global_max")(x)
    else:
        x = layers.GlobalAveragePooling2D(name="global_average")(x)
    for index, units in enumerate(config.dense, start=1):
        x = layers.Dense(units, activation=config.activation, name=f"dense{index}")(x)
    return layers.Dropout(config.dropout, name="dropout")(x) if config.dropout else x
