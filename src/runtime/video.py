"""Moving images: the frames of a video or camera, faces followed through them, and answers smoothed over time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.images import DEFAULT_LIMITS, prepare_image
from ..detection.faces import Box
from ..errors import DataError
from ..metrics.log_odds import log_odds, sigmoid
from ..system import printable
from .outputs import hundredths
from .photos import PhotoPredictor, face_detector
from .predictor import Predictor

TIME_CONSTANT = 0.5
"""Seconds after which a lasting change of the frames' answers has moved the smoothed one by 63 %."""

LOST_SECONDS = 1.0
"""A face that is not found for so long is a new one when it comes back."""

MAX_MOVE, MAX_GROWTH = 0.75, 2.0
"""From one frame to the next a face moves by this share of its side at most, and grows or shrinks by this factor."""

WHOLE_FRAME = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """An upright RGB image, `time` seconds after the first one; `number` counts all frames of the video from 0."""

    number: int
    time: float
    image: Image.Image


class Video:
    """A video file or a camera, one frame in memory at a time."""

    def __init__(self, source: str | int) -> None:
        """Open a file or the camera with that number. Raises DataError, also where OpenCV is not installed."""
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # its notices on single frames
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        try:
            import cv2
        except ImportError:
            raise DataError("videos are read by OpenCV: pip install opencv-python-headless") from None
        self.is_camera = isinstance(source, int)
        self.name = f"camera {source}" if isinstance(source, int) else printable(source)
        if isinstance(source, str) and not os.path.isfile(source):
            raise DataError(f"{self.name}: no such file")
        self._cv2: Any = cv2
        self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            known = (
                "no such camera, or it is in use"
                if isinstance(source, int)
                else "no video that can be read, or cut off"
            )
            raise DataError(f"{self.name}: {known}")
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > DEFAULT_LIMITS.megapixels * 1e6:
            raise DataError(f"{self.name}: frames of {width}x{height} pixels are too large")
        self.count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        """Frames that the file says it has; 0 for a camera."""
        self.read, self.seconds = 0, 0.0

    def frames(self, fps: float) -> Iterator[Frame]:
        """Yield at most `fps` frames for each second of the video."""
        wanted = 0.0
        while self._capture.grab():
            number, self.read = self.read, self.read + 1
            time = max(0.0, self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1000)
            self.seconds = max(time, self.seconds)
            if time + 1e-6 < wanted:
                continue
            whole, pixels = self._capture.retrieve()
            if whole:
                wanted = max(wanted + 1 / fps, time)
                yield Frame(number, time, Image.fromarray(self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB)))
        self._capture.release()

    def expected(self, fps: float) -> int:
        """Estimate how many frames `frames` yields; 0 for a camera."""
        rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        return min(self.count, round(self.count * fps / rate)) if rate > 0 else self.count

    def summary(self, answered: int) -> str:
        """One line for a person: what was read, and what is missing of it."""
        lacking = f" of {self.count}, the rest is truncated or damaged" if self.read < self.count else ""
        return f"{self.name}: {self.seconds:.1f} s, {self.read} frames{lacking}; {answered} answered"


@dataclass(frozen=True, slots=True)
class FrameAnswer:
    """The answer to one face of a frame, or to the whole frame where `face` is 0 and `box` None, because none is found.

    `probability` is that of class 1, smoothed over the frames before; `single` that of this frame alone.
    """

    time: float
    frame: int
    face: int
    box: Box | None
    label: str
    probability: float
    single: float

    def fields(self, positive: str) -> dict[str, str | int | float | None]:
        """The answer as a row of a table; `positive` is the name of class 1."""
        box = (None, None, None) if self.box is None else (self.box.left, self.box.top, self.box.side)
        values = (round(self.time, 3), self.frame, self.face, *box, self.label, self.probability, self.single)
        return dict(zip(answer_fields(positive), values, strict=True))

    def text(self, positive: str) -> str:
        """One line for a person."""
        place = "" if self.box is None else f"  (at {self.box.left}, {self.box.top}, {self.box.side} pixels)"
        said = f"{self.label:<8}  p_{positive} {hundredths(self.probability):<5}"
        return f"{self.time:7.2f} s  {named(self.face):<11}  {said}{place}"


