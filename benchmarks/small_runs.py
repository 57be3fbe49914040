"""Runs that are as small as they can be and still real, for benchmarks that break something and look what is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil

from src.config import PROJECT_ROOT
from src.sweeps.pool import start_fork_server

SMALL = ["dataset.synthetic.count=48", "dataset.image_size=32", "trainer.batch_size=8", "model=mobile"]
SMALL += ["model.filters=[8]", "evaluation.resamples=100", "evaluation.explanations=0", "evaluation.figures=false"]
SMALL += ["evaluation.pointing_images=0", "trainer.precision=float32", "trainer.early_stopping=0"]
EPOCHS = 6


@dataclass(frozen=True)
class Outcome:
    """What became of `trials` injections: how many of them `held`, and what was seen."""

    trials: int
    held: int
    seen: str


def values(folder: Path, *more: str) -> list[str]:
    """The command line of a small run, or of a sweep of them, whose store and cache are in `folder`."""
    own = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"dataset.cache={folder}/cache", f"trainer.epochs={EPOCHS}"]
    many = ["-m"] if "-m" in more else []  # Hydra takes options before values only
    return [*many, *SMALL, *own, *(word for word in more if word != "-m")]


def command(folder: Path, *more: str) -> list[str]:
    """The same in a process of its own."""
    return [sys.executable, "-m", "src.train", *values(folder, *more)]


def run(arguments: list[str], *, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(arguments, cwd=PROJECT_ROOT, capture_output=True, text=True, check=check)


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """Start a command in a process group of its own; what it says on standard error can be read."""
    return subprocess.Popen(
        arguments,
        cwd=PROJECT_ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class ForkedTraining:
    """`src.train` in a process that is forked, as a sweep's workers are, from one that has all imported: a fifth of the
    time of a new interpreter, and everything that touches a disk or a store happens in it.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._log = tempfile.NamedTemporaryFile("r", suffix=".log")  # noqa: SIM115 - as long as the process
        context = start_fork_server()
        self.process = context.Process(target=_train, args=(arguments, self._log.name))
        self.process.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether it has ended within so many seconds."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def seconds_until(self, due: float) -> float:
        """Wait until it has used `due` seconds of the processor or has ended; the seconds that it has used. Unlike
        seconds of the clock they fall on the same work on a busy machine.
        """
        used = 0.0
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(self.process.pid).cpu_times
            while used < due and not self.wait(0.01):
                used = sum(times()[:2])
        return used

    def kill(self) -> None:
        """End it as the kernel does where memory is out."""
        self.process.kill()
        self.process.join()

    @property
    def exit_code(self) -> int:
        """How it ended; waits for that."""
        self.wait()
        return self.process.exitcode or 0

    @property
    def said(self) -> str:
        """All that it has printed until now."""
        return Path(self._log.name).read_text()


def _train(arguments: list[str], log: str) -> None:
    from src.train import main

    os.setsid()
    with open(log, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    sys.argv = ["src/train.py", *arguments]
    main()


def runs_of(uri: Path | str) -> list[mlflow.entities.Run]:
    """All runs in the store of a folder, or at an address."""
    mlflow.set_tracking_uri(uri if isinstance(uri, str) else f"sqlite:///{uri}/mlflow.db")
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


def losses(run_id: str) -> list[int]:
    """The epochs that a run of the store that was asked last has a loss of, in the order of recording."""
    return [point.step for point in mlflow.MlflowClient().get_metric_history(run_id, "loss")]


def is_whole(found: mlflow.entities.Run, digest: str) -> bool:
    """Whether a run has each epoch once, in order, and these weights."""
    return found.data.tags["weights.sha256"] == digest and losses(found.info.run_id) == list(range(1, EPOCHS + 1))
