"""Sources with and without ready splits, together."""

from __future__ import annotations

import pandas as pd

from src.config import SplitConfig
from src.data.splits import assign_splits

SPLIT = SplitConfig(method="source", train=0.6, validation=0.2, test=0.2)


def table(rows: list[tuple[str, str | None, int, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["source", "shipped_split", "label", "group"])
    return frame.assign(conflict=False, sha256=[f"{number:064x}" for number in range(len(frame))])


def shipped_and_loose() -> pd.DataFrame:
    splits = ["train"] * 20 + ["validation"] * 4
    shipped = [("faces", part, number % 2, number) for number, part in enumerate(splits)]
    loose = [("photos", None, number % 2, 100 + number // 4) for number in range(80)]
    return table(shipped + loose)


def test_a_source_without_splits_is_dealt_by_whole_groups_beside_one_that_ships_them() -> None:
    pictures = shipped_and_loose()
    codes = pd.factorize(pictures["group"])[0]
    splits = assign_splits(pictures.assign(group=codes), SPLIT, "drop_from_train").splits
    loose = pd.DataFrame({"group": codes, "shipped_split": splits})[pictures["source"] == "photos"]
    assert set(loose["shipped_split"]) == {"train", "validation", "test"}
    assert (loose.groupby("group")["shipped_split"].nunique() == 1).all()
    shipped = splits[(pictures["source"] == "faces").to_numpy()]
    assert (shipped[20:] == "validation").all()
    assert (shipped == "test").sum() == 4


def test_a_loose_picture_that_looks_like_a_held_out_one_is_not_trained_on() -> None:
    pictures = shipped_and_loose()
    pictures.loc[pictures["source"].eq("photos") & pictures["group"].eq(100), "group"] = 23
    codes = pd.factorize(pictures["group"])[0]
    splits = assign_splits(pictures.assign(group=codes), SPLIT, "drop_from_train").splits
    alike = (pictures["group"] == 23).to_numpy()
    assert set(splits[alike]) == {"validation", "unused"}
