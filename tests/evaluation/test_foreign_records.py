"""A recorded run that somebody else made: judged by it, never led by it."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from src.config import EvaluateConfig, EvaluationConfig, ExportConfig, TrackingConfig
from src.conversion.export import export
from src.data.sources import list_samples
from src.errors import ConfigError, DataError, TrackingError
from src.evaluation.recorded import CACHE, CONFIG, open_recorded
from src.evaluation.reevaluation import evaluate
from tests.data.listing import measured_peak, needs_linux, write_shared_values

OFF = TrackingConfig("off")
ALIASES = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 9)
)
"""Few bytes that take half a minute and 1.4 GB where each alias is followed."""
LAMBDA = {"module": "keras.layers", "class_name": "Lambda", "registered_name": None}
LAMBDA |= {"config": {"name": "code", "function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}
HUGE = {"module": "keras.layers", "class_name": "Dense", "registered_name": None}
HUGE |= {"config": {"name": "huge", "units": 10**12}, "build_config": {"input_shape": [None, 10**6]}}
ELSEWHERE = {"module": "elsewhere.layers", "class_name": "Theirs", "registered_name": "Theirs", "config": {}}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that only notes what it is asked for, and its notes."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


@pytest.fixture
def foreign(record: Path, tmp_path: Path) -> Path:
    """A copy of the record, to be changed as somebody else could have."""
    return Path(shutil.copytree(record, tmp_path / "foreign"))


def changed(folder: Path, **values: object) -> Path:
    tree = yaml.safe_load((folder / CONFIG).read_text())
    for name, value in values.items():
        section, _, key = name.rpartition("__")
        (tree[section] if section else tree)[key] = value
    (folder / CONFIG).write_text(yaml.safe_dump(tree))
    return folder


def test_what_a_record_says_of_places_is_not_obeyed(foreign: Path, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    tracking = {"name": "server", "uri": "http://192.0.2.1", "experiment": "theirs", "log_model": True}
    changed(foreign, dataset__cache=f"{trap}/cache", dataset__downloads=f"{trap}/downloads", tracking=tracking)
    changed(foreign, dataset__verify="full", trainer__checkpoint=f"{trap}/state", output=f"{trap}/output")
    config = open_recorded(OFF, str(foreign)).config
    assert (config.tracking, config.output, config.trainer.checkpoint) == (OFF, None, None)
    assert (config.dataset.cache != f"{trap}/cache", config.dataset.downloads) == (True, ".cache/downloads")
    export(ExportConfig(OFF, run=str(foreign), output=str(tmp_path / "mine"), formats=["litert"]))
    assert not trap.exists()
    assert CACHE == ".cache/prepared"


@pytest.mark.parametrize("place", ["itself", "one of several"])
def test_what_a_record_names_is_not_fetched(foreign: Path, asked: tuple[str, list[str]], place: str) -> None:
    address, paths = asked
    fetched = {"url": f"{address}/internal.zip", "sha256": hashlib.sha256(b"").hexdigest(), "path": None}
    if place == "itself":
        changed(foreign, **{f"dataset__{key}": value for key, value in fetched.items()})
    else:
        source = {"name": "theirs", "source": "folder", **fetched}
        changed(foreign, dataset__source="combined", dataset__sources={"theirs": source})
    with pytest.raises(DataError, match=r"is not fetched for a recorded run.*src\.prepare"):
        export(ExportConfig(OFF, run=str(foreign), output=str(foreign / "mine")))
    with pytest.raises(DataError, match="is not fetched for a recorded run"):
        list_samples(open_recorded(OFF, str(foreign)).config.dataset)
    assert paths == []


def test_images_that_a_model_was_not_trained_on_are_not_its_own(foreign: Path, tmp_path: Path) -> None:
    """Else another person's record would show what lies in any folder that it names."""
    random = np.random.default_rng(7)
    for name in ("Documents", "Images"):
        (tmp_path / "home" / name).mkdir(parents=True)
        for index in range(8):
            pixels = random.integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "home" / name / f"{index}.png")
    changed(foreign, dataset__path=str(tmp_path / "home"), dataset__positive="Documents", dataset__negative="Images")
    with pytest.raises(DataError, match="holds none of the images that foreign was trained on"):
        evaluate(EvaluateConfig(OFF, EvaluationConfig(), run=str(foreign)))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (CONFIG, b"[1, 2]"),
        (CONFIG, b"a: !!python/object/apply:os.system [touch /tmp/x]"),
        (CONFIG, b"[" * 5000),
        (CONFIG, b"dataset: 3"),
        (CONFIG, ALIASES.encode()),
        ("decision.json", b"{}"),
        ("fitted_on.parquet", b"PAR1"),
    ],
)
def test_a_record_that_is_none_is_one_line(foreign: Path, name: str, content: bytes) -> None:
    (foreign / name).write_bytes(content)
    with pytest.raises((TrackingError, ConfigError), match=r"cannot be read|no value|accepts"):
        open_recorded(OFF, str(foreign))


@needs_linux
def test_a_record_of_one_value_for_all_rows_costs_little(foreign: Path) -> None:
    write_shared_values(foreign / "fitted_on.parquet", 10_000, sha256="x" * 900_000)
    with measured_peak() as peak, pytest.raises(TrackingError, match=r"3\.7 GB are packed into 0\.0 MB"):
        open_recorded(OFF, str(foreign))
    assert peak[0] < 60


@pytest.mark.parametrize(
    ("layer", "said"),
    [(LAMBDA, "code of its own, which is never run"), (HUGE, "OOM"), (ELSEWHERE, "TypeError"), (None, "")],
)
def test_a_model_that_keras_does_not_load_is_one_line(
    foreign: Path, layer: dict[str, object] | None, said: str
) -> None:
    (file,) = foreign.rglob("*.keras")
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    made = {"module": "keras", "class_name": "Sequential", "registered_name": None}
    members["config.json"] = json.dumps({**made, "config": {"name": "theirs", "layers": [layer]}}).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if layer is None:
        file.write_bytes(b"none")
    with pytest.raises(
        TrackingError, match=f"^run=foreign: its model model.keras cannot be loaded: .*({said})"
    ) as raised:
        open_recorded(OFF, str(foreign)).load()
    assert "\n" not in str(raised.value)
    assert "safe_mode" not in str(raised.value)
