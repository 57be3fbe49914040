"""PyTorch's files of weights, as written before version 1.6, read without PyTorch."""

from __future__ import annotations

import math
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

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
