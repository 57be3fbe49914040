from __future__ import annotations

import numpy as np

from src.training.batches import Batches, balanced_weights

LABELS = np.array([0, 1, 1, 0, 1, 1, 0, 1, 1, 1])
IMAGES = np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)


def pictures_of(batches: Batches) -> list[int]:
    return [int(image[0, 0, 0]) for index in range(len(batches)) for image in batches[index][0]["images"]]


def test_an_epoch_holds_every_row_once_with_its_own_label() -> None:
    batches = Batches(IMAGES, LABELS, np.array([1, 3, 5, 7, 9]), 2, seed=0)
    assert len(batches) == 3
    assert sorted(pictures_of(batches)) == [1, 3, 5, 7, 9]
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
            seen.append(pictures_of(batches))
            batches.go_to(batches.epoch + 1)
        return seen

    assert orders(7) == orders(7)
    assert orders(7)[0] != orders(7)[1] != orders(7)[2]
    assert orders(7) != orders(8)
    assert orders(None) == [list(range(10))] * 3


def test_balanced_weights_give_both_classes_the_same_sum() -> None:
    rows = np.array([0, 1, 2, 4, 5])
    weights = balanced_weights(LABELS, rows)[rows]
    assert np.isclose(weights[LABELS[rows] == 0].sum(), weights[LABELS[rows] == 1].sum())
    assert np.isclose(weights.mean(), 1)
