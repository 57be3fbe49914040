"""Which of the face model's errors are the labels'? `python -m experiments.face_errors.run FER.zip VOTES.csv`.

`FER.zip` has FER-2013's faces in folders `validation/happy` and `validation/sad`, `VOTES.csv` what ten raters said of
each by file name (FER+, Barsoum et al. 2016, arXiv 1608.01041). Beside them, faces drawn by this program and cut out as
those of photos are, which no shipped model was trained on.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image
from rich.console import Console
from rich.table import Table

from src.comparison.paired import compare_pairs
from src.data.samples import Limits
from src.data.sources.synthetic import SyntheticLocator
from src.metrics.intervals import proportion
from src.metrics.log_odds import log_odds
from src.runtime.bundle import open_bundle
from src.runtime.predictor import ImagePredictor

DRAWN, DRAWN_SEED = 600, 99


def read_faces(archive: Path) -> pd.DataFrame:
    """The validation faces: `name`, `happy`, and `pixels`, uint8 (48, 48, 3)."""
    rows = []
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            path = PurePosixPath(name)
            if path.parts[0] != "validation" or path.parent.name not in ("happy", "sad") or not path.suffix:
                continue
            with Image.open(io.BytesIO(opened.read(name))) as image:
                rows.append((path.name, path.parent.name == "happy", np.asarray(image.convert("RGB"))))
    return pd.DataFrame(rows, columns=["name", "happy", "pixels"])


def draw_faces() -> pd.DataFrame:
    """Drawn faces, with the columns of `read_faces` but for their names."""
    faces = [SyntheticLocator(DRAWN_SEED, index, 0.0).decode(b"", 48, Limits(), "face") for index in range(DRAWN)]
    return pd.DataFrame(
        {"happy": [index % 2 == 0 for index in range(DRAWN)], "pixels": [face.pixels for face in faces]}
    )


def with_votes(faces: pd.DataFrame, votes: Path) -> pd.DataFrame:
    """The faces with what their `raters` say: as the label, against it, or neither class more than the other."""
    counted = pd.read_csv(votes).drop_duplicates("name").set_index("name")[["happiness", "sadness"]].fillna(0)
    found = faces.join(counted, on="name").fillna({"happiness": 0, "sadness": 0})
    more = np.sign(found["happiness"] - found["sadness"]) * np.where(found["happy"], 1, -1)
    return found.assign(raters=more.map({1: "as the label", -1: "against it", 0: "undecided"}))


def margins(faces: pd.DataFrame, folder: Path) -> np.ndarray:
    """How far each face's log-odds, by the face model of the bundle in `folder`, lie above the bundle's threshold."""
    bundle = open_bundle(folder)
    return log_odds(ImagePredictor(bundle).probabilities(np.stack(faces["pixels"]))) - float(log_odds(bundle.threshold))


def right(faces: pd.DataFrame, folder: Path) -> pd.Series:
    """Whether the face model of the bundle in `folder` is right about each face."""
    return pd.Series((margins(faces, folder) >= 0) == faces["happy"])


def main() -> None:
    """Answer all faces and print how often that is right, by what the raters said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces", type=Path)
    parser.add_argument("votes", type=Path)
    parser.add_argument("--bundle", type=Path, default=Path("models/happy_sad"))
    parser.add_argument("--against", type=Path, help="another bundle, compared on the same faces")
    arguments = parser.parse_args()
    faces = with_votes(read_faces(arguments.faces), arguments.votes)
    faces["right"] = right(faces, arguments.bundle)
    table = Table("raters", "faces", "right [95 %]", "errors")
    drawn = draw_faces()
    drawn["right"] = right(drawn, arguments.bundle)
    parts = [*faces.groupby("raters"), ("all", faces)]
    parts += [(f"drawn, {'happy' if happy else 'sad'}", part) for happy, part in drawn.groupby("happy")]
    for name, part in parts:
        table.add_row(name, f"{len(part):,}", str(proportion(part["right"])), str(int((~part["right"]).sum())))
    Console(width=100).print(table)
    decided = faces[faces["raters"] != "undecided"]
    agree = proportion(decided["raters"] == "as the label")
    print(f"where raters decide, they agree with the label on {agree} of {len(decided):,}")
    if arguments.against:
        members = [each.to_numpy(float)[None] for each in (faces["right"], right(faces, arguments.against))]
        (found,) = compare_pairs(members, np.arange(len(faces)), exact=True).itertuples()
        interval = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
        print(f"{arguments.bundle} against {arguments.against}: {interval}, p = {found.p_value:.3g}")
        both = margins(faces, arguments.bundle) + margins(faces, arguments.against) >= 0
        agreed = faces["raters"] == "as the label"
        scores = [proportion((both == faces["happy"])[rows]) for rows in (agreed | True, agreed)]
        print(f"the mean of both models' log-odds: {scores[0]} of all, {scores[1]} where raters agree with the label")


if __name__ == "__main__":
    main()
