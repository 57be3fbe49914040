"""The report, the leak check and the quarantine, through the command that a user runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import sync_playwright

from src.config import DatasetConfig, PrepareConfig, SplitConfig
from src.data.prepared import prepare
from src.reports.data_report import data_report, duplicate_groups, report_content, write_report
from src.reports.data_statistics import crop_hints, shortcut_baselines
from src.reports.preparation import check_leaks, prepare_and_report
from src.reports.style import DPI, STYLE, axes, save_png
from tests.image_files import class_folders, config_of, image, png, scene

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """What a page shows: its text, its images, and everything that it would load from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text, self.images, self.loaded = "", [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        self.loaded += [
            value for name, value in attributes if name in ("src", "href") and not str(value).startswith("data:")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


def troubled(root: Path) -> Path:
    class_folders(root, 12)
    for number in range(4):
        image(number, 60).save(root / "sad" / f"again{number}.jpg", quality=70)
    image(7, 60).save(root / "happy" / "disagrees.jpg", quality=70)
    (root / "happy" / "<img src=x onerror=alert(1)>.png").write_bytes(b"not an image")
    (root / "happy" / "both.png").write_bytes(png(900))
    (root / "sad" / "both.png").write_bytes(png(900))
    (root / "angry").mkdir()
    (root / "angry" / "one.png").write_bytes(png(901))
    return root


def command_config(config: DatasetConfig, tmp_path: Path, **values: object) -> PrepareConfig:
    return PrepareConfig(config, output=str(tmp_path / "output"), **values)  # type: ignore[arg-type]


def test_the_report_shows_everything_and_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    config = config_of(troubled(tmp_path / "root"), tmp_path / "cache", image_size=64)
    page = Page(write_report(prepare(config), config, tmp_path / "report").page)
    assert page.loaded == []
    assert "29images used, of 32" in page.text
    assert "2 the same file in both classes (label_conflict)" in re.sub(r"\s+", " ", page.text)
    assert "angry" in page.text
    assert "<img src=x onerror=alert(1)>.png" in page.text  # as text, not as an image to load
    captions = [image["title"] for image in page.images]
    for name in ("sad/again0.jpg", "happy/disagrees.jpg", "sad/both.png"):
        assert any(str(caption).startswith(name) for caption in captions)
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.images)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
def test_on_a_phone_a_file_s_name_has_the_width_of_the_screen(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 12)
    for number in range(14):
        (root / "happy" / f"a_name_without_any_place_to_break_it_{number}.jpg").write_bytes(b"not an image")
    config = config_of(root, tmp_path / "cache", image_size=64)
    page = write_report(prepare(config), config, tmp_path / "report").page
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        phone = browser.new_page(viewport={"width": 390, "height": 844})
        phone.goto(page.as_uri())
        assert phone.evaluate("document.documentElement.scrollWidth") == 390
        assert phone.locator(".files td.path >> nth=0").bounding_box()["width"] > 250  # type: ignore[index]
        assert phone.locator("details", has_text="2 more").count() == 1
        beyond = "tables => tables.filter(table => table.scrollWidth > table.clientWidth).length"
        assert phone.locator(".scroll").evaluate_all(beyond) == 0
        browser.close()


def test_tables_for_machines_lie_beside_the_report(tmp_path: Path) -> None:
    config = config_of(troubled(tmp_path / "root"), tmp_path / "cache", image_size=64)
    dataset = prepare(config)
    write_report(dataset, config, tmp_path / "report")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "report" / "samples.parquet"), dataset.table)
    assert len(pd.read_parquet(tmp_path / "report" / "rejected.parquet")) == len(dataset.rejected) == 3


def test_groups_with_two_labels_come_first(tmp_path: Path) -> None:
    config = config_of(troubled(tmp_path / "root"), tmp_path / "cache", image_size=64)
    dataset = prepare(config)
    groups = duplicate_groups(dataset.table)
    assert [len(rows) for rows in groups] == [2] * 5
    assert dataset.table["conflict"].to_numpy()[groups[0]].all()
    content = report_content(dataset, config)
    assert (content["conflicts"], content["group_count"], content["grouped_images"]) == (1, 5, 10)


