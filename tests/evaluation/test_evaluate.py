import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from src.comparison.run_comparison import compare_runs
from src.config import CompareConfig, Config, DatasetConfig, EvaluateConfig, SyntheticConfig
from src.config.identity import Request
from src.data.prepared import prepare, split_digest
from src.errors import ConfigError, DataError, TrackingError
from src.evaluation.reevaluation import evaluate
from src.tracking.read import ROLE_TAG, find_run, find_runs
from src.training.run import train
from tests.trained_model import write_light_and_dark

MakeConfig = Callable[..., Config]


def request(config: Config, run: str = "latest", **changes: object) -> EvaluateConfig:
    return replace(EvaluateConfig(config.tracking, config.evaluation), run=run, **changes)


def faces(config: Config, seed: int, count: int) -> DatasetConfig:
    return replace(config.dataset, name="others", synthetic=SyntheticConfig(count=count, seed=seed))


def test_a_recorded_model_is_evaluated_again_on_any_data_and_compared(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("trainer.epochs=1")
    first = train(config)
    train(replace(config, seed=1))
    assert first.run_id is not None
    assert first.evaluation is not None

    again = evaluate(request(config, first.run_id))
    assert again.decision == first.evaluation.decision
    assert again.scores["test"]["accuracy"] == first.evaluation.scores["test"]["accuracy"]
    assert again.predictions["probability"].to_numpy() == pytest.approx(
        first.evaluation.predictions["probability"].to_numpy(), abs=1e-5
    )

    strangers = evaluate(request(config, first.run_id, dataset=faces(config, seed=7, count=24)))
    assert len(strangers.predictions) == 24
    assert strangers.decision == first.evaluation.decision

    fitted_on = 48 - len(first.evaluation.split("test"))
    grown = evaluate(request(config, first.run_id, dataset=faces(config, seed=0, count=60)))
    assert len(grown.predictions) == 60 - fitted_on
    with pytest.raises(DataError, match=f"{fitted_on} of 60 images, by their bytes, were seen in training"):
        evaluate(request(config, first.run_id, dataset=faces(config, seed=0, count=60), leaks="error"))

    assert [run.params["seed"] for run in find_runs(config.tracking)] == ["1", "0"]
    assert find_runs(config.tracking, "params.model.name = 'deep'") == []
    with pytest.raises(TrackingError, match="filter="):
        find_runs(config.tracking, "params.model.name ~ deep")
    with pytest.raises(TrackingError, match="accepts a run id, latest, best"):
        find_run(config.tracking, "0" * 32)

    comparison = compare_runs(CompareConfig(config.tracking, output=str(tmp_path / "page")))
    (ranking,) = comparison.rankings
    assert ranking.board["seeds"].tolist() == [2]
    assert (tmp_path / "page" / "comparison.html").read_text().startswith("<!doctype html>")
    assert comparison.excluded == []

    import mlflow

    children = mlflow.search_runs(
        experiment_names=[config.tracking.experiment],
        filter_string=f"tags.mlflow.parentRunId = '{first.run_id}'",
        output_format="list",
    )
    assert [child.data.tags[ROLE_TAG] for child in children] == ["evaluation"] * 3
    assert {child.data.params["dataset.name"] for child in children} == {"synthetic", "others"}
    assert all("test/accuracy_low" in child.data.metrics for child in children)


def card_of(folder: Path) -> str:
    return (folder / "model_card.md").read_text()


def test_the_card_says_what_is_known_of_the_evaluated_images(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("trainer.epochs=1", "tracking=off", f"output={tmp_path}/bundle")
    train(config)
    bundle, kept = f"{tmp_path}/bundle", f"{tmp_path}/kept"
    seen = faces(replace(config, dataset=replace(config.dataset, image_size=64)), seed=0, count=60)
    evaluate(request(config, bundle, dataset=seen, leaks="keep", output=kept))
    card = card_of(Path(kept))
    count = 48 - len(pd.read_parquet(f"{bundle}/predictions.parquet").query("split == 'test'"))
    assert f"on 60 images, {count} of which were seen in training as the same file; near-duplicates were not" in card
    assert "32 x 32 pixels" in card
    write_light_and_dark(tmp_path / "photos")
    photos = DatasetConfig("photos", "folder", path=f"{tmp_path}/photos", cache=config.dataset.cache)
    evaluate(request(config, bundle, dataset=photos, output=kept))
    card = card_of(Path(kept))
    assert "on 120 images, 0 of which were seen in training as the same file" in card
    assert "Photographs: it was trained on drawings" in card
    with pytest.raises(ConfigError, match=r"^dataset\.image_size=64: this model was trained with 32; leave it out"):
        evaluate(request(config, bundle, dataset=seen), Request("", "", ("dataset.image_size=64",)))


def test_a_folder_written_by_output_is_evaluated_without_a_store(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config("trainer.epochs=1", "tracking=off", f"output={tmp_path}/bundle")
    trained = train(config)
    assert trained.evaluation is not None
    others = faces(config, seed=7, count=24)
    evaluate(request(config, f"{tmp_path}/bundle", dataset=others, output=f"{tmp_path}/again"))
    whole = prepare(others)
    splits = re.findall(
        r"^\| (train|validation|test) \| (\d+) \|.*`(\w+)` \|$", card_of(tmp_path / "again"), re.MULTILINE
    )
    assert splits == [("test", "24", split_digest(whole.table)[:16])]
    again = evaluate(request(config, f"{tmp_path}/bundle"))
    assert again.scores["test"]["accuracy"] == trained.evaluation.scores["test"]["accuracy"]
    (tmp_path / "bundle" / "decision.json").unlink()
    with pytest.raises(TrackingError, match=r"lacks decision\.json"):
        evaluate(request(config, f"{tmp_path}/bundle"))


def test_reading_makes_no_store(tmp_path: Path, make_config: MakeConfig) -> None:
    tracking = replace(make_config().tracking, uri=f"sqlite:///{tmp_path}/none/mlflow.db")
    with pytest.raises(TrackingError, match="no runs are recorded there yet"):
        find_runs(tracking)
    assert not (tmp_path / "none").exists()
