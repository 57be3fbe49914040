"""One row for each kind of mistake, and the one line that answers it; nothing is left behind."""

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

MISTAKES = [
    # keys and values
    ("train model=deeep", "model=deeep: accepts baseline, ... did you mean deep"),
    ("train modle=deep", "modle: no such key; did you mean model?"),
    ("train optimizer.lr=0.1", "optimizer.lr: no such key; did you mean optimizer.learning_rate?"),
    ("train epochs=3", "epochs: no such key; did you mean trainer.epochs?"),
    ("train lr=0.1", "lr: no such key; did you mean optimizer.learning_rate?"),
    ("train +color=red", "color: no such key"),
    ("train deep", "deep: not understood; write key=value"),
    ("train @seed=1", "@seed=1: not understood; write key=value"),
    ("train model.filters._target_.filters=[8,16]", "model.filters._target_.filters=[8,16]': cannot be composed"),
    ("train seed=-1", "seed=-1: accepts an integer, at least 0"),
    ("train seed=${nowhere}", "seed"),
    ("train trainer.epochs=2.5", "trainer.epochs=2.5: accepts an integer"),
    ("train trainer.overfit=perhaps", "trainer.overfit=perhaps: accepts true or false"),
    ("train optimizer.learning_rate=abc", "optimizer.learning_rate=abc: accepts a number, above 0 and at most 10"),
    ("train optimizer.learning_rate=nan", "optimizer.learning_rate=nan: accepts a number"),
    ("train optimizer.learning_rate=0,001", "or with a decimal point: optimizer.learning_rate=0.001"),
    ("train optimizer.clip_norm=0", "optimizer.clip_norm=0: accepts a number, above 0 or null"),
    ("train model.filters=16", "model.filters=16: accepts a list of 1 to 8 items"),
    ("train model.filters=[16,0]", "model.filters.1=0: accepts an integer, at least 1"),
    ("train model.convolution=seperable", "accepts standard, separable; did you mean separable?"),
    ("train aug=1.0", "aug=1.0: accepts light, none, photos, randaugment, strong"),
    ("train trainer.frozen='('", "frozen=(: no regular expression: missing )"),
    ("train model.architecture=vit", "model.architecture=vit: accepts cnn"),
    ("train +experiment=mine", "experiment=mine: accepts"),
    # values that exclude each other, or would be ignored
    ("train model=residual model.padding=valid", "model: residual=true needs padding=same"),
    ("train optimizer.schedule=plateau optimizer.warmup_epochs=1", "optimizer: schedule=plateau has no warm-up"),
    ("train dataset.split.train=0.9", "train, validation and test must add up to 1"),
    ("train dataset.split.fold=1", "split.fold=1: split.method=stratified has no folds; kfold has"),
    ("train dataset.path=PHOTOS", "is not read by synthetic faces; did you mean dataset=photos?"),
    ("train dataset=combined dataset.positive=cat", "positive=cat: say what that is in each source: dataset.sources."),
    ("train dataset.train_only=true", "train_only is for one of several dataset.sources: something must be evaluated"),
    ("train output=", "output= is empty; name a folder"),
    ("evaluate evaluation.calibrate=false", "evaluation.calibrate is settled by training, and recorded with the model"),
    # one run or several, options of other programs
    ("train model=deep,baseline", "model=deep,baseline: several options make a sweep: add -m"),
    ("train dataset.path=a,b", """several values make a sweep; add -m, or as one text: 'dataset.path="a,b"'"""),
    ("train -m seed=0,1 optimizer.learning_rate=abc", "optimizer.learning_rate=abc: accepts a number"),
    ("train --epochs 5 --lr 0.1", "--epochs: no such option; a value is set by trainer.epochs=5"),
    ("train dataset.path=my photos", "photos: not understood; write key=value, in quotes where the value holds spaces"),
    ("predict --modell x", "No such option: --modell"),
    ("serve --port 99999", "Invalid value for '--port'"),
    # where runs are recorded, and other places
    ("train tracking=server tracking.uri=http://127.0.0.1:9", "tracking.uri=http://127.0.0.1:9: nothing answers"),
    ("train tracking=local tracking.uri=sqlite:////proc/x/mlflow.db", "/proc/x: ... name another store"),
    ("train tracking.experiment=", "tracking: experiment= is empty; name one"),
    ("train resume=abc", "resume=abc: no such unfinished run"),
    ("train resume=auto tracking=off", "nothing is recorded with tracking=off"),
    ("train output=/proc/x", "output=/proc/x: nothing can be written there"),
    ("train trainer.checkpoint=/proc/x", "trainer.checkpoint=/proc/x: nothing can be written there"),
    ("prepare quarantine=/proc/x", "quarantine=/proc/x: nothing can be written there"),
    # data
    ("train dataset=photos", "dataset.path: no value given; name the folder or file that holds the data"),
    ("train dataset=photos dataset.path=NOWHERE", "dataset.path=NOWHERE: No such file or directory"),
    ("train dataset=photos dataset.path=EMPTY", "EMPTY is empty: folders with images of each class are needed"),
    ("train dataset=photos dataset.path=PETS", "there is 'cat', 'dog'; dataset.positive and dataset.negative name the"),
    ("train dataset=photos dataset.path=PHOTOS/happy", "name the folder above, which holds both"),
    ("train dataset=photos dataset.path=PHOTOS 'dataset.positive=\"[/oops]\"'", "no images of class '[/oops]'"),
    ("train dataset=photos dataset.path=PHOTOS", "dataset"),  # one image of each class
    ("train dataset=photos dataset.path=UNREADABLE", "UNREADABLE"),
    ("train dataset=manifest dataset.path=header.csv", "header.csv: has a header and no images below it"),
    ("train dataset=manifest dataset.path=other.csv", "no column 'path'; there is file, label"),
    # other commands
    ("tune model=baseline", "model.residual=true, which the space tries: model: residual=true needs padding=same"),
    ("tune tuner.objective=test/accuracy", "the test part is never searched on"),
    ("evaluate run=nonsense", "run=nonsense: "),
    ("export formats=[tflite]", "formats.0=tflite: accepts keras, litert, int8, onnx"),
    ("export output=BUNDLE", "BUNDLE: holds a model already; name another folder, or overwrite=true replaces it"),
    ("compare experiment=nothing", "tracking.experiment=nothing: no such experiment"),
    ("register alias=latest", "alias=latest: accepts letters, digits"),
    ("predict", "name images or folders, or - for standard input"),
    ("predict nowhere.jpg", "nowhere.jpg: no such file or folder"),
    ("predict EMPTY", "EMPTY: no images found"),
    ("predict PHOTOS/happy --sort-into PHOTOS/happy", "--sort-into PHOTOS/happy: lies in PHOTOS/happy"),
    ("predict PHOTOS/happy/0.png --explain out.mpeg5", "out.mpeg5: cannot be written"),
    ("serve --host 0.0.0.0", "reachable from other machines, which needs --token"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Path]:
    """A new user's folder, in which training and evaluating fail the test: all answers come before them."""
    folder = tmp_path_factory.mktemp("place")
    for root, names in (("PHOTOS", ("happy", "sad")), ("PETS", ("cat", "dog"))):
        for name in names:
            (folder / root / name).mkdir(parents=True)
            Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / root / name / "0.png")
        (folder / "UNREADABLE" / names[0]).mkdir(parents=True, exist_ok=True)
    for number in range(5):
        (folder / "UNREADABLE" / "happy" / f"{number}.jpg").write_bytes(b"this is no image")
    (folder / "EMPTY").mkdir()
    (folder / "BUNDLE").mkdir()
    (folder / "BUNDLE" / "bundle.json").write_text("{}")
    (folder / "header.csv").write_text("path,label\n")
    (folder / "other.csv").write_text("file,label\na.png,happy\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        store, _ = private_places(folder, empty_store)
        patch.setenv("MLFLOW_TRACKING_URI", store.removeprefix("tracking.uri="))
        for name in ("src.training.fit.fit", "src.evaluation.reevaluation.evaluate_model"):
            module, _, function = name.rpartition(".")
            patch.setattr(import_module(module), function, lambda *_, **__: pytest.fail("the work began"))
        yield folder


@pytest.mark.parametrize(("line", "answer"), MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_do(
    line: str, answer: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *arguments = shlex.split(line)
    before = sorted(place.rglob("*"))
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
    left = {path for path in place.rglob("*") if path.suffix in (".npy", ".parquet", ".json", ".png")} - set(before)
    assert not left
