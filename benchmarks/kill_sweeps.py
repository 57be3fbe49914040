"""Kill a sweep and a search at random moments and start them again: `python -m benchmarks.kill_sweeps [KILLS]`.

The same command is started, ended with SIGKILL after a random time and started again, until it has been killed often
enough and then ends by itself. Afterwards every job must have finished exactly once, below one parent, with no run left
open; and the search must have found what an undisturbed one finds.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import mlflow
from rich.console import Console
from rich.table import Table

from src.config import PROJECT_ROOT

SMALL = ["dataset.synthetic.count=32", "dataset.image_size=32", "trainer.batch_size=8", "trainer.epochs=4"]
SMALL += ["evaluation.resamples=100", "evaluation.explanations=0", "evaluation.pointing_images=0", "aug=light"]
WINNER = "killed_by_a_benchmark"
LONGEST_LIFE = 40.0  # seconds


@dataclass(frozen=True)
class Case:
    """A command that goes on where it was killed, how many runs it makes in all, and the role of their parent."""

    arguments: tuple[str, ...]
    runs: int
    role: str


MULTIRUN = Case(("src.train", "-m", "seed=0,1,2,3,4,5", "model.filters=[8]", "sweep.skip_finished=true"), 6, "sweep")
TUNE = Case(
    ("src.tune", "tuner=random", "space=tiny", "model=mobile", "tuner.max_trials=6", f"tuner.save_as={WINNER}"),
    6,
    "tune",
)


def main(kills: int = 20) -> None:
    """Print what came of each command; exits with 1 where a run was lost, repeated or left open."""
    table = Table(
        "command", "kills", "starts", "finished", "repeated", "left open", "parents", title="killed at random"
    )
    sound = True
    for case in (MULTIRUN, TUNE):
        with tempfile.TemporaryDirectory() as folder:
            starts = _until_done(case, Path(folder), kills)
            finished, repeated, open_runs, parents = _counts(case, Path(folder))
            same = case is MULTIRUN or _winner(Path(folder)) == _undisturbed_winner()
        sound = sound and same and (finished, repeated, open_runs, parents) == (case.runs, 0, 0, 1)
        name = f"python -m {case.arguments[0]}{'' if same else ' (another winner)'}"
        table.add_row(name, *map(str, (kills, starts, finished, repeated, open_runs, parents)))
    Console().print(table)
    (PROJECT_ROOT / "experiments" / f"tuned_{WINNER}.yaml").unlink(missing_ok=True)
    sys.exit(0 if sound else 1)


def _command(case: Case, folder: Path) -> list[str]:
    own = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"dataset.cache={folder}/cache"]
    own += [f"output={folder}/search"] if case is TUNE else []
    return [sys.executable, "-m", *case.arguments, *SMALL, *own]


def _until_done(case: Case, folder: Path, kills: int) -> int:
    """Kill the command `kills` times; when it ends by itself before that, its record is cleared and it starts anew."""
    command, done, starts = _command(case, folder), 0, 0
    moments = random.Random(kills)  # noqa: S311 - moments need be no secret
    while True:
        starts += 1
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=moments.uniform(0.5, LONGEST_LIFE) if done < kills else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            continue
        if process.returncode or done == kills:
            return starts
        for path in (*folder.glob("mlflow.db*"), *folder.glob("search/journal.jsonl")):
            path.unlink()


def _runs(folder: Path) -> list[mlflow.entities.Run]:
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


def _counts(case: Case, folder: Path) -> tuple[int, int, int, int]:
    """Jobs that finished, how many of them more than once, runs left open, and parents."""
    runs = _runs(folder)
    jobs = [run for run in runs if "role" not in run.data.tags]
    finished = Counter(run.data.tags["config.digest"] for run in jobs if run.info.status == "FINISHED")
    open_runs = sum(run.info.status == "RUNNING" for run in runs)
    parents = sum(run.data.tags.get("role") == case.role for run in runs)
    return len(finished), sum(count > 1 for count in finished.values()), open_runs, parents


def _winner(folder: Path) -> str:
    """The digest of the winner's weights."""
    runs = {run.info.run_id: run for run in _runs(folder)}
    (parent,) = (run for run in runs.values() if run.data.tags.get("role") == TUNE.role)
    return runs[parent.data.tags["winner.run"]].data.tags["weights.sha256"]


def _undisturbed_winner() -> str:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(_command(TUNE, Path(folder)), cwd=PROJECT_ROOT, check=True, stdout=subprocess.DEVNULL)
        return _winner(Path(folder))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
