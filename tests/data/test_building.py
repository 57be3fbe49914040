"""Exact copies, as a store's table leaves them out."""

from __future__ import annotations

import hashlib

import pandas as pd

from src.data.building import without_copies


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
