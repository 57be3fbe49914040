"""Videos: the answers change when the faces do, whatever the file's end."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from src.config import PROJECT_ROOT
from src.detection.faces import Box
from src.runtime.video import LOST_SECONDS, Tracker
from src.synthetic.faces import draw_face
from tests.trained_model import Run

SHIPPED = ("--model", PROJECT_ROOT / "models" / "happy_sad")
RATE, HALF = 10, 5  # frames a second, and in half a second
SEEDS = {"happy": 4, "sad": 5}


def write_video(file: Path, stages: Sequence[Sequence[str]]) -> None:
    """Write half a second of each stage: of no, one or two drawn faces with these labels, side by side."""
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (440, 240))
    for number in range(HALF * len(stages)):
        frame = np.full((240, 440, 3), (120, 110, 90), np.uint8)
        for place, label in enumerate(stages[number // HALF]):
            left = 10 + 220 * place + number % 3
            frame[20:220, left : left + 200] = draw_face(7, SEEDS[label] + 2 * place, 200)[0]
        writer.write(frame[:, :, ::-1])
    writer.release()


def test_the_answer_to_each_face_changes_soon_after_the_face_does(predict: Run, tmp_path: Path) -> None:
    write_video(clip := tmp_path / "clip.avi", [("happy", "sad")] * 2 + [("sad", "sad")] * 2 + [("happy", "sad")] * 2)
    result = predict(*SHIPPED, clip, "--csv", tmp_path / "rows.csv", "--timeline", tmp_path / "timeline.html")
    assert result.code == 0
    changes = [(line.split()[3], line.split()[4], float(line.split()[0])) for line in result.lines]
    assert [change[:2] for change in changes] == [("1", "happy"), ("2", "sad"), ("1", "sad"), ("1", "happy")]
    assert changes[0][2] == changes[1][2] == 0
    assert 1 <= changes[2][2] <= 1.6
    assert 2 <= changes[3][2] <= 2.6
    rows = list(csv.DictReader((tmp_path / "rows.csv").open()))
    assert [(row["frame"], row["face"]) for row in rows[:4]] == [("0", "1"), ("0", "2"), ("1", "1"), ("1", "2")]
    assert len(rows) == 2 * 6 * HALF
    page = (tmp_path / "timeline.html").read_text()
    assert page.count('class="face"') == 2
    assert "data:image/png" in page


def test_a_frame_without_a_face_is_answered_as_a_whole_and_fewer_can_be_looked_at(predict: Run, tmp_path: Path) -> None:
    write_video(clip := tmp_path / "clip.avi", [("happy",), (), ("sad",)])
    result = predict(*SHIPPED, clip, "--json", "--fps", "5")
    rows = [json.loads(line) for line in result.lines]
    assert [row["time"] for row in rows] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4])
    assert [row["face"] for row in rows] == [1, 1, 1, 0, 0, 1, 1, 1]
    assert rows[3]["left"] is None


def test_a_damaged_video_is_answered_as_far_as_it_goes(predict: Run, tmp_path: Path) -> None:
    write_video(clip := tmp_path / "clip.avi", [("happy",)] * 4)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = predict(*SHIPPED, clip)
    assert result.lines[0].split()[:5] == ["0.00", "s", "face", "1", "happy"]
    assert "of 20, the rest is truncated or damaged" in result.said
    clip.write_bytes(b"no video")
    assert "no video that can be read" in predict(*SHIPPED, clip).error
    assert "camera 97: no such camera" in predict(*SHIPPED, "--camera", "97").error
    assert "one video or camera at a time" in predict(*SHIPPED, clip, clip).error


def test_faces_keep_their_numbers_while_they_move_and_lose_them_after_a_second() -> None:
    tracker = Tracker()
    for step in range(10):  # towards one another, and listed from left to right
        boxes = [Box(10 * step, 0, 50), Box(200 - 10 * step, 60, 50)]
        ordered = sorted(boxes, key=lambda box: box.left)
        numbers = [track.number for track in tracker.follow(ordered, step / 10)]
        assert numbers == [boxes.index(box) + 1 for box in ordered]
    assert [track.number for track in tracker.follow([Box(400, 0, 50)], 1.0)] == [3]
    assert [track.number for track in tracker.follow([Box(90, 0, 50)], 1.0 + LOST_SECONDS)] == [4]
