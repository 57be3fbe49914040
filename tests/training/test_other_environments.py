"""Runs that need a process of their own: another backend, several devices, a store that cannot be written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from src.config import PROJECT_ROOT
from tests.composing import BRIEF_EVALUATION

pytestmark = pytest.mark.integration

TINY_RUN = ["dataset.synthetic.count=32", "dataset.image_size=32", "trainer.batch_size=8", *BRIEF_EVALUATION]

BLOCK_IMPORTS = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "mlflow", "cv2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
"""

TWO_DEVICES = """
import sys
from src.training import backend

backend.start_backend()
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
backend.distribution = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope
import src.train

sys.argv = ["src/train.py", *sys.argv[1:]]
src.train.main()
"""


def test_the_debug_run_completes_on_jax_where_tensorflow_mlflow_and_opencv_are_missing(
    run_command: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLOCK_IMPORTS)
    arguments = ["tracking=off", "trainer=debug", f"dataset.cache={tmp_path}/cache", f"output={tmp_path}/record"]
    arguments += [*BRIEF_EVALUATION, "evaluation.explanations=1", "aug=light"]  # by layers, without OpenCV
    answer = run_command("src.train", *arguments, KERAS_BACKEND="jax", PYTHONPATH=str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    assert "Warning" not in answer.stderr
    assert "accuracy" in answer.stdout
    assert (tmp_path / "record" / "model.keras").exists()


def test_training_runs_mirrored_on_two_devices(tmp_path: Path) -> None:
    arguments = ["tracking=off", "aug=strong", "trainer.epochs=1", f"dataset.cache={tmp_path}/cache", *TINY_RUN]
    answer = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, *arguments], cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "epoch 1/1" in answer.stdout


def test_losses_on_two_devices_under_jax_are_those_on_one(tmp_path: Path) -> None:
    """Batches of 8 and a last one of an odd number, which two devices cannot share evenly; with batch normalization."""

    def losses(devices: int) -> list[float]:
        flags = f"--xla_force_host_platform_device_count={devices}"
        arguments = ["tracking=off", "model.filters=[4]", "model.dense=[4]", "model.normalization=batch"]
        arguments += ["trainer.precision=float32", "trainer.epochs=2"]
        arguments += ["dataset.synthetic.count=33", f"dataset.cache={tmp_path}/cache", f"output={tmp_path}/{devices}"]
        answer = subprocess.run(
            [sys.executable, "-m", "src.train", *TINY_RUN, *arguments],
            cwd=PROJECT_ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
        )
        assert answer.returncode == 0, answer.stderr[-2000:]
        return [float(found) for found in re.findall(r"loss (\d+\.\d+)", answer.stdout)]

    one, two = losses(1), losses(2)
    assert len(one) == 4  # loss and val loss of two epochs
    assert two == pytest.approx(one, abs=0.002)


def test_a_read_only_store_is_one_line_before_any_work(tmp_path: Path) -> None:
    store = tmp_path / "mlruns"
    store.mkdir()
    store.chmod(0o555)
    # The superuser may write anywhere but on a file system that is mounted read-only.
    mount = f"mount --bind {store} {store} && mount -o remount,ro,bind {store} && exec"
    wrapper = ["unshare", "--mount", "sh", "-c", f'{mount} "$@"', "sh"] if os.geteuid() == 0 else []
    if wrapper and subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the superuser may write anywhere, and no private mount can be made here")
    answer = _train_into(store, tmp_path, wrapper)
    _expect_one_line(answer, f"{store} is read-only, so no run can be recorded there")
    assert not (tmp_path / "cache").exists()


def test_a_store_inside_a_file_is_one_line_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("not a folder")
    answer = _train_into(tmp_path / "mlruns", tmp_path)
    _expect_one_line(answer, f"{tmp_path}/mlruns: File exists; name another store with tracking.uri=")
    assert not (tmp_path / "cache").exists()


def test_a_tracking_server_that_does_not_answer_is_one_line(tmp_path: Path) -> None:
    answer = _train("tracking=server", "tracking.uri=http://127.0.0.1:9", f"dataset.cache={tmp_path}/cache")
    _expect_one_line(answer, "tracking.uri=http://127.0.0.1:9: nothing answers")


def _train(*arguments: str, wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*wrapper, sys.executable, "-m", "src.train", *TINY_RUN, *arguments],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def _train_into(store: Path, tmp_path: Path, wrapper: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    return _train(f"tracking.uri=sqlite:///{store}/mlflow.db", f"dataset.cache={tmp_path}/cache", wrapper=wrapper)


def _expect_one_line(answer: subprocess.CompletedProcess[str], line: str) -> None:
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"error: {line}"), answer.stderr
    assert answer.stderr.count("\n") == 1
