"""Near-duplicates: the banded search against comparing everything with everything, and hashes of changed images."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from src.data.decoding import image_statistics
from src.data.duplicates import connected_groups, equal_pairs, near_duplicate_pairs, perceptual_hashes
from src.data.images import decode_pixels


def flipped(hashes: np.ndarray, bits: int, random: np.random.Generator) -> np.ndarray:
    """Hashes with exactly `bits` different bits flipped."""
    masks = [sum(1 << int(bit) for bit in random.choice(64, bits, replace=False)) for _ in hashes]
    return hashes ^ np.array(masks, dtype=np.uint64)


def exhaustive_groups(phash: np.ndarray, dhash: np.ndarray, distance: int, confirm: int) -> np.ndarray:
    near = np.bitwise_count(phash[:, None] ^ phash) <= distance
    near &= np.bitwise_count(dhash[:, None] ^ dhash) <= confirm
    left, right = np.nonzero(near)
    return connected_groups(len(phash), (left, right))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 16), st.integers(0, 2**32 - 1), st.integers(20, 300))
def test_banding_finds_what_comparing_everything_finds(distance: int, seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    phash = random.integers(0, 2**63, count, dtype=np.uint64)
    # Half of them are changed copies, in as many bits as are just allowed, and one more or less.
    for offset in (-1, 0, 1):
        start = count // 2 + (offset + 1) * count // 8
        length = count // 8
        phash[start : start + length] = flipped(phash[:length], min(max(distance + offset, 0), 64), random)
    dhash = random.integers(0, 4, count, dtype=np.uint64)
    groups = connected_groups(count, near_duplicate_pairs(phash, dhash, distance, 1))
    np.testing.assert_array_equal(groups, exhaustive_groups(phash, dhash, distance, 1))


def test_a_hundred_thousand_blank_images_are_one_group() -> None:
    blank = np.zeros(100_000, dtype=np.uint64)
    left, _ = near_duplicate_pairs(blank, blank, 6, 10)
    assert len(left) < 200_000
    assert connected_groups(100_000, near_duplicate_pairs(blank, blank, 6, 10)).max() == 0


def test_the_second_hash_must_agree() -> None:
    phash = np.array([5, 5], dtype=np.uint64)
    dhash = np.array([0, 2**11 - 1], dtype=np.uint64)
    assert connected_groups(2, near_duplicate_pairs(phash, dhash, 6, 10)).tolist() == [0, 1]
    assert connected_groups(2, near_duplicate_pairs(phash, dhash, 6, 11)).tolist() == [0, 0]


def test_groups_are_numbered_by_their_first_rows() -> None:
    assert connected_groups(5, equal_pairs(np.array(["b", "a", "c", "a", "b"]))).tolist() == [0, 1, 2, 1, 0]


def photo(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    return Image.fromarray(random.integers(0, 256, (7, 7, 3), dtype=np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )


def distances(first: Image.Image, second: Image.Image) -> tuple[int, int]:
    images = []
    for image in (first, second):
        buffer = BytesIO()
        image.save(buffer, "PNG")
        images.append(decode_pixels(buffer.getvalue(), 256))
    phash, dhash = perceptual_hashes(images)
    return int(np.bitwise_count(phash[0] ^ phash[1])), int(np.bitwise_count(dhash[0] ^ dhash[1]))


def recompressed(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


CHANGES = {
    "recompressed": recompressed,
    "half the size": lambda image: image.resize((160, 120)),
    "another shape": lambda image: image.resize((300, 300)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.08),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "gray": lambda image: image.convert("L"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near(change: str) -> None:
    for seed in range(3):
        phash, dhash = distances(photo(seed), CHANGES[change](photo(seed)))
        assert phash <= 6
        assert dhash <= 10


def test_other_images_are_far() -> None:
    for seed in range(5):
        phash, _ = distances(photo(seed), photo(seed + 100))
        assert phash > 12


def test_statistics_say_what_they_mean() -> None:
    flat = np.full((256, 256, 3), (200, 100, 50), dtype=np.uint8)
    found = image_statistics(flat)
    assert tuple(found[name] for name in ("red", "green", "blue", "color")) == (200, 100, 50, "color")
    assert found["brightness"] == pytest.approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50, abs=1)
    assert (found["contrast"], found["sharpness"], found["saturation"]) == (0, 0, 150)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 1), dtype=np.uint8).repeat(3, axis=2)
    assert image_statistics(noise)["sharpness"] > 50
    assert image_statistics(noise)["color"] == "gray"