def answer_fields(positive: str) -> tuple[str, ...]:
    """The names of a frame answer's fields."""
    return ("time", "frame", "face", "left", "top", "side", "label", f"p_{positive}", f"p_{positive}_frame")


@dataclass
class Track:
    """A face that is followed: its `number` from 1, where and when it was seen last, and its smoothed log-odds."""

    number: int
    box: Box | None
    time: float
    smoothed: float | None = field(default=None)

    def add(self, found: float, time: float) -> float:
        """Smooth the log-odds of a frame into those before, exponentially in time, and return the result."""
        share = 1 - np.exp(-(time - self.time) / TIME_CONSTANT)
        self.smoothed = found if self.smoothed is None else self.smoothed + share * (found - self.smoothed)
        self.time = time
        return float(self.smoothed)


class Tracker:
    """Follows faces from frame to frame by the nearest center."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self.count = 0

    def follow(self, boxes: list[Box], time: float) -> list[Track]:
        """Return the track of each box, a new one where no face of the last second was there."""
        self.tracks = [track for track in self.tracks if time - track.time <= LOST_SECONDS]
        moves = sorted(
            (_move(track.box, box), place, number)
            for place, box in enumerate(boxes)
            for number, track in enumerate(self.tracks)
            if track.box
        )
        followed: dict[int, Track] = {}
        for move, place, number in moves:
            track = self.tracks[number]
            if move <= MAX_MOVE and place not in followed and track not in followed.values():
                followed[place] = track
        for place, box in enumerate(boxes):
            if place not in followed:
                self.count += 1
                followed[place] = Track(self.count, box, time)
                self.tracks.append(followed[place])
            followed[place].box = box
        return [followed[place] for place in range(len(boxes))]


def _move(before: Box | None, box: Box) -> float:
    """Return the distance of two boxes' centers in sides of the larger; infinite where their sizes do not fit."""
    if before is None or max(before.side, box.side) > MAX_GROWTH * min(before.side, box.side):
        return float("inf")
    across, down = (
        getattr(box, edge) + box.side / 2 - getattr(before, edge) - before.side / 2 for edge in ("left", "top")
    )
    return float(np.hypot(across, down) / max(before.side, box.side))


def answer_frames(predictor: Predictor[Any], frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[FrameAnswer]]]:
    """Yield each frame with an answer for each of its faces, from left to right; where none is found, or a predictor
    for whole images is given, with one answer for the frame.
    """
    photos = isinstance(predictor, PhotoPredictor)
    detect, bundle = face_detector(predictor.bundle) if photos else None, predictor.bundle
    tracker, whole = Tracker(), Track(WHOLE_FRAME, None, 0.0)
    for frame in frames:
        boxes = detect.faces(frame.image) if detect else []
        if detect and boxes:
            crops = [np.asarray(prepare_image(detect.crop(frame.image, box), bundle.image_size)) for box in boxes]
            singles: NDArray[np.float64] = predictor.one_face.probabilities(np.stack(crops))
            tracks, label = tracker.follow(boxes, frame.time), bundle.label
        else:
            prepared = predictor.prepare_pixels(np.asarray(frame.image))
            singles = np.array([predictor.evaluate([prepared])[0].probability])
            tracks, label = [whole], bundle.fused_label if photos else bundle.label
        answers = []
        for track, single in zip(tracks, singles.tolist(), strict=True):
            probability = float(sigmoid(track.add(float(log_odds(single)), frame.time)))
            answers.append(
                FrameAnswer(frame.time, frame.number, track.number, track.box, label(probability), probability, single)
            )
        yield frame, answers


def named(face: int) -> str:
    """The name of a face that is followed."""
    return "whole frame" if face == WHOLE_FRAME else f"face {face}"
