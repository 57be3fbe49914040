from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from src.training.batches import AheadOfStep, Batches, balanced_weights, device_images

LABELS = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1, 1])
IMAGES = np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)


def images_of(batches: Batches) -> list[int]:
    return [int(image[0, 0, 0]) for index in range(len(batches)) for image in batches[index][0]["images"]]


def test_an_epoch_holds_every_row_once_with_its_own_label() -> None:
    batches = Batches(IMAGES, LABELS, np.array([1, 3, 5, 7, 9]), 2, seed=0)
    assert len(batches) == 3
    assert sorted(images_of(batches)) == [1, 3, 5, 7, 9]
    for index in range(3):
        inputs, labels, weights = batches[index]
        assert np.array_equal(labels[:, 0], LABELS[inputs["images"][:, 0, 0, 0]])
        assert np.array_equal(inputs["labels"], labels)
        assert (weights == 1).all()


def test_the_order_follows_from_seed_and_epoch() -> None:
    def orders(seed: int | None) -> list[list[int]]:
        batches = Batches(IMAGES, LABELS, np.arange(10), 4, seed=seed)
        seen = []
        for _ in range(3):
            seen.append(images_of(batches))
            batches.go_to(batches.epoch + 1)
        return seen

    assert orders(7) == orders(7)
    assert orders(7)[0] != orders(7)[1] != orders(7)[2]
    assert orders(7) != orders(8)
    assert orders(None) == [list(range(10))] * 3


def test_batches_made_ahead_are_those_of_their_epoch() -> None:
    batches = Batches(IMAGES, LABELS, np.arange(10), 4, seed=7)
    ahead = AheadOfStep(batches)
    ahead[0]  # what Keras looks at before the first epoch, of which the next batch is being made
    for epoch in (1, 0, 5):
        batches.go_to(epoch)
        for index in (1, 2, 0):
            expected, found = batches[index], ahead[index]
            assert all(np.array_equal(expected[0][name], found[0][name]) for name in expected[0])
            assert all(np.array_equal(one, other) for one, other in zip(expected[1:], found[1:], strict=True))


def test_balanced_weights_give_both_classes_the_same_sum() -> None:
    rows = np.array([0, 1, 2, 4, 5])
    weights = balanced_weights(LABELS, rows)[rows]
    assert np.isclose(weights[LABELS[rows] == 0].sum(), weights[LABELS[rows] == 1].sum())
    assert np.isclose(weights.mean(), 1)


def mapped(folder: Path) -> np.ndarray:
    file = folder / "images"
    IMAGES.tofile(file)
    return np.memmap(file, np.uint8, "r", shape=IMAGES.shape)


def test_a_row_number_stands_for_its_image_where_the_images_lie_on_the_device(tmp_path: Path) -> None:
    images = mapped(tmp_path)
    on_device = device_images(images)
    assert on_device is not None
    named = Batches(images, LABELS, np.arange(10), 4, seed=0, on_device=on_device)
    held = Batches(images, LABELS, np.arange(10), 4, seed=0)
    for index in range(len(named)):
        inputs, labels, _ = named[index]
        assert "images" not in inputs
        taken = on_device.take(inputs)
        assert np.array_equal(keras.ops.convert_to_numpy(taken["images"]), held[index][0]["images"])
        assert np.array_equal(taken["labels"], labels)


def test_what_is_no_whole_memory_map_is_fed_image_by_image(tmp_path: Path) -> None:
    images = mapped(tmp_path)
    assert device_images(images[2:]) is None
    assert device_images(np.array(images)) is None


def test_every_pass_over_a_feed_takes_the_order_of_its_epoch(tmp_path: Path) -> None:
    images = mapped(tmp_path)
    batches = Batches(images, LABELS, np.arange(10), 4, seed=0, on_device=device_images(images))
    feed = batches.feed()
    assert int(feed.cardinality()) == 3
    for epoch in (0, 1):
        batches.go_to(epoch)
        rows = np.concatenate([inputs["rows"] for inputs, _, _ in feed.as_numpy_iterator()])
        assert rows.tolist() == batches.order.tolist()
