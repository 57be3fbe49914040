"""A model's weights: identified by a digest, and moved into a model that computes in full precision."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from ..config import Config
from ..errors import ConfigError
from ..system import quiet_stderr
from .classifier import backbone, create_classifier, mirrored, unmirrored
from .efficientnet_lite import load_torch_weights


@contextlib.contextmanager
def float32() -> Iterator[None]:
    """Layers made inside this context compute in float32; the global dtype policy is given back afterwards."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def finished(classifier: keras.Model, config: Config) -> keras.Model:
    """Return the model that is evaluated, kept and exported: the same weights in float32, with the mean over an image
    and its mirror image where `evaluation.flip` asks for it.
    """
    with float32():
        final = create_classifier(config.model, config.dataset.image_size)
    final.set_weights(classifier.get_weights())
    return mirrored(final) if config.evaluation.flip else final


def load_model(file: Path, *, compiled: bool = False) -> keras.Model:
    """Load a Keras model, which may be a stranger's: one that holds code of its own is not loaded. Raises ValueError,
    with one line, for whatever Keras does not load.
    """
    try:
        with quiet_stderr():  # TensorFlow's report of a lack of memory; a warning that an optimizer is a fresh one
            return keras.saving.load_model(file, compile=compiled, safe_mode=True)
    except Exception as error:  # noqa: BLE001 - Keras raises any, by what the file says
        reason = " ".join(str(error).split())
        if "safe_mode" in reason:
            raise ValueError("it holds code of its own, which is never run") from None
        raise ValueError(f"{type(error).__name__}: {reason[:200]}") from None


def load_weights(classifier: keras.Model, file: Path, key: str) -> None:
    """Set the classifier's weights to those of a model (.keras), its own (.weights.h5) or its backbone's (.h5, .pth).

    Raises ConfigError, which begins with `key`, where the file holds those of another network or cannot be read.
    """
    try:
        if file.suffix == ".keras":
            found = unmirrored(load_model(file)).get_weights()
            for own, weights in zip(classifier.weights, found, strict=True):
                if tuple(own.shape) != weights.shape:
                    raise ValueError(f"{own.path} is {weights.shape} there, {tuple(own.shape)} here")
            classifier.set_weights(found)
        elif file.suffix == ".pth":
            load_torch_weights(classifier, file)
        else:
            whole = file.name.endswith(".weights.h5")
            (classifier if whole else backbone(classifier)).load_weights(file)
    except Exception as error:  # noqa: BLE001 - what a file that is none makes Keras, h5py and torch raise
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"{key}: {file.name} does not hold the weights of this network: {reason}") from None


def weights_digest(model: keras.Model) -> str:
    """SHA-256 of all weights in order, with their shapes: equal only for bit-identical models."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(str(weights.shape).encode())
        digest.update(np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()
