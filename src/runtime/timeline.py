"""The answers to a video over time, as a figure and as a page with the faces that were followed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ..reports.pages import Thumbnail, data_uri, render, thumbnail, write_page
from ..reports.style import CYCLE, GRAY, axes, png, save_png, styled
from .video import WHOLE_FRAME, Frame, FrameAnswer, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_FACES = 12
"""So many faces are drawn, those seen longest."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which a face had one label, and its mean probability of class 1 there."""

    face: int
    start: float
    end: float
    label: str
    probability: float


@dataclass
class Timeline:
    """The answers to a video as they come. Of each face only its first image is kept."""

    name: str
    class_names: Sequence[str]
    threshold: float
    answers: dict[int, list[FrameAnswer]] = field(default_factory=dict)
    images: dict[int, Thumbnail] = field(default_factory=dict)

    def add(self, frame: Frame, answers: Sequence[FrameAnswer]) -> None:
        """Keep the answers to one frame."""
        for answer in answers:
            self.answers.setdefault(answer.face, []).append(answer)
            if answer.face not in self.images:
                self.images[answer.face] = thumbnail(np.asarray(_shown(frame.image, answer)), named(answer.face))

    def segments(self) -> list[Segment]:
        """The segments of all faces, by their start."""
        return sorted(
            (segment for face in self.answers for segment in self._segments(face)), key=lambda found: found.start
        )

    def write(self, file: Path) -> None:
        """Write a `.html` page, or the figure alone as `.png`."""
        figure = timeline_figure(self)
        if file.suffix != ".html":
            return save_png(figure, file)
        faces = [(self.images[face], list(self._segments(face))) for face in self._longest()]
        page = render("timeline.html", timeline=self, figure=data_uri(png(figure)), faces=faces)
        return write_page(file, page)

    def _segments(self, face: int) -> Iterator[Segment]:
        for label, group in groupby(self.answers[face], key=lambda answer: answer.label):
            found = list(group)
            mean = float(np.mean([answer.probability for answer in found]))
            yield Segment(face, found[0].time, found[-1].time, label, mean)

    def _longest(self) -> list[int]:
        by_length = sorted(self.answers, key=lambda face: (-len(self.answers[face]), face))
        return sorted(by_length[:MAX_FACES])


def _shown(image: Image.Image, answer: FrameAnswer) -> Image.Image:
    if answer.box is None:
        return image
    box = answer.box
    return image.crop((box.left, box.top, box.left + box.side, box.top + box.side))


@styled
def timeline_figure(timeline: Timeline) -> Figure:
    """P(class 1) of each face against time, smoothed, with that of the single frames as dots behind it."""
    title = f"{Path(timeline.name).name}: P({timeline.class_names[1]}) over time"
    figure, ax = axes(9.0, 3.6, title, "Time (seconds)", f"P({timeline.class_names[1]})")
    for place, face in enumerate(timeline._longest()):
        color = GRAY if face == WHOLE_FRAME else CYCLE[place % len(CYCLE)]
        _draw_face(ax, timeline.answers[face], named(face), color)
    ax.axhline(
        timeline.threshold, color=GRAY, linestyle=":", linewidth=1.2, label=f"threshold {timeline.threshold:.2f}"
    )
    ax.set_ylim(-0.03, 1.03)
    ax.margins(x=0.01)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _draw_face(ax: Axes, answers: Sequence[FrameAnswer], label: str, color: str) -> None:
    times = np.array([answer.time for answer in answers])
    smoothed = np.array([answer.probability for answer in answers])
    gaps = np.flatnonzero(np.diff(times) > 1.0) + 1  # the face was away: no line leads across
    ax.plot(times, [answer.single for answer in answers], ".", color=color, alpha=0.35, markersize=4)
    ax.plot(np.insert(times, gaps, np.nan), np.insert(smoothed, gaps, np.nan), color=color, label=label)
