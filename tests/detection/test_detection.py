"""Faces are found where they are, at any place, size and shape of the image, and by any number of threads."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from src.detection import faces
from src.detection.blazeface import FOLDER, Network, find_faces, grid
from src.detection.faces import Box, Detection, Detector, create_detector
from src.synthetic.faces import draw_face


@pytest.fixture(scope="module")
def detector() -> Detector:
    return create_detector()


def drawn(index: int, side: int) -> Image.Image:
    return Image.fromarray(draw_face(7, index, side)[0])


def overlap(first: Box, second: Box) -> float:
    """Intersection over union."""
    width = min(first.left + first.side, second.left + second.side) - max(first.left, second.left)
    height = min(first.top + first.side, second.top + second.side) - max(first.top, second.top)
    shared = max(0, width) * max(0, height)
    return shared / (first.side**2 + second.side**2 - shared)


def test_a_drawn_face_is_found_wherever_it_is_and_at_any_size(detector: Detector) -> None:
    (alone,) = detector.faces(drawn(0, 200))
    (large,) = detector.faces(drawn(0, 200).resize((1500, 1500), Image.Resampling.BICUBIC))
    assert overlap(Box(round(7.5 * alone.left), round(7.5 * alone.top), round(7.5 * alone.side)), large) > 0.9
    for size, place in (((480, 320), (250, 60)), ((320, 480), (80, 20)), ((400, 400), (10, 190))):
        page = Image.new("RGB", size, "gray")
        page.paste(drawn(0, 200), place)
        (found,) = detector.faces(page)
        expected = Box(alone.left + place[0], alone.top + place[1], alone.side)
        assert overlap(found, expected) > 0.5


def test_faces_are_returned_from_left_to_right_and_none_where_there_is_none(detector: Detector) -> None:
    page = Image.new("RGB", (640, 240), "gray")
    for number, left in enumerate((430, 10, 220)):
        page.paste(drawn(number, 200), (left, 20))
    assert [box.left // 210 for box in detector.faces(page)] == [0, 1, 2]
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for image in (Image.fromarray(noise), Image.new("RGB", (9, 900))):
        assert detector.faces(image) == []


def test_overlapping_boxes_become_one_weighted_by_their_scores() -> None:
    numbers, scores = np.zeros((2304, 16), np.float32), np.full(2304, -100, np.float32)
    for cell, side, score in ((24 * 48 + 24, 60.0, np.log(9)), (24 * 48 + 25, 60.0, np.log(4)), (100, 30.0, 0.0)):
        numbers[cell, 2:4], scores[cell] = side, score
    network = Network(lambda _: (numbers, scores), 192, grid(48))
    found = find_faces([network], Image.new("RGB", (192, 192)), 0.4)
    assert found[:, 0] == pytest.approx([0.9, 0.5])
    middle = (0.9 * 98 + 0.8 * 102) / 1.7
    assert found[0, 1:] == pytest.approx([middle - 30, 68, middle + 30, 128])
    wide = find_faces([network], Image.new("RGB", (288, 192)), 0.6)
    half_larger = np.array([[1.5 * middle - 45, 54, 1.5 * middle + 45, 144]])  # below a border of 48
    assert wide[:, 1:] == pytest.approx(half_larger)


def test_a_face_beside_the_image_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, scores = np.full((2304, 16), 20, np.float32), np.full(2304, -100, np.float32)
    scores[[5, 24 * 48 + 24]] = 10
    network = Network(lambda _: (numbers, scores), 192, grid(48))
    monkeypatch.setattr(faces, "load_blazeface", lambda: [network])
    (found,) = create_detector().faces(Image.new("RGB", (180, 96)))  # the other is in the black border above it
    assert 0 < found.top + found.side / 2 < 96


def test_many_threads_find_what_one_does(detector: Detector) -> None:
    images = [drawn(index, 120 + index) for index in range(8)]
    expected = [detector.faces(image) for image in images]
    assert sum(map(len, expected)) > 6
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(detector.faces, images)) == expected


def test_the_crop_has_the_margin_and_ends_with_the_image() -> None:
    image = Image.new("RGB", (100, 80))
    cutting = Detector(lambda _: [], Detection(margin=0.25))
    assert cutting.crop(image, Box(30, 20, 40)).size == (60, 60)
    assert cutting.crop(image, Box(0, 0, 40)).size == (50, 50)
    assert cutting.crop(image, Box(-30, -30, 200)).size == (100, 80)


def test_the_networks_are_the_published_ones_and_their_licence_is_beside_them() -> None:
    files = sorted(FOLDER.glob("*.tflite"))
    assert len(files) == 2
    for file in files:
        assert hashlib.sha256(file.read_bytes()).hexdigest() in (FOLDER / "README.md").read_text()
    assert "Apache License" in (FOLDER / "LICENSE").read_text()