def statistics_table(shift: float, count: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = pd.DataFrame({"label": np.arange(count) % 2, "group": np.arange(count) // 2 * 2 + np.arange(count) % 2})
    for name in ("brightness", "contrast", "saturation", "sharpness", "red", "green", "blue"):
        table[name] = random.normal(100, 20, count)
    table["brightness"] += shift * table["label"]
    return table.assign(split="train", width=48, height=48, bytes=1000, format="PNG", mode="RGB")


def test_a_shortcut_is_found_where_there_is_one() -> None:
    (lit,) = shortcut_baselines(statistics_table(shift=60))
    assert lit.suspicious
    assert lit.auc > 0.9


def test_no_shortcut_is_found_where_there_is_none() -> None:
    (plain,) = shortcut_baselines(statistics_table(shift=0))
    assert not plain.suspicious
    assert 0.35 < plain.auc < 0.65
    assert plain.low < plain.auc < plain.high


def test_shortcuts_are_found_in_unequal_classes_and_where_a_middle_value_means_one() -> None:
    rare = statistics_table(shift=0, count=400).assign(label=(np.arange(400) % 33 == 0).astype(int))
    rare["format"] = np.where(rare["label"] == 1, "PNG", "JPEG")
    assert [found.suspicious for found in shortcut_baselines(rare)] == [False, True]
    middle = statistics_table(shift=0)
    random = np.random.default_rng(1)
    middle["brightness"] = np.where(middle["label"] == 1, random.uniform(90, 110, 200), random.uniform(0, 200, 200))
    assert shortcut_baselines(middle)[0].suspicious


def test_copies_do_not_make_a_shortcut_surer() -> None:
    table = statistics_table(shift=10)
    copied = pd.concat([table] * 4, ignore_index=True)
    (once,), (again,) = shortcut_baselines(table), shortcut_baselines(copied)
    assert again.high - again.low > 0.9 * (once.high - once.low)


def test_the_report_of_a_run_is_written_once(tmp_path: Path) -> None:
    config = config_of(class_folders(tmp_path / "root", 30), tmp_path / "cache", image_size=64)
    first = data_report(prepare(config), config)
    written = first.page.stat().st_mtime_ns
    assert data_report(prepare(config), config) == first
    assert first.page.stat().st_mtime_ns == written
    other = replace(config, split=SplitConfig(seed=1))
    assert data_report(prepare(other), other).page != first.page


def test_the_source_is_listed_again_only_for_rejected_files_that_hold_a_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_again: list[pd.DataFrame] = []
    root = class_folders(tmp_path / "root", 8)
    (root / "sad" / "broken.png").write_bytes(b"not an image")
    (root / "sad" / "again.png").write_bytes(next((root / "sad").glob("0*.png")).read_bytes())
    config = config_of(root, tmp_path / "cache", image_size=64)
    dataset = prepare(config)
    monkeypatch.setattr("src.reports.data_report._pixels_of", lambda rows, _: read_again.append(rows) or {})
    page = Page(write_report(dataset, config, tmp_path / "report").page)
    assert [len(rows) for rows in read_again] == [0]  # one file is broken, of the other the data set holds a copy
    assert any("again" in str(image["title"]) for image in page.images)


def test_a_run_can_report_on_its_data_before_keras_starts() -> None:
    code = "import sys, src.reports.data_report; sys.exit(bool({'keras', 'tensorflow', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_can_be_a_shortcut_too() -> None:
    table = statistics_table(shift=0)
    table.loc[table["label"] == 1, "format"] = "JPEG"
    assert [baseline.suspicious for baseline in shortcut_baselines(table)] == [False, True]


def test_hints_about_crops() -> None:
    table = pd.DataFrame({"width": [48] * 4, "height": [48] * 4})
    assert "cropped to the face, and enlarged 4.0 times" in crop_hints(table, 192)[0]
    mixed = pd.DataFrame({"width": [900, 300, 100, 60], "height": [300, 300, 100, 60]})
    stretched, small = crop_hints(mixed, 256)
    assert stretched.startswith("25%")
    assert small.startswith("50%")


def test_the_leak_check_finds_copies_and_look_alikes(tmp_path: Path) -> None:
    first, second = class_folders(tmp_path / "a", 10), class_folders(tmp_path / "b", 10, first=500)
    image(3, 90).save(second / "sad" / "smaller.jpg", quality=60)
    (second / "happy" / "copied.png").write_bytes(png(5))
    sets = [prepare(config_of(root, tmp_path / "cache", image_size=64)) for root in (first, second)]
    check = check_leaks(sets[0], sets[1], config_of(first, tmp_path / "cache"))
    shared = {(*sets[0].table["path"].iloc[left], *sets[1].table["path"].iloc[right]) for left, right in check.shared}
    assert shared == {("sad/003.png", "sad/smaller.jpg"), ("sad/005.png", "happy/copied.png")}
    assert (check.leaked, check.same_files, check.other_labels) == ((2, 2), 1, 1)


def test_a_crop_in_another_set_is_shared(tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    roots = [class_folders(tmp_path / name, 6, first=seed) for name, seed in (("a", 0), ("b", 500))]
    scene(0).save(roots[0] / "sad" / "whole.png")
    scene(0).crop((80, 60, 420, 320)).save(roots[1] / "happy" / "crop.png")
    first, second = (prepare(config_of(root, tmp_path / "cache", image_size=64)) for root in roots)
    check = check_leaks(first, second, config_of(roots[0], tmp_path / "cache"))
    assert (check.leaked, check.same_files, check.other_labels) == ((1, 1), 0, 1)


def test_sets_that_share_nothing(tmp_path: Path) -> None:
    roots = [class_folders(tmp_path / name, 8, first=seed) for name, seed in (("a", 0), ("b", 500))]
    first, second = (prepare(config_of(root, tmp_path / "cache", image_size=64)) for root in roots)
    check = check_leaks(first, second, config_of(roots[0], tmp_path / "cache"))
    assert (check.shared, check.leaked, check.same_files) == ([], (0, 0), 0)


def test_the_other_set_of_a_leak_check_is_prepared_as_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = (class_folders(tmp_path / name, 6, first=seed) for name, seed in (("a", 0), ("b", 500)))
    wide = image(7_000, 180).resize((300, 90))
    wide.crop((105, 0, 195, 90)).save(first / "sad" / "middle.png")
    wide.save(other / "sad" / "wide.png")  # stretched to a square, it is another image
    config = config_of(first, tmp_path / "cache", image_size=64, fit="crop", crop_duplicates=False)
    against = config_of(other, tmp_path / "cache", image_size=32, crop_duplicates=False)
    prepare_and_report(command_config(config, tmp_path, leak_check=against))
    assert "groups of near-duplicates in both: 1;" in capsys.readouterr().out


def test_the_command_writes_report_leak_check_and_quarantine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, other = troubled(tmp_path / "root"), class_folders(tmp_path / "other", 6)
    config = config_of(root, tmp_path / "cache", image_size=64)
    against = config_of(other, tmp_path / "cache", image_size=32)
    prepare_and_report(command_config(config, tmp_path, leak_check=against, quarantine=str(tmp_path / "bad")))
    output = capsys.readouterr().out
    assert "29 images used; rejected: 2 the same file in both classes (label_conflict), 1 no image at all" in output
    assert "each kept in one split: 5" in output
    assert "groups of near-duplicates in both: 12;" in output
    assert "the very same file: 12;" in output
    assert "warning: a model trained on one of them cannot be evaluated on the other" in output
    assert Page(tmp_path / "output" / "made" / "leak_check.html").loaded == []
    copied = sorted(str(path.relative_to(tmp_path / "bad")) for path in (tmp_path / "bad").rglob("*.png"))
    assert copied == [
        "label_conflict/made_happy_both.png",
        "label_conflict/made_sad_both.png",
        "not_an_image/made_happy_img_src_x_onerror_alert_1_.png",
    ]
    assert (root / "happy" / "both.png").exists()


def test_the_command_line(run_command: Run, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 8)
    options = ["dataset=photos", f"dataset.path={root}", f"dataset.cache={tmp_path}/cache", f"output={tmp_path}/out"]
    done = run_command(
        "src.prepare",
        *options,
        "dataset.image_size=16",
        "dataset@leak_check=photos",
        f"leak_check.path={root}",
        f"leak_check.cache={tmp_path}/cache",
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "photos" / "report.html").exists()
    assert "100.0\N{NO-BREAK SPACE}%" in (tmp_path / "out" / "photos" / "leak_check.html").read_text()


def test_a_missing_path_ends_in_one_line(run_command: Run) -> None:
    done = run_command("src.prepare", "dataset=photos", "dataset.path=/nowhere")
    assert (done.returncode, done.stderr) == (1, "error: dataset.path=/nowhere: No such file or directory\n")


@pytest.mark.parametrize(("image_size", "enlarged"), [(80, False), (81, True)])
def test_images_that_are_enlarged_more_than_twice_are_warned_of(
    tmp_path: Path, image_size: int, enlarged: bool
) -> None:
    config = config_of(class_folders(tmp_path / "root", 8), tmp_path / "cache", image_size=image_size)
    for _ in ("written", "found again"):
        warned = [warning for warning in data_report(prepare(config), config).warnings if "enlarged" in warning]
        assert bool(warned) == enlarged  # they have 40 pixels


def test_splits_that_are_not_used_and_images_of_both_classes_are_warned_of(tmp_path: Path) -> None:
    for split in ("Training", "Testing"):
        class_folders(tmp_path / "root" / split, 12)
    config = config_of(tmp_path / "root", tmp_path / "cache", near_duplicate_distance=6)
    dataset = prepare(config)
    (warned,) = (warning for warning in data_report(dataset, config).warnings if "splits" in warning)
    assert "the data's own splits (" in warned
    assert "dataset.split.method=source keeps them" in warned
    dataset.table.loc[: len(dataset.table) // 10, "conflict"] = True
    assert any("and are never evaluated" in warning for warning in data_report(dataset, config).warnings)


def test_a_figure_is_drawn_once_and_looks_as_matplotlib_saves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def figure() -> Figure:
        with matplotlib.rc_context(STYLE):
            drawn, ax = axes(3.0, 2.0, "Title", "x", "y")
        ax.plot([0, 1], [1, 0], label="line")
        ax.legend()
        return drawn

    usual = BytesIO()
    figure().savefig(usual, format="png", dpi=DPI)
    calls, draw = [], Figure.draw
    monkeypatch.setattr(Figure, "draw", lambda self, renderer: calls.append(1) or draw(self, renderer))
    ours = BytesIO()
    save_png(figure(), ours)
    assert len(calls) == 1
    assert np.array_equal(np.array(Image.open(ours)), np.array(Image.open(usual)))
