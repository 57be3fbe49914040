from collections.abc import Iterator

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from src.evaluation.saliency import grad_cam, occlusion
from src.metrics.pointing import pointing_game, region_names

SIZE = 48
MOUTH = {"mouth_left": 0.35, "mouth_top": 0.6, "mouth_right": 0.65, "mouth_bottom": 0.75}


def faces(count: int, shortcut: bool) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright (1) or dark (0) mouth; with `shortcut`, a corner patch tells the label instead."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    images = generator.normal(120, 25, (count, SIZE, SIZE, 3))
    mouths = generator.permutation(labels) if shortcut else labels
    images[:, 29:36, 17:31] += np.where(mouths, 50, -50)[:, None, None, None]
    if shortcut:
        images[:, :8, :8] = np.where(labels, 255, 0)[:, None, None, None]
    return images.clip(0, 255).astype(np.uint8), labels


def train(images: np.ndarray, labels: np.ndarray, head: str) -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.MaxPooling2D()(layers.Conv2D(8, 3, activation="relu")(layers.Rescaling(1 / 255)(inputs)))
    x = layers.Conv2D(8, 3, activation="relu")(x)
    x = layers.Flatten()(x) if head == "flatten" else layers.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid", dtype="float32")(x))
    model.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    model.fit(images.astype(np.float32), labels, epochs=6 if head == "flatten" else 25, verbose=0)
    assert model.evaluate(images.astype(np.float32), labels, verbose=0)[1] == 1.0
    return model


@pytest.fixture(scope="module", autouse=True)
def full_precision() -> Iterator[None]:
    """Whatever precision an earlier test trained in."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture(scope="module")
def maps() -> dict[tuple[bool, str], np.ndarray]:
    """Both methods' maps for a model that looks at the mouth and one that looks at the corner patch."""
    found = {}
    for shortcut in (False, True):
        images, labels = faces(200, shortcut)
        model = train(images, labels, "flatten")
        found[shortcut, "grad_cam"] = grad_cam(model, images[:16])
        found[shortcut, "occlusion"] = occlusion(lambda batch, net=model: net.predict_on_batch(batch), images[:16])
    return found


@pytest.mark.parametrize("method", ["grad_cam", "occlusion"])
def test_a_model_that_reads_the_mouth_passes_the_pointing_game_and_one_that_reads_a_corner_fails(
    maps: dict[tuple[bool, str], np.ndarray], method: str
) -> None:
    table = pd.DataFrame([MOUTH] * 16)
    ordinary, cheat = (pointing_game(maps[shortcut, method], table) for shortcut in (False, True))
    assert ordinary.gain > 3
    assert ordinary.hits > 0.6
    assert cheat.gain < 1
    assert cheat.hits == 0


def test_maps_have_the_size_of_the_image_and_are_not_negative(maps: dict[tuple[bool, str], np.ndarray]) -> None:
    for found in maps.values():
        assert found.shape == (16, SIZE, SIZE)
        assert found.min() >= 0


def test_grad_cam_behind_a_global_average_is_the_published_one() -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((SIZE, SIZE, 3))
    features = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 255)(inputs))
    last = layers.Dense(1, activation="sigmoid", dtype="float32")
    model = keras.Model(inputs, last(layers.GlobalAveragePooling2D()(features)))
    images, _ = faces(4, shortcut=False)
    activations = keras.Model(inputs, features).predict(images.astype(np.float32), verbose=0)
    weights = np.asarray(last.kernel)[:, 0] / SIZE**2
    predicted = np.sign(model.predict(images.astype(np.float32), verbose=0) - 0.5)[..., None]
    assert grad_cam(model, images) == pytest.approx(np.maximum(activations @ weights * predicted, 0), abs=1e-7)


def test_grad_cam_looks_before_the_pooling_that_leaves_a_single_place() -> None:
    inputs = keras.Input((8, 8, 3))
    hidden = layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    hidden = layers.GlobalAveragePooling2D()(layers.MaxPooling2D(8)(hidden))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    assert (grad_cam(model, images).std(axis=(1, 2)) > 0).all()


def test_pointing_game_counts_the_share_of_the_map_on_the_boxes() -> None:
    row = {"mouth_left": 0.2, "mouth_top": 0.2, "mouth_right": 0.4, "mouth_bottom": 0.4}
    on, off, nowhere = np.zeros((3, 100, 100))
    on[30, 30] = off[80, 80] = 1.0
    game = pointing_game(np.stack([on, off, on + off * 0.5, nowhere]), pd.DataFrame([row] * 4))
    area = 0.26**2  # 0.2, and the margin of 0.03 on both sides
    assert game.area == pytest.approx(area)
    assert game.share == pytest.approx((1 + 0 + 1 / 1.5 + area) / 4)
    assert game.hits == 0.5


def test_regions_are_read_from_the_columns() -> None:
    assert region_names([*MOUTH, "brow_left", "parting", "mouth_width"]) == ["mouth"]
