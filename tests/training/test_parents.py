"""A run that starts from another's weights, and what it must not be evaluated on then."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from src.config import Config
from src.data.prepared import PreparedDataset, prepare
from src.errors import ConfigError, DataError
from src.evaluation.leaks import FINGERPRINTS, LEAKED, own_and_inherited
from src.models.classifier import count_flops, head_layers
from src.training.model import stages
from src.training.parents import Parents, find_parents
from src.training.run import TrainResult, train
from tests.composing import compose_config
from tests.trained_model import Trained

FEW = ["tracking=off", "trainer.epochs=2", "trainer.precision=float32", "trainer.statistics_images=0"]
MORE = ["dataset.split.train=0.4", "dataset.split.validation=0.3", "dataset.split.test=0.3"]


def config_from(trained: Trained, *overrides: str) -> Config:
    return compose_config(*trained.overrides, *FEW, *overrides)


@pytest.fixture(scope="module")
def tuned(trained: Trained, record: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainResult]:
    """The recorded model, of which the head alone is trained on."""
    folder = tmp_path_factory.mktemp("tuned")
    values = [f"model.weights={record}", "trainer.freeze=2", "evaluation.flip=true"]
    return folder, train(config_from(trained, *values, f"output={folder}", "seed=1"))


def test_the_frozen_body_stays_and_the_head_learns(record: Path, tuned: tuple[Path, TrainResult]) -> None:
    before = keras.saving.load_model(record / "model.keras")
    after = keras.saving.load_model(tuned[0] / "model.keras").layers[1]
    changed = [not np.array_equal(*pair) for pair in zip(before.get_weights(), after.get_weights(), strict=True)]
    head = sum(len(layer.weights) for layer in head_layers(after))
    assert changed == [False] * (len(changed) - head) + [True] * head


def test_the_second_stage_trains_all_of_the_network(trained: Trained, record: Path) -> None:
    config = config_from(trained, f"model.weights={record}", "trainer.freeze=1", "trainer.epochs=2")
    classifier = keras.saving.load_model(record / "model.keras")
    everything = len(classifier.trainable_variables)
    head, rest = stages(config)
    head.set_trainable(classifier, config)
    assert 0 < len(classifier.trainable_variables) < everything
    rest.set_trainable(classifier, config)
    assert len(classifier.trainable_variables) == everything


def test_layers_that_are_named_are_never_trained(trained: Trained, record: Path) -> None:
    config = config_from(trained, f"model.weights={record}", "trainer.freeze=1", "trainer.frozen=stage1")
    classifier = keras.saving.load_model(record / "model.keras")
    for stage in stages(config):
        stage.set_trainable(classifier, config)
        moving = {layer.name for layer in classifier.layers if layer.trainable_weights}
        assert "probability" in moving
        assert not any(name.startswith("stage1") for name in moving)
    assert any(name.startswith("stage2") for name in moving)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("stage9", r"^trainer\.frozen=stage9: no layer of model=.* begins so; they are stage1_"),
        (".", "leaves nothing to tr"),
    ],
)
def test_a_pattern_of_no_layer_or_of_all_is_one_line(trained: Trained, record: Path, pattern: str, line: str) -> None:
    config = config_from(trained, f"trainer.frozen={pattern}")
    with pytest.raises(ConfigError, match=line):
        stages(config)[0].set_trainable(keras.saving.load_model(record / "model.keras"), config)


def test_it_begins_where_the_recorded_model_ended(tuned: tuple[Path, TrainResult]) -> None:
    assert tuned[1].fit.history["val_accuracy"][0] > 0.95


def test_the_kept_model_answers_for_the_mirror_image_alike(tuned: tuple[Path, TrainResult]) -> None:
    model = keras.saving.load_model(tuned[0] / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    inner = model.layers[1]
    mean = (np.asarray(inner(images)) + np.asarray(inner(images[:, :, ::-1]))) / 2
    np.testing.assert_allclose(model(images), mean, rtol=1e-5)
    np.testing.assert_allclose(model(images), model(images[:, :, ::-1]), rtol=1e-5)
    assert tuned[1].cost.flops == 2 * (count_flops(inner) or 0)


def test_what_the_earlier_model_has_seen_is_remembered(tuned: tuple[Path, TrainResult], record: Path) -> None:
    own, inherited = own_and_inherited(pd.read_parquet(tuned[0] / FINGERPRINTS))
    assert set(inherited["sha256"]) == set(pd.read_parquet(record / FINGERPRINTS)["sha256"]) == set(own["sha256"])


def test_images_on_which_the_earlier_model_was_trained_are_not_evaluated(trained: Trained, record: Path) -> None:
    config = config_from(trained, f"model.weights={record}", "dataset.split.seed=5", *MORE)
    dataset = prepare(config.dataset)
    parents = find_parents(config)
    kept = parents.exclude_seen(dataset, config)
    left_out = dataset.table[(kept.table["split"] == LEAKED).to_numpy()]
    seen = parents.seen
    assert seen is not None
    trained_on = set(seen.loc[seen["split"] == "train", "sha256"])
    assert len(left_out) > 5
    assert set(left_out["sha256"]) <= set(seen["sha256"])
    assert not trained_on & set(sha_of(kept, "validation") + sha_of(kept, "test"))
    assert not set(seen["sha256"]) & set(sha_of(kept, "test"))
    assert kept.split_digests["test"] != dataset.split_digests["test"]
    everything = seen.assign(split="train")
    with pytest.raises(DataError, match="was fitted on the validation split"):
        Parents(None, None, everything).exclude_seen(prepare(config_from(trained).dataset), config)


def sha_of(dataset: PreparedDataset, split: str) -> list[str]:
    return dataset.table["sha256"].iloc[dataset.rows(split)].tolist()


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (["model.weights=nothing"], r"^model\.weights=nothing: tracking=off keeps no runs"),
        (["model.weights=RECORD", "model.filters=[4]"], r"network: model\.filters is \[8, 16\] there, \[4\] here"),
        (["model.weights=RECORD/config.yaml"], r"config\.yaml: accepts a file \.keras, \.h5 or \.pth"),
        (["model.weights=imagenet"], r"^model\.weights=imagenet: of efficientnet_lite0, .* not of .*architecture=cnn"),
    ],
)
def test_a_name_that_leads_nowhere_is_one_line_before_the_work(
    trained: Trained, record: Path, values: list[str], line: str
) -> None:
    with pytest.raises(ConfigError, match=line):
        find_parents(config_from(trained, *(value.replace("RECORD", str(record)) for value in values)))
