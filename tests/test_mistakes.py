"""What a new user gets wrong, and the one line that each is answered with, before any work is done."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.composing import private_places

BEFORE_THE_WORK = [
    # values and groups
    ("train model=deeep", "model=deeep: accepts baseline, ... did you mean deep"),
    ("train modle=deep", "modle: no such key; did you mean model?"),
    ("train model.depth=3", "model.depth: no such key"),
    ("train deep", "deep: not understood; write key=value"),
    ("train model = deep", "model: not understood; write key=value"),
    ("train model:deep", "model:deep: not understood; write key=value"),
    ("train seed=-1", "seed=-1: accepts an integer, at least 0"),
    ("train seed=one", "seed=one: accepts an integer"),
    ("train seed=0,1", "several values make a sweep; add -m"),
    ("train trainer.epochs=0", "trainer.epochs=0: accepts an integer, at least 1"),
    ("train trainer.epochs=2.5", "trainer.epochs=2.5: accepts an integer"),
    ("train trainer.batch_size=", "trainer.batch_size=: accepts an integer"),
    ("train optimizer=Adam", "optimizer=Adam: accepts adam, adamw, sgd; did you mean adam"),
    ("train optimizer.learning_rate=fast", "optimizer.learning_rate=fast: accepts a number"),
    ("train optimizer.lr=0.1", "optimizer.lr: no such key"),
    ("train aug.rotation=90", "aug.rotation=90: accepts a number, at least 0 and at most 0.5"),
    ("train aug=heavy", "aug=heavy: accepts light, none, photos, randaugment, strong"),
    ("train model.filters=16", "model.filters=16: accepts a list of 1 to 8 items"),
    ("train model.architecture=vit", "model.architecture=vit: accepts cnn"),
    ("train model=residual model.padding=valid", "residual=true needs padding=same"),
    ("tune model=baseline", "model.residual=true, which the space tries: model: residual=true needs padding=same"),
    ("train dataset.split.train=0.9", "train, validation and test must add up to 1"),
    ("train dataset.split.fold=7", "dataset.split: split.fold=7: accepts 0 to 4"),
    ("train dataset.split.fold=1", "split.fold=1: split.method=stratified has no folds; kfold has"),
    ("train dataset.image_size=4", "dataset.image_size=4: accepts an integer, at least 8"),
    ("train objective=test/accuracy", "objective=test/accuracy: accepts validation/accuracy"),
    ("train experiment=mine", "experiment=mine: accepts"),
    ("train output=", "output= is empty; name a folder"),
    ("train +new.key=1", "new: no such key"),
    ("train ~model", "model"),
    # options of other programs
    ("train --seed 1", "--seed: no such option; a value is set by seed=1"),
    ("train --seed=1", "--seed=1: no such option; a value is set by seed=1"),
    ("train --epochs 5 --lr 0.1", "--epochs: no such option; a value is set by epochs=5"),
    ("train --config-name", "argument --config-name/-cn: expected one argument; --hydra-help"),
    ("train -e 5", "-e: no such option"),
    # where runs are recorded
    ("train tracking.experiment=", "tracking: experiment= is empty; name one"),
    ("train 'tracking.experiment=\"  \"'", "tracking: experiment= is empty; name one"),
    ("train tracking=sever", "tracking=sever: accepts default, local, off, server; did you mean server?"),
    ("train tracking=server tracking.uri=http://127.0.0.1:9", "tracking.uri=http://127.0.0.1:9: nothing answers"),
    ("train tracking=local tracking.uri=sqlite:////proc/x/mlflow.db", "/proc/x: ... name another store"),
    ("train resume=abc", "resume=abc: no such unfinished run"),
    ("train resume=auto tracking=off", "nothing is recorded with tracking=off"),
    # places
    ("train output=/proc/x", "output=/proc/x: nothing can be written there"),
    ("train trainer.checkpoint=/proc/x", "trainer.checkpoint=/proc/x: nothing can be written there"),
    ("prepare output=/proc/x", "output=/proc/x"),
    ("prepare quarantine=/proc/x", "quarantine=/proc/x: nothing can be written there"),
    ("evaluate output=/proc/x", "output=/proc/x: nothing can be written there"),
    ("compare output=/proc/x", "output=/proc/x: nothing can be written there"),
    ("export output=/proc/x/y", "output=/proc/x: nothing can be written there"),
    # data
    ("train dataset=photos", "dataset.path: no value given; name the folder or file that holds the data"),
    ("train dataset=photos dataset.path=NOWHERE", "dataset.path=NOWHERE: No such file or directory"),
    (
        "train dataset=combined dataset.sources.photos.weight=abc",
        "dataset.sources.photos.weight=abc: accepts a number, above 0",
    ),
    (
        "train dataset=combined dataset.group_pattern=x",
        "group_pattern=x: set it for each: dataset.sources.NAME.group_pattern",
    ),
    ("train dataset=combined dataset.positive=cat", "positive=cat: say what that is in each source: dataset.sources."),
    ("train dataset=combined dataset.sources.photos.wieght=2", "dataset.sources.photos.wieght: no such key; did you"),
    ("evaluate evaluation.calibrate=false", "evaluation.calibrate is settled by training, and recorded with the model"),
    ("tune tuner.objective=val_acuracy", "objective=val_acuracy: accepts val_loss, val_accuracy, val_auc"),
    ("train dataset.train_only=true", "train_only is for one of several dataset.sources: something must be evaluated"),
    (
        "train dataset=combined dataset.sources.photos.train_only=true dataset.sources.faces.train_only=true",
        "something must be evaluated",
    ),
    ("train dataset.path=PHOTOS", "is not read by synthetic faces; did you mean dataset=photos?"),
    ("train dataset=photos dataset.path=EMPTY", "EMPTY is empty: folders with images of each class are needed"),
    (
        "train dataset=photos dataset.path=PETS",
        "there is 'cat', 'dog'; dataset.positive and dataset.negative name the classes",
    ),
    ("train dataset=photos dataset.path=PHOTOS/happy", "name the folder above, which holds both"),
    ("train dataset=photos dataset.path=PHOTOS dataset.positive=glad", "no images of class 'glad'"),
    ("train dataset=photos dataset.path=PHOTOS 'dataset.positive=\"[/oops]\"'", "no images of class '[/oops]'"),
    ("train dataset=photos dataset.path=PHOTOS dataset.group_pattern=(", "no regular expression"),
    ("train dataset=manifest dataset.path=header.csv", "header.csv: has a header and no images below it"),
    ("train dataset=manifest dataset.path=semicolons.csv", "its columns are separated by semicolons"),
    ("train dataset=manifest dataset.path=other.csv", "no column 'path'; there is file, label"),
    ("train dataset=fer2013 dataset.path=other.csv", "the first line must name the columns emotion, pixels"),
    ("train dataset=nowhere", "dataset=nowhere: accepts affectnet"),
    # spelling
    ("train optimizer.learning_rate=0,001", "or with a decimal point: optimizer.learning_rate=0.001"),
    ("train model=deep,baseline", "model=deep,baseline: several options make a sweep: add -m"),
    ("train dataset.path=my photos", "photos: not understood; write key=value, in quotes where the value holds spaces"),
    ("predict --modell x", "No such option: --modell"),
    ("serve --port 99999", "Invalid value for '--port'"),
    # other commands
    ("evaluate run=nonsense", "run=nonsense: "),
    ("export formats=[tflite]", "formats.0=tflite: accepts keras, litert, int8, onnx"),
    ("export output=BUNDLE", "BUNDLE: holds a model already; name another folder, or overwrite=true replaces it"),
    ("export groups=(", "groups=(: no regular expression"),
    ("compare metric=acc", "metric=acc: accepts accuracy"),
    ("compare experiment=nothing", "tracking.experiment=nothing: no such experiment"),
    ("register alias=latest", "alias=latest: accepts letters, digits"),
    ("register name=a/b", "name=a/b: accepts letters"),
    ("tune tuner.objective=test/accuracy", "the test part is never searched on"),
    ("tune tuner=optuna", "tuner=optuna: accepts bayesian, grid, hyperband, random"),
    ("predict", "name images or folders, or - for standard input"),
    ("predict nowhere.jpg", "nowhere.jpg: no such file or folder"),
    ("predict EMPTY", "EMPTY: no images found"),
    ("predict PHOTOS --link --move", "choose one of --link and --move"),
    ("predict PHOTOS/happy --sort-into PHOTOS/happy", "--sort-into PHOTOS/happy: lies in PHOTOS/happy"),
    ("predict PHOTOS --recursive --sort-into PHOTOS/new", "--sort-into PHOTOS/new: lies in PHOTOS"),
    ("predict PHOTOS/happy/0.png --explain out.mpeg5", "out.mpeg5: cannot be written"),
    ("predict PHOTOS/happy/0.png --annotate nowhere/out.png", "nowhere/out.png: cannot be written"),
    ("predict PHOTOS/happy/0.png --model nowhere/model", "nowhere/model: no such folder"),
    ("serve --host 0.0.0.0", "reachable from other machines, which needs --token"),
    ("serve --token short", "--token: 5 characters can be guessed"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A folder of a new user's, where the work itself is an error: all answers come before it."""
    folder = tmp_path_factory.mktemp("place")
    for root, names in (("PHOTOS", ("happy", "sad")), ("PETS", ("cat", "dog"))):
        for name in names:
            (folder / root / name).mkdir(parents=True)
            Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / root / name / "0.png")
    (folder / "EMPTY").mkdir()
    (folder / "BUNDLE").mkdir()
    (folder / "BUNDLE" / "bundle.json").write_text("{}")
    (folder / "header.csv").write_text("path,label\n")
    (folder / "semicolons.csv").write_text("path;label\na.png;happy\n")
    (folder / "other.csv").write_text("file,label\na.png,happy\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        store, _ = private_places(folder, empty_store)
        patch.setenv("MLFLOW_TRACKING_URI", store.removeprefix("tracking.uri="))
        for name in ("src.data.building.build", "src.training.fit.fit", "src.evaluation.evaluation.evaluate_model"):
            module, _, function = name.rpartition(".")
            patch.setattr(import_module(module), function, lambda *_, **__: pytest.fail("the work began"))
        yield folder


@pytest.mark.parametrize(("line", "answer"), BEFORE_THE_WORK)
def test_a_mistake_is_one_line_that_says_what_to_do(
    line: str, answer: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    main: Callable[[], None] = import_module(f"src.{command}").main
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr().err.replace(os.getcwd(), "")
    errors = [each for each in said.splitlines() if each.startswith("error: ")]
    assert stop.value.code in (1, 2)
    assert len(errors) == 1, said
    assert "Traceback" not in said
    assert all(part in errors[0] for part in answer.split(" ... ")), errors[0]
