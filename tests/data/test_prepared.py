"""Prepared data sets: verdicts, groups, the store's life, and processes that meet or die."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.config import PROJECT_ROOT, DatasetConfig, SplitConfig, SyntheticConfig
from src.data import decoding, store
from src.data import prepared as module
from src.data.prepared import prepare
from src.errors import DataError
from tests.image_files import class_folders, config_of, image, png

REAL_PHOTOS = PROJECT_ROOT.parent / "shared" / "data" / "photos"


def tree(root: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(root)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_every_file_gets_a_verdict_and_none_is_touched(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 6)
    good = png(900)
    files = {
        "happy/copy.png": (png(10_000), "duplicate_of"),
        "happy/both.png": (good, "label_conflict"),
        "sad/both.png": (good, "label_conflict"),
        "happy/text.jpg": (b"just some text", "not_an_image"),
        "happy/cut.png": (png(901)[:300], "truncated"),
        "sad/tiny.png": (png(902, size=4), "too_small"),
        "sad/huge.png": (png(903, size=300), "too_large"),
        "sad/other.ppm": (b"P6 1 1 255 abc", "unsupported_format"),
        "sad/zero.png": (b"", "zero_bytes"),
        "sad/garbled.png": (good[:60] + bytes(40) + good[100:], "unreadable"),
    }
    for name, (data, _) in files.items():
        (root / name).write_bytes(data)
    before = tree(root)
    dataset = prepare(config_of(root, tmp_path / "cache", max_megapixels=0.05))
    verdicts = dict(zip(dataset.rejected["path"], dataset.rejected["verdict"], strict=True))
    assert verdicts == {name: verdict for name, (_, verdict) in files.items()}
    assert len(dataset.table) == 12
    assert tree(root) == before


def test_images_stay_with_their_rows_where_others_were_rejected(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 9)
    for name in ("happy/000.png", "happy/004.png", "sad/003.png"):
        (root / name).write_bytes(b"gone")
    (root / "sad" / "001.png").write_bytes((root / "happy" / "002.png").read_bytes())  # a conflict found late
    dataset = prepare(config_of(root, tmp_path / "cache"))
    assert dataset.images.shape == (18 - 3 - 2, 16, 16, 3)
    assert not dataset.images.flags.writeable
    assert dataset.class_names == ("sad", "happy")
    for row, record in enumerate(dataset.table.to_dict("records")):
        digest = hashlib.sha256(np.ascontiguousarray(dataset.images[row]).data).hexdigest()[:16]
        assert record["pixel_digest"] == digest
        assert record["sha256"] == hashlib.sha256((root / record["path"]).read_bytes()).hexdigest()


def test_near_duplicates_never_cross_a_split_and_those_of_two_labels_are_trained_on_only(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 20)
    for number in range(10):
        image(number, 60).save(root / "sad" / f"again{number}.jpg", quality=60)
    image(15, 60).save(root / "happy" / "disagrees.jpg", quality=80)
    dataset = prepare(config_of(root, tmp_path / "cache", image_size=64))
    sizes = dataset.table["group"].value_counts()
    assert (sizes == 2).sum() == 11
    assert (dataset.table.groupby("group")["split"].nunique() == 1).all()
    conflicts = dataset.table[dataset.table["conflict"]]
    assert sorted(conflicts["path"]) == ["happy/disagrees.jpg", "sad/015.png"]
    assert set(conflicts["split"]) == {"train"}


def test_the_second_time_nothing_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")
    first = prepare(config)
    monkeypatch.setattr("src.data.prepared.build", pytest.fail)
    monkeypatch.setattr("src.data.locators.FileLocator.read", pytest.fail)
    second = prepare(config)
    assert second.digest == first.digest
    pd.testing.assert_frame_equal(second.table, first.table)


def test_folds_share_one_array_and_other_settings_do_not(tmp_path: Path) -> None:
    config = config_of(class_folders(tmp_path / "root", 12), tmp_path / "cache")
    for fold in range(3):
        prepare(dataclasses.replace(config, split=SplitConfig(method="kfold", folds=3, fold=fold)))
    assert len(list((tmp_path / "cache").glob("*/pixels.u8"))) == 1
    for number, change in enumerate(({"image_size": 24}, {"near_duplicate_distance": None}, {"min_side": 9})):
        prepare(dataclasses.replace(config, **change))  # type: ignore[arg-type]
        assert len(list((tmp_path / "cache").glob("*/pixels.u8"))) == number + 2


def test_full_verification_finds_what_size_and_time_hide(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root")
    file = root / "sad" / "000.png"
    data, times = bytearray(file.read_bytes()), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    config = config_of(root, tmp_path / "cache")
    first = prepare(config)
    data[-30] ^= 255
    file.write_bytes(data)
    os.utime(file, ns=times)
    assert prepare(config).digest == first.digest
    checked = prepare(dataclasses.replace(config, verify="full"))
    assert checked.digest != first.digest
    assert checked.rejected["path"].tolist() == ["sad/000.png"]
    assert prepare(dataclasses.replace(config, verify="full")).digest == checked.digest
    file.write_bytes(png(777))
    assert prepare(config).digest not in (first.digest, checked.digest)


def test_the_digest_names_pixels_labels_and_groups(tmp_path: Path) -> None:
    root, renamed = class_folders(tmp_path / "a"), class_folders(tmp_path / "b")
    (renamed / "sad" / "005.png").rename(renamed / "sad" / "zzz.png")
    digests = [prepare(config_of(folder, tmp_path / "cache")).digest for folder in (root, renamed)]
    assert digests[0] == digests[1]
    swapped = prepare(config_of(root, tmp_path / "cache", positive="sad", negative="happy"))
    assert swapped.digest != digests[0]


def test_a_limit_takes_as_many_of_each_class(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 20)
    config = config_of(root, tmp_path / "cache", limit=10)
    chosen = prepare(config)
    assert chosen.table["label"].value_counts().to_dict() == {0: 5, 1: 5}
    assert prepare(config).digest == chosen.digest
    other = prepare(dataclasses.replace(config, split=dataclasses.replace(config.split, seed=1)))
    assert set(other.table["path"]) != set(chosen.table["path"])


def test_processes_give_what_one_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_SERIAL_IMAGES", 4)
    monkeypatch.setattr(decoding, "_CHUNK_BYTES", 3000)
    root = class_folders(tmp_path / "root", 12)
    (root / "happy" / "004.png").write_bytes(b"broken")
    alone = prepare(config_of(root, tmp_path / "cache1"))
    together = prepare(config_of(root, tmp_path / "cache2", workers=2))
    assert together.digest == alone.digest
    np.testing.assert_array_equal(together.images, alone.images)
    pd.testing.assert_frame_equal(together.table, alone.table)
    pd.testing.assert_frame_equal(together.rejected, alone.rejected)
    pd.testing.assert_frame_equal(together.features, alone.features)


@pytest.mark.parametrize(
    ("damage", "how"),
    [
        *((name, "one bit flipped") for name in ("pixels.u8", "samples.parquet", "rejected.parquet", "info.json")),
        ("pixels.u8", "cut"),
        ("local_features.parquet", "cut"),
    ],
)
def test_a_damaged_store_is_reported_and_made_again(
    tmp_path: Path, damage: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")
    first = prepare(config)
    pixels, table = np.array(first.images), first.table
    (file,) = (tmp_path / "cache").glob(f"*/{damage}")
    data, times = bytearray(file.read_bytes()), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    data[len(data) // 2] ^= 16
    file.write_bytes(data if how != "cut" else data[:-7])
    os.utime(file, ns=times)
    again = prepare(config)
    assert f"{damage} is not" in capsys.readouterr().err.replace("block 0 of ", "")
    np.testing.assert_array_equal(again.images, pixels)
    pd.testing.assert_frame_equal(again.table, table)
    prepare(config)
    assert capsys.readouterr().err == ""


def test_full_verification_looks_at_every_prepared_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_CHECKED_BLOCKS", 0)  # as if it were a small part of a large file
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")
    digest = prepare(config).digest
    (file,) = (tmp_path / "cache").glob("*/pixels.u8")
    data, times = bytearray(file.read_bytes()), (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=times)
    assert prepare(config).images[-1, -1, -1, -1] == data[-1]
    assert prepare(dataclasses.replace(config, verify="full")).digest == digest
    assert "image 11 of pixels.u8 is not what was written" in capsys.readouterr().err
    assert prepare(config).images[-1, -1, -1, -1] == data[-1] ^ 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
def test_a_full_or_forbidden_disk_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = class_folders(tmp_path / "root")

    def write_to_full_disk(*_: object) -> None:
        with open("/dev/full", "wb") as full:
            full.write(b"pixels")

    monkeypatch.setattr(decoding, "_write", write_to_full_disk)
    with pytest.raises(DataError, match="is full; free some space or set") as caught:
        prepare(config_of(root, tmp_path / "cache"))
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == []
    (tmp_path / "file").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be used .*set dataset.cache to another folder"):
        prepare(config_of(root, tmp_path / "file"))


def test_two_processes_prepare_the_same_data_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")
    context, build = multiprocessing.get_context("fork"), module.build
    answers, made = context.Queue(), context.Value("i", 0)

    def slow_build(*arguments: Any) -> None:
        made.value += 1
        time.sleep(0.3)
        build(*arguments)

    monkeypatch.setattr(module, "build", slow_build)
    children = [context.Process(target=lambda: answers.put(prepare(config).digest)) for _ in range(2)]
    for child in children:
        child.start()
    assert len({answers.get(timeout=60) for _ in children}) == 1
    for child in children:
        child.join()
    assert made.value == 1


def test_a_killed_process_leaves_nothing_that_is_trusted_and_holds_nobody_up(tmp_path: Path) -> None:
    config = config_of(class_folders(tmp_path / "root"), tmp_path / "cache")

    def kill(done: int, total: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    child = multiprocessing.get_context("fork").Process(target=lambda: prepare(config, report_progress=kill))
    child.start()
    child.join()
    (partial,) = (tmp_path / "cache").glob(".*.partial")
    assert [path for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [partial]
    assert len(prepare(config).images) == 12
    assert not partial.exists()


def test_a_script_without_a_guard_is_rejected_instead_of_waiting_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(DataError, match="put what it does under `if __name__"):
        prepare(config_of(class_folders(tmp_path / "root"), tmp_path / "cache"))


def killing_decode(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_decoder_that_dies_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_SERIAL_IMAGES", 0)
    monkeypatch.setattr(decoding, "decode_and_write", killing_decode)
    with pytest.raises(DataError, match="ended from outside, often for lack of memory"):
        prepare(config_of(class_folders(tmp_path / "root"), tmp_path / "cache", workers=2))


def test_a_class_without_a_usable_image_says_what_became_of_them(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root")
    for file in (root / "sad").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"no image of class 'sad' can be used \(6 not_an_image\)"):
        prepare(config_of(root, tmp_path / "cache"))


def test_synthetic_faces_are_their_own_groups_and_keep_their_factors(tmp_path: Path) -> None:
    dataset = prepare(config_of(None, tmp_path / "cache", source="synthetic", synthetic=SyntheticConfig(count=40)))
    assert dataset.table["group"].nunique() == 40
    assert {"skin_tone", "smile", "mouth_left"} <= set(dataset.table.columns)
    smiles = dataset.table.groupby("label")["smile"].mean()
    assert smiles[1] > 0 > smiles[0]


@pytest.fixture
def photos() -> Iterator[Path]:
    if not REAL_PHOTOS.exists():
        pytest.skip(f"the real photos are not at {REAL_PHOTOS}")
    before = {path: path.stat().st_mtime_ns for path in REAL_PHOTOS.rglob("*")}
    yield REAL_PHOTOS
    assert {path: path.stat().st_mtime_ns for path in REAL_PHOTOS.rglob("*")} == before


@pytest.mark.integration
def test_the_real_photos(photos: Path, tmp_path: Path) -> None:
    config = DatasetConfig("photos", "folder", path=str(photos), cache=str(tmp_path))
    dataset = prepare(config)
    verdicts = dataset.rejected["verdict"].value_counts().to_dict()
    sizes = dataset.table["group"].value_counts()
    assert verdicts == {"label_conflict": 2, "duplicate_of": 1}
    assert ((sizes > 1).sum(), sizes.max()) == (57, 4)  # crops among them; without: 54 pairs
    assert len(dataset.table) == 230
