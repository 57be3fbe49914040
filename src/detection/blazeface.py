"""BlazeFace finds faces (Bazarevsky et al. 2019, arXiv 1907.05047), run by LiteRT from files that come with the code.

Two networks of MediaPipe look at the whole image: the short-range one, for faces that fill much of it, and the
full-range one, for smaller ones too; see `face_detector/README.md`. Each says for the cells of grids whether a face is
centered there, and where its box is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BundleError
from ..system import quiet_stderr

FOLDER = Path(__file__).parent / "face_detector"
_LOADING = Lock()
"""LiteRT's notices are kept from standard error, which is the whole process's."""

OVERLAP = 0.3
"""Boxes with a larger intersection over union than this are one face."""

LONG, MAX_PIECES = 2, 12
"""Sides of such a ratio are looked at piece by piece too, at so many pieces at most."""

Run = Callable[[NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Pixels from -1 to 1, float32 (side, side, 3), to a row of numbers (n, 16) and a score (n,) for each of n anchors.

A row begins with center, from its anchor, and width and height of a box, in pixels; points of the face follow.
"""


@dataclass(frozen=True)
class Network:
    """Looks at a square of `side` pixels; `anchors` (n, 2) are the centers of its cells, as shares of the square."""

    run: Run
    side: int
    anchors: NDArray[np.float64]


def find_faces(networks: Sequence[Network], image: Image.Image, min_score: float) -> NDArray[np.float64]:
    """Return the faces in an RGB image: score, left, top, right and bottom in its pixels, (n, 5), the surest first."""
    pieces = [((0, 0), image), *_pieces(image)]
    found = [
        _candidates(network, piece, min_score) + np.array([0, *at, *at]) for network in networks for at, piece in pieces
    ]
    return np.array(list(_joined(np.concatenate(found)))).reshape(-1, 5)


def _pieces(image: Image.Image) -> Iterator[tuple[tuple[int, int], Image.Image]]:
    """Squares of an image twice as long as wide, or longer, each half over the next, and where they lie in it: faces
    are small in the whole of it.
    """
    width, height = image.size
    side, longer = min(width, height), max(width, height)
    if longer < LONG * side:
        return
    for start in range(0, longer - side // 2, max(1, side // 2))[:MAX_PIECES]:
        at = (start, 0) if width > height else (0, start)
        yield at, image.crop((*at, min(width, at[0] + side), min(height, at[1] + side)))


def _candidates(network: Network, image: Image.Image, min_score: float) -> NDArray[np.float64]:
    numbers, scores = network.run(_pixels(image, network.side))
    likely = np.flatnonzero(scores >= np.log(min_score / (1 - min_score)))  # scores are log-odds
    sureness = 1 / (1 + np.exp(-scores[likely].astype(np.float64)))
    centers = network.anchors[likely] + numbers[likely, :2] / network.side
    sizes = numbers[likely, 2:4] / network.side
    longer = max(image.size)
    origin = (np.array(image.size) - longer) / 2
    corners = [longer * (centers - sizes / 2) + origin, longer * (centers + sizes / 2) + origin]
    return np.column_stack([sureness, *corners])


def _pixels(image: Image.Image, side: int) -> NDArray[np.float32]:
    """Return the whole image in the middle of a black square."""
    longer = max(image.size)
    width, height = (max(1, round(side * length / longer)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    square = np.zeros((side, side, 3), np.uint8)
    left, top = (side - width) // 2, (side - height) // 2
    square[top : top + height, left : left + width] = np.asarray(small)
    return square.astype(np.float32) / 127.5 - 1


def _joined(found: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    """Yield one box for all that overlap the surest: their mean weighted by their scores, as the paper blends them."""
    rest = found[np.argsort(-found[:, 0], kind="stable")]
    while len(rest):
        same = _overlap(rest[0, 1:], rest[:, 1:]) > OVERLAP
        same[0] = True
        yield np.concatenate([rest[0, :1], np.average(rest[same, 1:], axis=0, weights=rest[same, 0])])
        rest = rest[~same]


def _overlap(box: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of one box (4,) with each of `boxes` (n, 4)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=1)
    return shared / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - shared)


def grid(cells: int, times: int = 1) -> NDArray[np.float64]:
    """Return the centers, x and y, of `cells` by `cells` cells, each `times` times: (times * cells * cells, 2)."""
    at = (np.arange(cells) + 0.5) / cells
    rows, columns = np.meshgrid(at, at, indexing="ij")
    return np.repeat(np.stack([columns.ravel(), rows.ravel()], axis=1), times, axis=0)


def load_blazeface() -> list[Network]:
    """Return both networks, to be run from any thread. Raises BundleError."""
    # Two anchors for a cell at a stride of 8 pixels and six at 16; one at a stride of 4.
    short = np.concatenate([grid(16, 2), grid(8, 6)])
    return [
        Network(_loaded(FOLDER / "blazeface_short_range.tflite"), 128, short),
        Network(_loaded(FOLDER / "blazeface_full_range.tflite"), 192, grid(48)),
    ]


def _loaded(file: Path) -> Run:
    """Return a network's file, run by an interpreter of its own for each call that is under way. Raises BundleError."""
    idle = [_interpreter(file)]
    source = idle[0].get_input_details()[0]["index"]
    outputs = {int(output["shape"][-1]): output["index"] for output in idle[0].get_output_details()}

    def run(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        try:
            interpreter = idle.pop()
        except IndexError:
            interpreter = _interpreter(file)
        try:
            interpreter.set_tensor(source, pixels[None])
            interpreter.invoke()
            return interpreter.get_tensor(outputs[16])[0], interpreter.get_tensor(outputs[1])[0, :, 0]
        finally:
            idle.append(interpreter)

    return run


def _interpreter(file: Path):  # type: ignore[no-untyped-def] # LiteRT's Interpreter, whose import is late
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise BundleError("finding faces needs LiteRT: pip install ai-edge-litert") from None
    try:
        with _LOADING, quiet_stderr():
            interpreter = Interpreter(model_path=str(file), num_threads=1)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(f"{file}: LiteRT cannot read it: {error}") from None
    return interpreter
