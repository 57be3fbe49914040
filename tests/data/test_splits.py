"""Properties of the splits, for random structures of groups, labels, subjects and splits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config import SplitConfig
from src.data.samples import SPLITS
from src.data.splits import UNUSED, assign_splits
from src.errors import DataError

Group = tuple[int, int, bool]
"""Images of class 0, images of class 1, whether look-alikes disagree."""


def table_of(groups: Sequence[Group], splits: Sequence[str | None] = (None,)) -> pd.DataFrame:
    rows = [
        {"group": number, "label": label, "conflict": conflict, "sha256": f"{number}-{label}-{copy}"}
        for number, (negative, positive, conflict) in enumerate(groups)
        for label, count in ((0, negative), (1, positive))
        for copy in range(count)
    ]
    table = pd.DataFrame(rows)
    table["shipped_split"] = [splits[row % len(splits)] for row in range(len(table))]
    return table.assign(source="made")


def split(table: pd.DataFrame, crossing: str = "drop_from_train", **values: object) -> np.ndarray:
    return assign_splits(table, SplitConfig(**values), crossing).splits  # type: ignore[arg-type]


def test_a_source_to_train_on_only_is_never_evaluated_and_changes_no_other_split() -> None:
    judged = table_of([(2, 0, False), (0, 2, False)] * 30)
    lent = judged.assign(source="lent", sha256=judged["sha256"] + "-lent")  # copies of all, in the same groups
    apart = table_of([(3, 0, False), (0, 3, False)] * 5).assign(source="lent").assign(group=lambda t: t["group"] + 100)
    table = pd.concat([judged, lent, apart], ignore_index=True)
    splits = assign_splits(table, SplitConfig(), "drop_from_train", {"lent"}).splits
    alone = split(judged)
    assert list(splits[: len(judged)]) == list(alone)
    assert list(splits[len(judged) : 2 * len(judged)]) == [each if each == "train" else UNUSED for each in alone]
    assert set(splits[2 * len(judged) :]) == {"train"}


pure = st.integers(1, 9).flatmap(lambda size: st.sampled_from([(size, 0, False), (0, size, False)]))
both_classes = [(1, 0, False)] * 12 + [(0, 1, False)] * 12
pure_groups = st.lists(pure, max_size=60).map(lambda groups: both_classes + groups)
mixed = st.tuples(st.integers(1, 5), st.integers(1, 5), st.booleans())
any_groups = st.lists(pure | mixed, max_size=60).map(lambda groups: both_classes + groups)
methods = st.sampled_from(["stratified", "kfold", "hashed"])


def is_whole(table: pd.DataFrame, splits: np.ndarray) -> bool:
    used = splits != UNUSED
    return bool((pd.Series(splits[used]).groupby(table["group"].to_numpy()[used]).nunique() == 1).all())


@settings(max_examples=40, deadline=None)
@given(any_groups, methods, st.integers(0, 4), st.integers(0, 1000))
def test_no_group_crosses_a_split_and_none_of_two_labels_is_evaluated_on(
    groups: list[Group], method: str, fold: int, seed: int
) -> None:
    table = table_of(groups)
    try:
        splits = split(table, method=method, fold=fold if method == "kfold" else 0, seed=seed)
    except DataError:
        assert method == "hashed"  # chance may leave a small split without a class; it says so
        return
    assert is_whole(table, splits)
    assert not set(splits[table["conflict"].to_numpy()]) & {"validation", "test"}


@settings(max_examples=40, deadline=None)
@given(pure_groups, st.integers(0, 1000))
def test_class_ratios_hold_within_one_group(groups: list[Group], seed: int) -> None:
    table = table_of(groups)
    splits, config = split(table, seed=seed), SplitConfig()
    for label in (0, 1):
        of_class = (table["label"] == label).to_numpy()
        largest = max(group[label] for group in groups)
        for name in SPLITS:
            wanted = getattr(config, name) * of_class.sum()
            assert abs((splits[of_class] == name).sum() - wanted) <= largest


@settings(max_examples=40, deadline=None)
@given(pure_groups, st.integers(2, 10))
def test_every_image_is_tested_in_exactly_one_fold(groups: list[Group], folds: int) -> None:
    table = table_of(groups)
    tested = np.stack([split(table, method="kfold", folds=folds, fold=fold) == "test" for fold in range(folds)])
    assert (tested.sum(axis=0) == 1).all()
    for label in (0, 1):
        of_class = (table["label"] == label).to_numpy()
        largest = max(group[label] for group in groups)
        assert (np.abs(tested[:, of_class].sum(axis=1) - of_class.sum() / folds) <= largest).all()


@settings(max_examples=40, deadline=None)
@given(any_groups, any_groups, st.data())
def test_growth_never_moves_a_tested_image_into_training(
    first: list[Group], more: list[Group], data: st.DataObject
) -> None:
    before = table_of(first)
    after = pd.concat([before, table_of(more).assign(sha256=lambda rows: "new" + rows["sha256"])], ignore_index=True)
    # New images found new groups, or join old ones, of which they may join several into one.
    renamed = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=len(more), max_size=len(more)))
    joined = np.array([*range(len(first)), *renamed])
    grown = np.concatenate([before["group"], joined[len(first) + after["group"].to_numpy()[len(before) :]]])
    bridge = data.draw(st.integers(1, len(first)))
    grown = np.where(grown == len(first) - 1, bridge - 1, grown)
    after["group"] = np.unique(grown, return_inverse=True)[1]
    after["conflict"] = after.groupby("group")["conflict"].transform("any")
    try:
        old, new = split(before, method="hashed"), split(after, method="hashed")
    except DataError:
        return
    assert not ((old == "test") & (new[: len(before)] == "train")).any()
    assert not ((old == "test") & (new[: len(before)] == "validation")).any()


def test_order_of_rows_and_numbers_of_groups_do_not_matter() -> None:
    table = table_of([(2, 0, False), (0, 3, False)] * 40)
    shuffled = table.sample(frac=1, random_state=1)
    shuffled = shuffled.assign(group=pd.factorize(shuffled["group"])[0])
    splits = pd.Series(split(table), index=table["sha256"])
    again = pd.Series(split(shuffled.reset_index(drop=True)), index=shuffled["sha256"])
    assert splits.sort_index().equals(again.sort_index())


def test_the_split_is_the_same_on_every_machine() -> None:
    splits = split(table_of([(1, 0, False), (0, 1, False)] * 20), seed=7)
    tested = np.flatnonzero(splits == "test").tolist()
    assert tested == [12, 21, 29, 30, 31, 36]
    assert np.flatnonzero(split(table_of([(1, 0, False), (0, 1, False)] * 20), seed=8) == "test").tolist() != tested


def test_subjects_of_both_classes_are_balanced() -> None:
    random = np.random.default_rng(0)
    table = table_of([(int(a), int(b), False) for a, b in random.integers(1, 12, size=(120, 2))])
    splits = split(table)
    for name, share in (("train", 0.7), ("validation", 0.15), ("test", 0.15)):
        rows = table[splits == name]
        assert len(rows) / len(table) == pytest.approx(share, abs=0.01)
        assert rows["label"].mean() == pytest.approx(table["label"].mean(), abs=0.02)


def shipped(crossing: str, splits: Sequence[str | None] = ("train", "train", "train", "validation")) -> np.ndarray:
    groups = [(1, 0, False), (0, 1, False)] * 60 + [(4, 0, False), (0, 4, False)] * 5
    return split(table_of(groups, splits), crossing, method="source")


def test_shipped_splits_are_kept_and_crossing_images_leave_training() -> None:
    table = table_of(
        [(1, 0, False), (0, 1, False)] * 60 + [(4, 0, False)] * 10, ["train", "train", "train", "test", "train"]
    )
    outcome = assign_splits(table, SplitConfig(method="source"), "drop_from_train")
    assert (outcome.splits[(table["shipped_split"] == "test").to_numpy()] == "test").all()
    assert is_whole(table, outcome.splits)
    assert outcome.crossing_groups > 0
    assert outcome.dropped == (outcome.splits == UNUSED).sum() > 0


def test_a_missing_test_split_is_assigned_from_training_by_whole_groups() -> None:
    splits = shipped("drop_from_train")
    tested, trained = (splits == "test").sum(), (splits == "train").sum()
    assert tested / (tested + trained) == pytest.approx(0.15, abs=0.02)
    assert (splits == "validation").mean() == pytest.approx(0.25, abs=0.01)


def test_crossing_images_may_be_kept() -> None:
    assert (shipped("keep") != UNUSED).all()


@pytest.mark.parametrize(
    ("groups", "splits", "values", "message"),
    [
        ([(4, 0, False), (0, 4, False)] * 9, ["train", "test"], {"method": "source"}, "cross the splits that the data"),
        ([(1, 0, False), (0, 1, False)] * 9, [None], {"method": "source"}, "ships no training split"),
        ([(1, 0, False)] * 2 + [(0, 1, False)] * 9, [None], {}, "only 2 images"),
        (
            [(1, 0, False)] * 3 + [(0, 1, False)] * 3,
            ["train"] * 5 + ["test"],
            {"method": "source"},
            "of one class only",
        ),
    ],
)
def test_a_split_that_cannot_be_is_one_line(
    groups: list[Group], splits: list[str | None], values: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        split(table_of(groups, splits), "error", **values)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"method": "kfold", "fold": 5}, "accepts 0 to 4"), ({"method": "hashed", "fold": 1}, "hashed has no folds")],
)
def test_a_fold_that_does_not_exist_is_an_error(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SplitConfig(**values)  # type: ignore[arg-type]


def shipped_and_loose() -> pd.DataFrame:
    """A source that ships its splits, and one that ships none, in groups of four."""
    splits = ["train"] * 20 + ["validation"] * 4
    rows = [("faces", name, number % 2, number) for number, name in enumerate(splits)]
    rows += [("photos", None, number % 2, 100 + number // 4) for number in range(80)]
    table = pd.DataFrame(rows, columns=["source", "shipped_split", "label", "group"])
    return table.assign(conflict=False, sha256=[f"{number:064x}" for number in range(len(table))])


def split_together(images: pd.DataFrame) -> np.ndarray:
    numbered = images.assign(group=pd.factorize(images["group"])[0])
    return split(numbered, method="source", train=0.6, validation=0.2, test=0.2)


def test_a_source_without_splits_is_split_by_whole_groups_beside_one_that_ships_them() -> None:
    images = shipped_and_loose()
    splits = split_together(images)
    loose = images.assign(split=splits)[images["source"] == "photos"]
    assert set(loose["split"]) == {"train", "validation", "test"}
    assert (loose.groupby("group")["split"].nunique() == 1).all()
    shipped = splits[(images["source"] == "faces").to_numpy()]
    assert (shipped[20:] == "validation").all()
    assert (shipped == "test").sum() == 4


def test_a_loose_image_that_looks_like_a_held_out_one_is_not_trained_on() -> None:
    images = shipped_and_loose()
    images.loc[images["source"].eq("photos") & images["group"].eq(100), "group"] = 23
    alike = (images["group"] == 23).to_numpy()
    assert set(split_together(images)[alike]) == {"validation", "unused"}
