"""Folders of unsent runs that come from someone else: they choose neither where something is sent nor which files."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.entities import PagedList
from PIL import Image

from src.config import Config
from src.errors import TrackingError
from src.tracking import spool, store
from src.tracking.read import find_runs
from src.tracking.resuming import close_dead_runs
from src.tracking.run import start_run
from src.tracking.run_folder import LOCK, RUN_FILE, read_spooled_run

Waiting = Callable[..., Path]


@pytest.fixture
def config(
    make_config: Callable[..., Config], empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Config:
    """A store that is not the project's own."""
    (tmp_path / "theirs").mkdir()
    shutil.copy(empty_store, tmp_path / "theirs" / "mlflow.db")
    monkeypatch.setattr(store, "STORE", tmp_path / "project")
    monkeypatch.delenv(store.GIVEN_STORE, raising=False)
    return make_config(f"tracking.uri=sqlite:///{tmp_path}/theirs/mlflow.db")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    (folder / "id_ed25519").write_text("a key")
    return folder


@pytest.fixture
def waiting(config: Config, tmp_path: Path) -> Waiting:
    """A finished run beside that store that waits to be sent, with other events and words."""

    def make(*events: object, record: Path | None = None, uri: str | None = None) -> Path:
        mlflow = store.open_store(config.tracking)
        run = mlflow.MlflowClient().create_run(mlflow.get_experiment_by_name(config.tracking.experiment).experiment_id)
        folder = tmp_path / "theirs" / "unsent" / f"{run.info.run_id}-1"
        (folder / "record").mkdir(parents=True)
        (folder / "record" / "card.md").write_text("a card")
        (folder / LOCK).touch()
        about = {"run": run.info.run_id, "uri": uri or config.tracking.uri, "experiment": config.tracking.experiment}
        about |= {"record": str(record or folder / "record"), "host": socket.gethostname()}
        (folder / RUN_FILE).write_text(json.dumps(about))
        lines = [*events, {"end": "FINISHED", "time": 1}]
        (folder / "spool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


def artifacts(config: Config, folder: Path) -> list[str]:
    client = store.open_store(config.tracking).MlflowClient()
    return [item.path for item in client.list_artifacts(folder.name.rpartition("-")[0])]


def test_nothing_is_sent_to_a_server_that_the_folder_names(waiting: Waiting, config: Config, secret: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as evil:
        evil.settimeout(0.2)
        folder = waiting(record=secret, uri=f"http://127.0.0.1:{evil.getsockname()[1]}")
        with pytest.raises(TrackingError, match="is not beside it; if it is yours, set MLFLOW_TRACKING_URI=http"):
            spool.sync(folder)
        assert close_dead_runs(config.tracking) == []
        with pytest.raises(TimeoutError):
            evil.accept()


def test_a_server_that_the_user_names_is_sent_to(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch, secret: Path
) -> None:
    folder = waiting(uri="http://127.0.0.1:9/ours")
    monkeypatch.setenv(store.GIVEN_STORE, "http://127.0.0.1:9/ours")
    assert read_spooled_run(folder).uri == "http://127.0.0.1:9/ours"


def test_files_outside_of_the_folder_are_not_sent(waiting: Waiting, config: Config, secret: Path) -> None:
    folder = waiting(record=secret)
    (folder / "record" / "card.md").unlink()
    (folder / "record").rmdir()
    with pytest.raises(TrackingError, match="outside of it; copy them to"):
        spool.sync(folder)
    assert artifacts(config, folder) == []


def test_links_that_lead_out_are_not_followed(waiting: Waiting, config: Config, secret: Path) -> None:
    for target in (secret, secret / "id_ed25519"):
        folder = waiting()
        (folder / "record" / "more").symlink_to(target)
        with pytest.raises(TrackingError, match="a link that leads out of"):
            spool.sync(folder)
        assert artifacts(config, folder) == []


def test_an_image_outside_of_the_folder_is_not_sent(waiting: Waiting, config: Config, secret: Path) -> None:
    Image.new("RGB", (8, 8)).save(secret / "me.png")
    folder = waiting({"image": "../../../home/.ssh/me.png", "key": "k", "step": 0, "time": 1})
    with pytest.raises(TrackingError, match="an image outside of the run's folder"):
        spool.sync(folder)
    assert artifacts(config, folder) == []


def test_what_lies_in_the_folder_is_sent_to_the_store_beside_it(waiting: Waiting, config: Config) -> None:
    folder = waiting()
    assert spool.sync(folder) == folder.name.rpartition("-")[0]
    assert artifacts(config, folder) == ["card.md"]
    assert not folder.exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", "[" * 9999, '{"run": 1, "uri": 2, "experiment": 3, "record": 4}', "FIFO"]
)
def test_words_that_are_none_are_one_line(tmp_path: Path, text: str) -> None:
    if text == "FIFO":
        os.mkfifo(tmp_path / RUN_FILE)
    else:
        (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(TrackingError, match="is no record of a run"):
        spool.sync(tmp_path)


@pytest.mark.parametrize("run_id", ["../../home", "/etc", "", "a/b", "a\nb"])
def test_a_store_does_not_choose_folders_by_the_ids_of_its_runs(
    config: Config, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    """As a server that means harm would: ids name folders of checkpoints, bundles and what waits to be sent."""
    mlflow = store.open_store(config.tracking)
    create_run = mlflow.MlflowClient.create_run

    def created(*arguments: Any, **values: Any) -> Any:
        run = create_run(*arguments, **values)
        run.info._run_id = run_id
        return run

    monkeypatch.setattr(mlflow.MlflowClient, "create_run", created)
    with pytest.raises(TrackingError, match="which no folder can be named by"), start_run(config, "a run", {}):
        pass
    (found,) = mlflow.search_runs(search_all_experiments=True, output_format="list")
    found.info._run_id = run_id
    monkeypatch.setattr(mlflow.MlflowClient, "search_runs", lambda *_, **__: PagedList([found], None))
    with pytest.raises(TrackingError, match="which no folder can be named by"):
        find_runs(config.tracking)
