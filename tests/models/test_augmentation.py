from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from src.config import AugmentationConfig, Config
from src.models.augmentation import Augmentation
from src.training.backend import reset


def batch(size: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(size, dtype="float32").reshape(-1, 1) % 2
    return {"images": rng.integers(0, 256, (size, 24, 24, 3), np.uint8), "labels": labels}


def augment(config: AugmentationConfig, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    reset(seed, "float32")
    changed = Augmentation(config)(batch())
    return np.asarray(changed["images"]), np.asarray(changed["labels"])


def test_none_leaves_images_and_labels_alone(make_config: Callable[..., Config]) -> None:
    images, labels = augment(make_config("aug=none").aug)
    assert np.array_equal(images, batch()["images"])
    assert np.array_equal(labels, batch()["labels"])


@pytest.mark.parametrize(
    "value",
    [
        {"flip": True},
        {"rotation": 0.2},
        {"translation": 0.2},
        {"zoom": 0.3},
        {"shear": 0.3},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"saturation": 0.3},
        {"hue": 0.3},
        {"grayscale": 1.0},
        {"resolution": 1.0},
        {"randaugment": 0.2},
        {"erasing": 1.0},
    ],
    ids=lambda value: next(iter(value)),
)
def test_each_change_alone_alters_images_within_range_and_keeps_labels(value: dict) -> None:
    images, labels = augment(AugmentationConfig(name="one", **value))
    assert not np.array_equal(images, batch()["images"])
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 255
    assert np.array_equal(labels, batch()["labels"])


def test_a_share_of_the_images_is_of_a_lower_resolution() -> None:
    images, _ = augment(AugmentationConfig(name="coarse", resolution=0.5))
    assert 0 < (images != batch()["images"]).any(axis=(1, 2, 3)).sum() < len(images)
    assert images.mean() == pytest.approx(batch()["images"].mean(), rel=0.02)


def test_mixup_blends_labels_as_it_blends_images() -> None:
    images, labels = augment(AugmentationConfig(name="mixup", mixup=0.4))
    assert ((labels > 0) & (labels < 1)).any()
    assert images.min() >= 0
    assert images.max() <= 255


def test_mixup_and_cutmix_together_give_each_image_one_of_them() -> None:
    images, labels = augment(AugmentationConfig(name="both", mixup=0.4, cutmix=1.0))
    whole_pixels = (images == np.round(images)).all(axis=(1, 2, 3))
    assert 0 < whole_pixels.sum() < len(images)
    assert labels.shape == (16, 1)


def test_changes_are_made_in_float32_also_where_training_is_not(make_config: Callable[..., Config]) -> None:
    reset(0, "bfloat16")
    changed = Augmentation(make_config("aug=strong").aug)(batch())
    assert np.asarray(changed["images"]).dtype == np.asarray(changed["labels"]).dtype == np.float32
    reset(0, "float32")


def test_the_same_seed_gives_the_same_changes(make_config: Callable[..., Config]) -> None:
    config = make_config("aug=strong").aug
    first, again, other = augment(config, 1), augment(config, 1), augment(config, 2)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])
