"""What keeps a table of a million images small changes nothing that is in it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pandas as pd
import pyarrow as pa
import pytest

from src.data import packed_samples
from src.data.building import without_copies
from src.data.locators import FileLocator
from src.data.long_columns import BLOCK, memory_given_back, values_of
from src.data.packed_samples import PackedSamples
from src.data.prepared import split_digest
from src.data.samples import Sample


def samples(count: int) -> Iterator[Sample]:
    for index in range(count):
        locator = FileLocator(f"/images/{index}.jpg", index, 2**60 + index)
        yield Sample(f"sad/{index}.jpg", index % 2, locator, subject=str(index // 3), shares={"happy": 1.0})


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 35])
def test_packed_samples_are_those_that_were_packed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_samples, "_BLOCK", 10)
    packed = PackedSamples(samples(count))
    assert len(packed) == count
    assert list(packed) == list(packed) == list(samples(count))


@pytest.mark.parametrize("count", [0, 1, BLOCK, BLOCK + 1, 3 * BLOCK - 1])
def test_a_split_is_named_after_the_list_of_its_pairs_in_whatever_order(count: int) -> None:
    digests = [hashlib.sha256(str(index // 2).encode()).hexdigest()[:16] for index in range(count)]
    table = pd.DataFrame(
        {"pixel_digest": pd.Series(digests, dtype="str"), "label": [index % 3 for index in range(count)]}
    )
    expected = hashlib.sha256(repr(sorted(zip(digests, table["label"], strict=True))).encode()).hexdigest()[:16]
    assert split_digest(table.sample(frac=1, random_state=1)) == expected
    assert list(values_of(table["pixel_digest"])) == digests


def test_of_copies_the_first_in_each_split_stays_and_none_with_two_labels() -> None:
    rows = [  # path, label, shipped split, what it holds
        ("a", 1, None, "one"),
        ("b", 1, "train", "two"),
        ("c", 1, "test", "two"),
        ("d", 1, None, "one"),
        ("e", 0, None, "three"),
        ("f", 0, None, "three"),
        ("g", 1, None, "three"),
        ("h", 1, "train", "two"),
        ("i", 1, None, "four"),
    ]
    table = pd.DataFrame(rows, columns=["path", "label", "shipped_split", "sha256"])
    table = table.assign(source="photos", slot=range(len(table)))
    table["sha256"] = [hashlib.sha256(text.encode()).hexdigest() for text in table["sha256"]]
    kept, copies = without_copies(table)
    assert kept["path"].tolist() == ["a", "b", "c", "i"]
    other = "the same file as {}, which has the other label"
    assert dict(zip(copies["path"], zip(copies["verdict"], copies["detail"], strict=True), strict=True)) == {
        "d": ("duplicate_of", "a"),
        "e": ("label_conflict", other.format("g")),
        "f": ("label_conflict", other.format("g")),
        "g": ("label_conflict", other.format("e")),
        "h": ("duplicate_of", "b"),
    }


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_a_copy_of_nothing(count: int) -> None:
    rows = [(number, "a", 1, "photos", None, "f" * 64) for number in range(count)]
    table = pd.DataFrame(rows, columns=["slot", "path", "label", "source", "shipped_split", "sha256"])
    kept, copies = without_copies(table.astype({"sha256": "str", "path": "str"}))
    assert (len(kept), len(copies)) == (count, 0)


def test_digests_that_begin_alike_are_no_copies() -> None:
    digests = ["0" * 16 + letter * 48 for letter in "aab"]
    table = pd.DataFrame({"path": list("xyz"), "label": 1, "shipped_split": None, "sha256": digests})
    kept, copies = without_copies(table.assign(source="photos", slot=range(3)))
    assert kept["path"].tolist() == ["x", "z"]
    assert copies["path"].tolist() == ["y"]


def test_arrow_has_its_own_allocator_again_afterwards() -> None:
    before = pa.default_memory_pool().backend_name
    with memory_given_back():
        assert pa.default_memory_pool().backend_name == "system"
    assert pa.default_memory_pool().backend_name == before
