"""Archives of class folders, hostile ones among them."""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from src.errors import DataError
from tests.data.listing import listed, measured_peak, needs_linux, prepared, write
from tests.image_files import class_folders, image, png


def make_zip(path: Path, root: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root))


def make_tar(path: Path, root: Path) -> None:
    with tarfile.open(path, "w" if path.name == "faces.tar" else "w:gz") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.add(file, file.relative_to(root))


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar", "faces.tgz", "compressed.tar"])
def test_archives_give_what_the_folder_gives(tmp_path: Path, name: str) -> None:
    root = class_folders(tmp_path / "root", 5)
    (make_zip if name.endswith("zip") else make_tar)(tmp_path / name, root)
    folder, archive = prepared(root, tmp_path), prepared(tmp_path / name, tmp_path)
    assert archive.digest == folder.digest
    np.testing.assert_array_equal(archive.images, folder.images)
    assert archive.table["path"].tolist() == folder.table["path"].tolist()


def test_a_limited_archive_reads_the_right_members(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 10)
    make_tar(tmp_path / "faces.tar.gz", root)
    dataset = prepared(tmp_path / "faces.tar.gz", tmp_path, limit=8)
    for row, path in enumerate(dataset.table["path"]):
        expected = np.asarray(
            image(int(Path(path).stem) + 10_000 * path.startswith("happy")).resize((16, 16), 2, reducing_gap=3.0)
        )
        np.testing.assert_array_equal(dataset.images[row], expected)


def test_archives_cannot_reach_outside(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("happy/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "hostile.zip", "w") as archive:
        for number in range(4):
            archive.writestr(f"happy/{number}.png", png(number))
            archive.writestr(f"sad/{number}.png", png(50 + number))
        archive.filelist += archive.filelist[-1:]  # a few kB can be a thousand files so
        archive.writestr("happy/../../../escape.png", png(90))
        archive.writestr("/happy/absolute.png", png(91))
        archive.writestr(link, "/etc/passwd")
        archive.writestr(zipfile.ZipInfo(""), b"a member without a name")
    dataset = prepared(tmp_path / "hostile.zip", tmp_path)
    assert len(dataset.table) == 8
    assert dict(zip(dataset.rejected["path"], dataset.rejected["detail"], strict=True)) == {
        "happy/../../../escape.png": "a path that leaves the archive",
        "happy/link.png": "a symbolic link in an archive",
        "sad/3.png": "its bytes are those of another file of the archive too",
    }
    assert not list(tmp_path.rglob("escape.png"))


def test_an_archive_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    write(tmp_path / "broken.zip", b"PK\x03\x04" + bytes(100))
    with zipfile.ZipFile(tmp_path / "names.zip", "w") as archive:
        archive.writestr("happy/\u00fc.png", png(7))
    data = (tmp_path / "names.zip").read_bytes()
    write(tmp_path / "names.zip", data.replace("\u00fc".encode(), b"\xb6\xb6"))  # a name that is no text
    for name in ("broken.zip", "names.zip"):
        with pytest.raises(DataError, match=rf"{name} cannot be read as an archive"):
            listed(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.writestr("happy/0.png", png(0))
        archive.filelist[-1].file_size = 130 << 30
    with pytest.raises(DataError, match=r"bomb\.zip: 139\.6 GB are packed into 0\.0 MB"):
        listed(tmp_path / "bomb.zip")


def zip_of_zeros(path: Path, packing: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("happy/0.png", bytes(80_000_000), packing)
        archive.filelist[-1].file_size = 5000  # what is said of it, not what comes out
        archive.writestr("sad/0.png", png(1))


def tar_of_long_header(path: Path, kind: bytes) -> None:
    with gzip.open(path, "wb", 1) as file:
        header = tarfile.TarInfo("happy/0.png")
        header.type, header.size = kind, 200_000_000
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(header.size))


def tar_of_claims(path: Path) -> None:
    with gzip.open(path, "wb", 1) as file:
        header = tarfile.TarInfo("happy/0.png")
        header.size = 500_000_000
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(1000))


BOMBS: list[tuple[str, Callable[[Path], None], str]] = [
    ("bzip2.zip", lambda path: zip_of_zeros(path, zipfile.ZIP_BZIP2), "no images of class 'happy'"),
    ("lzma.zip", lambda path: zip_of_zeros(path, zipfile.ZIP_LZMA), "no images of class 'happy'"),
    ("name.tar.gz", lambda path: tar_of_long_header(path, tarfile.GNUTYPE_LONGNAME), "more than a megabyte"),
    ("pax.tar.gz", lambda path: tar_of_long_header(path, tarfile.XHDTYPE), "more than a megabyte"),
    ("global.tar.gz", lambda path: tar_of_long_header(path, tarfile.XGLTYPE), "more than a megabyte"),
    ("claims.tar.gz", tar_of_claims, "0.5 GB are packed into 0.0 MB"),
]


@needs_linux
@pytest.mark.parametrize(("name", "make", "line"), BOMBS, ids=[bomb[0] for bomb in BOMBS])
def test_an_archive_that_unpacks_to_gigabytes_costs_little(
    tmp_path: Path, name: str, make: Callable[[Path], None], line: str
) -> None:
    make(tmp_path / name)
    with measured_peak() as peak, pytest.raises(DataError, match=line):
        prepared(tmp_path / name, tmp_path)
    assert peak[0] < 60


def encrypted(path: Path) -> None:
    """Sets the bit that says so in a zip's directory: its content is never read."""
    make_zip(path, class_folders(path.parent / "root", 1))
    data = bytearray(path.read_bytes())
    for entry in re.finditer(b"PK\x01\x02", bytes(data)):
        data[entry.start() + 8] |= 1
    path.write_bytes(data)


def archives_inside(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("happy.zip", b"PK")
        archive.writestr("sad/sad.rar", b"Rar!")


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (encrypted, "none of its 2 images can be used, such as 'happy/000.png': encrypted: unpack the archive"),
        (archives_inside, "there is 'archives inside, which are not unpacked'"),
    ],
)
def test_what_is_in_the_way_of_the_images_is_named(tmp_path: Path, make: Callable[[Path], None], line: str) -> None:
    make(tmp_path / "faces.zip")
    with pytest.raises(DataError, match=line):
        listed(tmp_path / "faces.zip")


def test_a_damaged_member_is_one_rejected_image(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "root", 4)
    make_zip(tmp_path / "faces.zip", root)
    data = bytearray((tmp_path / "faces.zip").read_bytes())
    place = data.index(b"happy/002.png") + 40
    data[place : place + 30] = bytes(30)
    (tmp_path / "faces.zip").write_bytes(data)
    dataset = prepared(tmp_path / "faces.zip", tmp_path)
    assert dataset.rejected[["path", "verdict"]].to_numpy().tolist() == [["happy/002.png", "unreadable"]]


def test_bytes_of_a_stream_are_never_more_than_allowed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "big.tar.gz", "w:gz") as archive:
        for name, data in [(f"{c}/{n}.png", png(n + 40 * (c == "sad"))) for c in ("happy", "sad") for n in range(4)]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        huge = tarfile.TarInfo("happy/huge.png")
        huge.size = 3_000_000
        archive.addfile(huge, io.BytesIO(bytes(3_000_000)))
    dataset = prepared(tmp_path / "big.tar.gz", tmp_path, max_megabytes=1.0)
    assert dataset.rejected[["path", "verdict"]].to_numpy().tolist() == [["happy/huge.png", "too_large"]]
