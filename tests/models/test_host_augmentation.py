from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from src.config import AugmentationConfig, Config
from src.models import host_augmentation
from src.models.host_augmentation import HostAugmentation, can_run_on_host
from src.synthetic.faces import draw_face
from src.training.batches import Batches
from src.training.model import create_optimizer

FACES = np.stack([draw_face(0, index, 64)[0] for index in range(16)])
LABELS = np.arange(16, dtype="float32").reshape(-1, 1) % 2


def augment(seed: int = 0, **values: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    augmentation = HostAugmentation(AugmentationConfig("one", **values))
    return augmentation(FACES, LABELS, np.random.default_rng(seed))


@pytest.mark.parametrize("name", [name for name in host_augmentation.ON_HOST if name not in ("mixup", "cutmix")])
def test_each_change_alone_alters_images_and_keeps_labels_and_what_it_was_given(name: str) -> None:
    before = FACES.copy()
    images, labels = augment(**{name: True if name == "flip" else 0.4})
    assert images.dtype == np.uint8
    assert images.shape == FACES.shape
    assert not np.array_equal(images, FACES)
    assert np.array_equal(labels, LABELS)
    assert np.array_equal(FACES, before)


def test_one_map_is_what_keras_makes_in_five_steps() -> None:
    config = AugmentationConfig("geometry", flip=True, rotation=0.05, translation=0.1, zoom=0.15, shear=0.05)
    steps = {name: getattr(config, name) for name in ("flip", "rotation", "translation", "zoom", "shear")}

    def maps(**values: float) -> NDArray[np.float64]:
        made = AugmentationConfig("part", **values)
        return host_augmentation._draw_maps(made, 16, 64, 64, np.random.default_rng(3))

    # Each step draws the same numbers: what is off is drawn in a range of width 0.
    config_maps = maps(**steps)
    images = FACES.astype("float32")
    for part in ({"flip": True}, *({name: value} for name, value in list(steps.items())[1:])):
        own = host_augmentation._draw_maps(
            AugmentationConfig("part", **({"flip": True} | part)), 16, 64, 64, np.random.default_rng(3)
        )
        if "flip" not in part:  # take the mirroring out again
            mirror = maps(flip=True)
            whole = np.concatenate([mirror, np.broadcast_to([[[0, 0, 1.0]]], (16, 1, 3))], axis=1)
            own = (np.linalg.inv(whole) @ np.concatenate([own, whole[:, 2:]], axis=1))[:, :2]
        eight = np.concatenate([own.reshape(16, 6), np.zeros((16, 2))], axis=1).astype("float32")
        images = np.asarray(keras.ops.image.affine_transform(images, eight, "bilinear", "reflect"))
    import cv2

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    fused = np.stack(
        [
            cv2.warpAffine(face, own, (64, 64), flags=flags, borderMode=cv2.BORDER_REFLECT)
            for face, own in zip(FACES, config_maps, strict=True)
        ]
    )
    inside = np.s_[:, 20:44, 20:44]  # where no step looks beyond the image
    assert np.abs(fused[inside].astype(float) - images[inside]).mean() < 4  # four resamplings blur more than one
    assert np.abs(fused[inside].astype(float) - FACES[inside]).mean() > 12


def test_brightness_and_contrast_are_those_of_keras() -> None:
    config = AugmentationConfig("light", brightness=0.1, contrast=0.2)
    images, _ = HostAugmentation(config)(FACES, LABELS, np.random.default_rng(1))
    random = np.random.default_rng(1)
    shift = 255 * random.uniform(-0.1, 0.1, (16, 1))[..., None, None]
    factor = 1 + random.uniform(-0.2, 0.2, 16)[:, None, None, None]
    lighter = FACES + shift
    mean = lighter.mean(axis=(1, 2), keepdims=True)
    expected = np.clip((lighter - mean) * factor + mean, 0, 255)
    assert np.abs(images - expected).max() <= 1


def test_strengths_are_what_the_comments_of_the_config_say() -> None:
    def drawn(draw: Callable[..., NDArray[np.float64]], *size: int, **values: float) -> NDArray[np.float64]:
        return draw(AugmentationConfig("one", **values), 4000, *size, np.random.default_rng(0))

    rotation = drawn(host_augmentation._draw_maps, 64, 64, rotation=0.05)
    assert np.degrees(np.arctan2(rotation[:, 1, 0], rotation[:, 0, 0])).max() == pytest.approx(18, abs=0.1)
    assert np.abs(drawn(host_augmentation._draw_maps, 64, 64, shear=0.05)[:, 0, 1]).max() == pytest.approx(
        0.05, rel=0.01
    )
    hue = drawn(host_augmentation._draw_colors, hue=0.1).trace(axis1=1, axis2=2)
    assert np.degrees(np.arccos((hue.min() - 1) / 2)) == pytest.approx(18, abs=0.1)  # a tenth of half the circle
    saturation = (drawn(host_augmentation._draw_colors, saturation=0.2).trace(axis1=1, axis2=2) - 1) / 2
    assert (saturation.min(), saturation.max()) == pytest.approx((3 / 7, 7 / 3), rel=0.01)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_is_decoupled_from_the_gradient(name: str, make_config: Callable[..., Config]) -> None:
    config = make_config(f"optimizer={name}", "optimizer.weight_decay=0.1", "optimizer.learning_rate=0.5").optimizer
    optimizer = create_optimizer(replace(config, schedule="constant", warmup_epochs=0), 1, 1)
    weight = keras.Variable([1.0], name="kernel")
    optimizer.apply([keras.ops.zeros(1)], [weight])
    assert float(weight[0]) == pytest.approx(1 - 0.5 * 0.1)  # L2 would go through Adam's moments


def test_gray_is_gray_and_hue_keeps_it() -> None:
    gray, _ = augment(grayscale=1.0)
    expected = np.stack([np.asarray(Image.fromarray(face).convert("L")) for face in FACES])
    assert np.abs(gray.astype(int) - expected[..., None]).max() <= 1
    lightness = np.repeat(np.arange(0, 256, dtype=np.uint8)[None, :, None], 3, axis=2)[None]
    augmentation = HostAugmentation(AugmentationConfig("colors", hue=0.5, saturation=0.5))
    turned, _ = augmentation(lightness.repeat(4, axis=0), LABELS[:4], np.random.default_rng(0))
    assert np.abs(turned.astype(int) - lightness).max() <= 1


def test_shares_are_the_shares_of_images() -> None:
    images, labels = np.zeros((400, 24, 24, 3), np.uint8) + 100, np.zeros((400, 1), "float32")
    for name in ("erasing", "resolution"):
        source = images if name == "erasing" else np.random.default_rng(0).integers(0, 256, images.shape, np.uint8)
        augmentation = HostAugmentation(AugmentationConfig("share", **{name: 0.25}))
        changed, _ = augmentation(source, labels, np.random.default_rng(0))
        assert 0.18 < (changed != source).any(axis=(1, 2, 3)).mean() < 0.32


def test_mixed_labels_are_the_shares_of_what_is_mixed() -> None:
    values = np.linspace(0, 250, 16).astype("uint8")
    flat = np.broadcast_to(values[:, None, None, None], FACES.shape)
    augmentation = HostAugmentation(AugmentationConfig("both", mixup=0.4, cutmix=1.0))
    images, labels = augmentation(flat, values[:, None].astype("float32"), np.random.default_rng(0))
    assert np.allclose(images.mean(axis=(1, 2, 3)), labels[:, 0], atol=0.6)
    cut = np.array([len(np.unique(image)) > 1 for image in images])
    assert 0 < cut.sum() < len(images)


def test_the_same_generator_gives_the_same_changes_on_any_number_of_threads(make_config: Callable[..., Config]) -> None:
    augmentation = HostAugmentation(make_config("aug=strong").aug)
    first = augmentation(FACES, LABELS, np.random.default_rng(5))
    augmentation.pool = ThreadPoolExecutor(1)
    again = augmentation(FACES, LABELS, np.random.default_rng(5))
    other = augmentation(FACES, LABELS, np.random.default_rng(6))
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_batch_is_the_same_whenever_it_is_made_and_another_one_in_the_next_epoch() -> None:
    def made(order: list[int], epoch: int = 0) -> dict[int, NDArray[np.uint8]]:
        augmentation = HostAugmentation(AugmentationConfig("light", rotation=0.1, brightness=0.2))
        batches = Batches(FACES, LABELS[:, 0], np.arange(16), 4, seed=3, augmentation=augmentation)
        batches.go_to(epoch)
        return {index: batches[index][0]["images"] for index in order}

    first, backwards, later = made([0, 1, 2, 3]), made([3, 2, 1, 0]), made([0], epoch=1)
    assert all(np.array_equal(first[index], backwards[index]) for index in range(4))
    assert not np.array_equal(first[0], later[0])


def test_changes_of_the_models_own_layers_are_not_taken_for_known_here(make_config: Callable[..., Config]) -> None:
    assert all(can_run_on_host(make_config(f"aug={name}").aug) for name in ("none", "light", "strong", "photos"))
    config = make_config("aug=randaugment").aug
    assert not can_run_on_host(config)
    with pytest.raises(ValueError, match="randaugment"):
        HostAugmentation(config)
