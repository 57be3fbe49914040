"""Wrong labels are found by models that never saw them, shown, and mended in a manifest that can be trained on."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from src.config import AuditConfig, Config, ManifestConfig
from src.config.identity import Request, config_digest
from src.data.prepared import prepare
from src.errors import ConfigError, DataError
from src.metrics.label_errors import find_label_errors
from src.training import audit as module
from tests.composing import compose_config
from tests.image_files import class_folders, config_of, image

REQUEST = Request("audit", "python -m src.audit")


def test_a_sure_answer_for_the_other_class_is_a_label_error() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    positive = np.array([0.9, 0.8, 0.9, 0.02, 0.1, 0.2, 0.9, 0.99, 0.6])
    found = find_label_errors(labels, positive)
    assert found.suspects.tolist() == [7, 3, 6]  # 8 is unsure: less than what happy images reach on average
    assert found.wrong == pytest.approx([2 / 4, 1 / 4])


def test_labels_that_all_models_agree_with_are_left_alone() -> None:
    found = find_label_errors([1, 1, 0, 0], [0.9, 0.7, 0.1, 0.3])
    assert found.suspects.size == 0
    assert found.wrong.tolist() == [0, 0]


def write_mislabeled(root: Path) -> Path:
    """Twelve light happy and twelve dark sad images, and two dark ones among the happy."""
    for label, name in enumerate(("sad", "happy")):
        (root / name).mkdir(parents=True)
        for number in range(12):
            shade = image(100 * label + number).point(lambda value, light=label: value // 3 + 150 * light)
            shade.save(root / name / f"{number:02d}.png")
    for number in (70, 71):
        image(number).point(lambda value: value // 3).save(root / "happy" / f"wrong{number}.png")
    return root


def answer_by_light(config: Config, _: object) -> SimpleNamespace:
    """What `train` gives: predictions of the fold's test images, by their brightness."""
    dataset = prepare(config.dataset)
    rows = dataset.rows("test")
    light = dataset.images[rows].mean(axis=(1, 2, 3)) / 255
    predictions = pd.DataFrame({"probability": np.clip(2 * light - 0.5, 0.01, 0.99), "split": "test"}, index=rows)
    return SimpleNamespace(evaluation=SimpleNamespace(split=lambda _: predictions))


def test_the_command_of_a_fold_is_that_of_its_run(tmp_path: Path) -> None:
    given = [f"dataset.path={write_mislabeled(tmp_path / 'root')}", "model.filters=[8,16]", "aug=strong", "shown=5"]
    given += [f"output={tmp_path}/page", "dataset.split.folds=3", f"dataset.cache={tmp_path}/cache", "tracking=off"]
    run = module._fold(compose_config(*given, schema=AuditConfig, name="audit"), 2)
    command = module._overrides(run, given)
    assert command[:3] == ["dataset=photos", "model=residual", "optimizer=adamw"]
    assert not any(value.startswith(("shown=", "output=", "aug=light")) for value in command)
    again = compose_config(*command)
    assert config_digest(again) == config_digest(run)
    assert (again.name, again.evaluation) == (run.name, run.evaluation)


@pytest.fixture
def audited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> SimpleNamespace:
    monkeypatch.setattr(module, "train", answer_by_light)
    root = write_mislabeled(tmp_path / "root")
    places = [f"dataset.path={root}", f"dataset.cache={tmp_path}/cache", f"output={tmp_path}/audit", "tracking=off"]
    values = ["dataset.image_size=16", "dataset.workers=1", "dataset.near_duplicate_distance=null"]
    table = module.audit(compose_config(*places, *values, schema=AuditConfig, name="audit"), REQUEST)
    return SimpleNamespace(table=table, folder=tmp_path / "audit", root=root, output=capsys.readouterr().out)


def test_the_surest_errors_come_first_on_the_page_and_in_the_manifest(audited: SimpleNamespace) -> None:
    wrong = {"happy/wrong70.png", "happy/wrong71.png"}
    assert set(audited.table.loc[audited.table["suspect"], "path"]) == wrong
    assert len(audited.table) == 26
    page = (audited.folder / "audit.html").read_text()
    assert page.count("<figure>") == 2
    assert page.index("wrong7") < page.index("</figure>")
    assert sorted(re.findall(r"<span>(.*?)</span></figcaption>", page)) == ["wrong70.png", "wrong71.png"]
    lines = pd.read_csv(audited.folder / "labels.csv")
    assert set(lines["path"][:2]) == wrong
    assert lines["likely"][:2].tolist() == ["sad", "sad"]
    assert len(lines) == 26


def test_the_mended_manifest_is_trained_on(audited: SimpleNamespace, tmp_path: Path) -> None:
    file = audited.folder / "labels.csv"
    lines = pd.read_csv(file)
    lines.loc[lines["suspect"], "label"] = "sad"
    lines.to_csv(file, index=False)
    root = re.search(r'dataset\.manifest\.root="?([^"\n ]+)', audited.output)
    assert root is not None
    manifest = ManifestConfig(root=root.group(1))
    mended = prepare(config_of(file, tmp_path / "cache", source="manifest", manifest=manifest))
    assert mended.table["label"].value_counts().to_dict() == {0: 14, 1: 12}


def test_what_cannot_be_audited_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(module, "train")
    with pytest.raises(DataError, match="an audit takes image files"):
        module.audit(compose_config("dataset=synthetic", "tracking=off", schema=AuditConfig, name="audit"), REQUEST)
    with pytest.raises(ConfigError, match="answers for no fold"):
        compose_config(f"dataset.path={class_folders(tmp_path)}", "trainer=overfit", schema=AuditConfig, name="audit")
