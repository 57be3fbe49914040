import numpy as np
import pandas as pd

from src.metrics.slices import distinct_columns, slice_table


def face_table(count: int, seed: int = 0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "path": [f"face-{number}" for number in range(count)],
            "glasses": generator.choice(["none", "round", "tinted"], count, p=[0.6, 0.3, 0.1]),
            "hair": generator.choice(["short", "long", "bald"], count),
            "teeth": generator.random(count) < 0.5,
            "tilt": generator.uniform(-14, 14, count),
            "skin_tone": generator.integers(1, 11, count),
            "mouth_left": generator.random(count),
            "mouth_top": generator.random(count),
            "mouth_right": generator.random(count),
            "mouth_bottom": generator.random(count),
        }
    )


def test_a_planted_failing_slice_is_found_as_the_worst() -> None:
    table = face_table(600)
    hits = np.random.default_rng(1).random(600) < np.where(table["glasses"] == "tinted", 0.4, 0.95)
    slices = slice_table(table, hits, np.arange(600))
    worst = slices.iloc[0]
    assert (worst["column"], worst["value"], worst["verdict"]) == ("glasses", "tinted", "worse")
    assert worst["count"] == (table["glasses"] == "tinted").sum()
    assert (slices["verdict"] == "worse").sum() == 1


def test_a_model_that_fails_nowhere_in_particular_has_a_worse_slice_in_under_5_percent_of_trials() -> None:
    generator = np.random.default_rng(2)
    accused = 0
    for trial in range(200):
        table = face_table(400, seed=trial)
        slices = slice_table(table, generator.random(400) < 0.85, np.arange(400))
        accused += (slices["verdict"] == "worse").any()
    assert accused < 10


def test_a_small_slice_against_a_large_rest_is_accused_no_more_often_than_its_level() -> None:
    generator, rows = np.random.default_rng(3), np.arange(1000) < 30
    table = pd.DataFrame({"kind": np.where(rows, "small", "large")})
    accused: dict[tuple[int, int], bool] = {}
    counts = list(zip(generator.binomial(30, 0.95, 4000), generator.binomial(970, 0.95, 4000), strict=True))
    for inside, outside in set(counts):
        hits = np.r_[np.arange(30) < inside, np.arange(970) < outside]
        slices = slice_table(table, hits, np.arange(1000)).set_index("value")
        accused[inside, outside] = slices["verdict"]["small"] == "worse"
    assert np.mean([accused[count] for count in counts]) <= 0.0125  # 0.025 for two slices


def test_small_slices_come_last_and_are_never_found_worse() -> None:
    table = pd.DataFrame({"source": ["web"] * 95 + ["camera"] * 5, "size": ["large", "small"] * 50})
    hits = np.array([True] * 95 + [False] * 5)
    slices = slice_table(table, hits, np.arange(100))
    assert set(slices["value"][-2:]) == {"web", "camera"}  # the rest of `web` is only the five
    assert set(slices["verdict"][-2:]) == {"too small"}


def test_numbers_are_cut_at_quartiles_and_boxes_paths_and_constants_are_not_sliced() -> None:
    table = face_table(400).assign(constant=1)
    slices = slice_table(table, np.ones(400, dtype=bool), np.arange(400))
    assert set(slices["column"]) == {"glasses", "hair", "teeth", "tilt", "skin_tone"}
    assert slices.query("column == 'tilt'")["count"].tolist() == [100] * 4


def test_the_channels_of_gray_images_are_not_sliced_again() -> None:
    light, other = np.random.default_rng(0).uniform(0, 255, (2, 400)).astype(np.float32)
    gray = pd.DataFrame({"brightness": light, "saturation": 0.0, "red": light + 0.2, "green": light * 0.99})
    assert distinct_columns(gray.assign(blue=other, empty=np.nan), [*gray, "blue", "empty"]) == ["brightness", "blue"]
    assert set(slice_table(gray, np.ones(400, dtype=bool), np.arange(400))["column"]) == {"brightness"}


def test_copies_of_an_image_are_no_further_evidence() -> None:
    table = pd.DataFrame({"kind": ["a"] * 40 + ["b"] * 40})
    hits = np.array([False] * 8 + [True] * 32 + [True] * 40)
    groups_of_eight = np.arange(80) // 8
    assert slice_table(table, hits, np.arange(80)).iloc[0]["verdict"] == "worse"
    assert slice_table(table, hits, groups_of_eight).iloc[0]["verdict"] == ""
