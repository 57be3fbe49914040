"""Draw the contact sheet of the README: `python -m docs.faces`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from src.synthetic.faces import draw_face

COLUMNS, ROWS, SIZE = 10, 3, 120


def main() -> None:
    """Write docs/faces.jpg: happy and sad faces in turn."""
    faces = [draw_face(5, 100 + index)[0] for index in range(COLUMNS * ROWS)]
    small = [np.asarray(Image.fromarray(face).resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for face in faces]
    rows = [np.hstack(small[start : start + COLUMNS]) for start in range(0, len(small), COLUMNS)]
    Image.fromarray(np.vstack(rows)).save(Path(__file__).with_name("faces.jpg"), quality=88)


if __name__ == "__main__":
    main()
