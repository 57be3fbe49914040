"""The command, as a person and a script use it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from src.config import PROJECT_ROOT
from src.runtime.bundle import Bundle
from src.runtime.outputs import hundredths, percent
from tests.trained_model import Run

VERDICTS = ["ok", "ok", "unreadable", "unreadable", "ok"]
FIELDS = ["path", "label", "p_happy", "confidence", "verdict", "detail", "evidence", "model"]


def test_one_image_needs_neither_tensorflow_nor_mlflow_nor_config_files(bundle: Bundle, album: Path) -> None:
    code = (
        "import sys; sys.argv = ['predict', '--model', sys.argv[1], sys.argv[2]]\n"
        "from src.predict import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'tensorflow', 'mlflow', 'keras', 'hydra', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code, str(bundle.folder), str(album / "a.png")]
    result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] in ("happy", "sad")
    assert result.stdout.split()[1::2][:2] == ["p_happy", "confidence"]
    assert result.stdout.split()[5] == str(album / "a.png")


def test_no_answer_is_said_to_be_certain() -> None:
    shown = [(percent(value), hundredths(value)) for value in (1.0, 0.9951, 0.994, 0.5, 0.006, 0.0049, 0.0)]
    assert [percentage for percentage, _ in shown] == [">99%", ">99%", "99%", "50%", "1%", "<1%", "<1%"]
    assert [rounded for _, rounded in shown] == [">0.99", ">0.99", "0.99", "0.50", "0.01", "<0.01", "<0.01"]


def test_bad_images_get_their_own_row_and_the_rest_go_on(predict: Run, album: Path) -> None:
    result = predict(album, "--json")
    rows = [json.loads(line) for line in result.lines]
    assert result.code == 3
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.jpg", "c.jpg", "d.txt", "e.webp"]
    assert [row["verdict"] for row in rows] == VERDICTS
    assert all(list(row) == FIELDS for row in rows)
    assert rows[2]["label"] is rows[2]["p_happy"] is rows[2]["confidence"] is None
    assert rows[2]["detail"].startswith("truncated: ")
    for row in rows[:2]:
        assert row["confidence"] == pytest.approx(row["p_happy"] if row["label"] == "happy" else 1 - row["p_happy"])
    assert all(row["label"] in ("happy", "sad") for row in rows if row["verdict"] == "ok")


def test_recursive_and_order_of_arguments(predict: Run, album: Path) -> None:
    assert len(predict(album, "--recursive").lines) == 6
    names = [line.split()[-1] for line in predict(album / "e.webp", album / "a.png").lines]
    assert names == [str(album / "e.webp"), str(album / "a.png")]


def test_tables_hold_what_json_says(predict: Run, album: Path, tmp_path: Path) -> None:
    result = predict(album, "--json", "--csv", tmp_path / "out.csv", "--parquet", tmp_path / "out.parquet")
    printed = [json.loads(line) for line in result.lines]
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["path"], row["label"] or None, row["verdict"]) for row in rows] == [
        (row["path"], row["label"], row["verdict"]) for row in printed
    ]
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert list(table) == list(rows[0]) == FIELDS
    for name in ("p_happy", "confidence"):
        assert table[name].dropna().tolist() == [row[name] for row in printed if row["label"]]


@pytest.mark.parametrize("option", ["--csv=no/a.csv", "--parquet=no/a.parquet"])
def test_a_file_that_cannot_be_written_is_one_line(predict: Run, album: Path, option: str) -> None:
    result = predict(album / "a.png", option)
    assert result.code == 1
    assert result.error == f"{option.partition('=')[2]}: cannot be written: No such file or directory"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_full_disk_is_one_line(predict: Run, album: Path, tmp_path: Path, ending: str) -> None:
    (tmp_path / f"answers.{ending}").symlink_to("/dev/full")
    result = predict(album, f"--{ending}", tmp_path / f"answers.{ending}")
    assert result.error == f"{tmp_path}/answers.{ending}: cannot be written: No space left on device"


def test_an_empty_folder_is_named(predict: Run, tmp_path: Path) -> None:
    assert predict(tmp_path).error.startswith(f"{tmp_path}: no images found")


def test_standard_input(predict: Run, album: Path) -> None:
    data = (album / "a.png").read_bytes()
    (from_stdin,) = predict("-", "--json", stdin=data).lines
    (from_file,) = predict(album / "a.png", "--json").lines
    assert json.loads(from_stdin)["p_happy"] == json.loads(from_file)["p_happy"]
    assert predict("-", stdin=b"").code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["missing.jpg"],
        ["ALBUM", "--link"],
        ["ALBUM", "--explain", "x.png"],
        ["ALBUM", "--faces", "--sort-into", "x"],
        ["-", "--sort-into", "ALBUM"],
        ["-", "--annotate", "x.psd"],
    ],
)
def test_bad_usage_is_one_clear_line(predict: Run, album: Path, arguments: list[str]) -> None:
    result = predict(*[str(album) if argument == "ALBUM" else argument for argument in arguments])
    assert result.code == (1 if arguments == ["missing.jpg"] else 2)
    assert result.error
    assert "\n" not in result.error


@pytest.mark.parametrize("link", [False, True])
def test_sorting_never_overwrites_and_can_be_started_again(
    predict: Run, album: Path, tmp_path: Path, link: bool
) -> None:
    shutil.copy(album / "e.webp", album / "more" / "a.png")
    (album / "b2.jpg").symlink_to("b2.jpg")  # leads nowhere
    before = {path: path.read_bytes() for path in album.rglob("*") if path.is_file()}
    target, done = tmp_path / "sorted", "linked" if link else "copied"
    options = ["--recursive", "--sort-into", target, *(["--link"] if link else [])]
    first = predict(album, *options)
    assert first.code == 3
    assert first.said == f"files {done} into folders in {target}: 7; unreadable, left out: 1\n"
    files = sorted(path for path in target.rglob("*") if path.is_file())
    assert len(files) == 7
    assert all(path.is_symlink() == link for path in files)
    assert sorted(path.read_bytes() for path in files) == sorted(before.values())
    assert {path.name for path in (target / "rejected").iterdir()} == {"c.jpg", "d.txt"}
    assert len([path for path in files if path.stem in ("a", "a-2")]) == 2
    assert f"in {target}: 0;" in predict(album, *options).said
    assert sorted(path for path in target.rglob("*") if path.is_file()) == files
    assert {path: path.read_bytes() for path in album.rglob("*") if path.is_file()} == before


def test_images_are_not_sorted_through_a_link(predict: Run, album: Path, tmp_path: Path) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "home").mkdir()
    for name in ("happy", "sad", "unsure", "rejected"):
        (tmp_path / "planted" / name).symlink_to(tmp_path / "home")
    result = predict(album, "--sort-into", tmp_path / "planted")
    assert (result.code, "a link" in result.error) == (1, True)
    assert list((tmp_path / "home").iterdir()) == []


def test_no_face_is_said_and_not_guessed(predict: Run, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (200, 150), "navy").save(tmp_path / "sea.png")
    (line,) = predict(tmp_path / "sea.png", "--faces", "--json").lines
    assert json.loads(line)["label"] is None
    assert json.loads(line)["verdict"] == "no_face"
    result = predict(tmp_path / "sea.png", "--faces")
    assert result.lines[0].split() == ["no_face", str(tmp_path / "sea.png"), "(no", "face", "found)"]
    assert result.code == 0


def test_the_evidence_map_is_written(predict: Run, album: Path, tmp_path: Path) -> None:
    from PIL import Image

    assert predict(album / "a.png", "--explain", tmp_path / "why.png").code == 0
    assert Image.open(tmp_path / "why.png").size == (384, 384)


def test_evidence_is_for_the_answer_at_any_threshold(bundle: Bundle, album: Path) -> None:
    from dataclasses import replace

    from src.evaluation.saliency import answer_evidence
    from src.runtime.predictor import ImageFile, ImagePredictor

    happy, sad = (ImagePredictor(replace(bundle, threshold=threshold, abstain=None)) for threshold in (0.0, 1.0))
    pixels = happy.prepare(ImageFile(str(album / "a.png")))
    found = answer_evidence(happy.probabilities, pixels, happy.bundle.threshold)
    assert abs(found).max() > 0
    assert (answer_evidence(sad.probabilities, pixels, sad.bundle.threshold) == -found).all()


def test_every_face_found_gets_an_answer_and_a_box(predict: Run, tmp_path: Path) -> None:
    from PIL import Image

    sheet = Image.open(PROJECT_ROOT / "docs" / "faces.jpg")
    result = predict(PROJECT_ROOT / "docs" / "faces.jpg", "--annotate", tmp_path / "out.png", "--json")
    rows = [json.loads(line) for line in result.lines]
    assert len(rows) > 5
    assert [row["path"].rpartition("#")[2] for row in rows] == [str(number + 1) for number in range(len(rows))]
    assert all(row["label"] in ("happy", "sad") for row in rows)
    drawn = Image.open(tmp_path / "out.png")
    assert drawn.size == sheet.size
    assert drawn.tobytes() != sheet.convert("RGB").tobytes()


def test_a_pipe_that_closes_early_leaves_no_traceback(bundle: Bundle, album: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # what `| head -1` does once it has its line
    result = subprocess.run(
        [sys.executable, "-m", "src.predict", "--model", bundle.folder, album / "a.png"],
        cwd=PROJECT_ROOT, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, "")
