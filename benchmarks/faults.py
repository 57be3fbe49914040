"""Inject faults and print what held: `python -m benchmarks.faults [NAME=TRIALS ...]`.

Without names all faults are injected, as often as `FAULTS` says. Everything happens in temporary folders. Exits with 1
where something was lost, doubled, taken as sound or left open, or ended in a traceback.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.damaged_files import CHOICE, Outcome, damaged_lists, flipped_bits, torn_states
from benchmarks.serving import serving
from src.config import PROJECT_ROOT

SMALL = ["dataset.synthetic.count=48", "dataset.image_size=32", "trainer.batch_size=8", "model=mobile"]
SMALL += ["model.filters=[8]", "evaluation.resamples=100", "evaluation.explanations=0", "evaluation.figures=false"]
SMALL += ["evaluation.pointing_pictures=0", "trainer.precision=float32", "trainer.early_stopping=0"]
EPOCHS = 6


def command(folder: Path, *more: str, module: str = "src.train") -> list[str]:
    """The command line of a small run whose store and cache are in `folder`."""
    own = [f"tracking.uri=sqlite:///{folder}/mlflow.db", f"dataset.cache={folder}/cache", f"trainer.epochs={EPOCHS}"]
    return [sys.executable, "-m", module, *SMALL, *own, *more]


def run(arguments: list[str], *, check: bool = False, most: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; with `most`, none of its files may grow beyond so many bytes."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    return subprocess.run(
        arguments,
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=check,
        preexec_fn=limit,
    )


def runs_of(folder: Path) -> list[mlflow.entities.Run]:
    """All runs in the store of `folder`."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    return mlflow.search_runs(search_all_experiments=True, output_format="list")


def killed_runs(folder: Path, trials: int) -> Outcome:
    """SIGKILL at a random moment from the start of a run to its last upload, then `resume=auto`."""
    whole = folder / "whole"
    started = time.monotonic()
    run(command(whole), check=True)
    life = time.monotonic() - started
    (undisturbed,) = runs_of(whole)
    digest, kills, held, rounds = undisturbed.data.tags["weights.sha256"], 0, 0, 0
    while kills < trials:
        rounds += 1
        place, before = folder / f"round{rounds}", kills
        while True:
            process = subprocess.Popen(
                command(place, "resume=auto"), cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(CHOICE.uniform(0.2, life) if kills < trials else None)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
        finished = [found for found in runs_of(place) if found.info.status == "FINISHED"]
        sound = len(finished) == 1 and all(found.info.status != "RUNNING" for found in runs_of(place))
        if sound:
            client = mlflow.MlflowClient()
            steps = [point.step for point in client.get_metric_history(finished[0].info.run_id, "fit/loss")]
            sound = steps == list(range(1, EPOCHS + 1)) and finished[0].data.tags["weights.sha256"] == digest
        held += (kills - before) if sound else 0
    return Outcome(trials, held, f"{rounds} runs finished, each epoch once, weights to the bit, none left RUNNING")


def killed_preparations(folder: Path, trials: int) -> Outcome:
    """SIGKILL while pictures are decoded and written, then the same preparation again."""
    values = ["dataset.synthetic.count=600", "dataset.image_size=64", f"output={folder}/report"]
    arguments = [sys.executable, "-m", "src.prepare", *values, f"dataset.cache={folder}/cache"]
    started = time.monotonic()
    run(arguments, check=True)
    life, held = time.monotonic() - started, 0
    (store,) = (path for path in (folder / "cache").glob("synthetic-*") if path.is_dir())
    pixels = (store / "pixels.u8").read_bytes()
    for _ in range(trials):
        for path in sorted(store.rglob("*"), reverse=True):
            path.unlink()
        store.rmdir()
        process = subprocess.Popen(
            arguments, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(CHOICE.uniform(0.3, 1) * life)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        again = run(arguments)
        leavings = list((folder / "cache").glob(".*.partial"))
        held += again.returncode == 0 and (store / "pixels.u8").read_bytes() == pixels and not leavings
    return Outcome(trials, held, "the same pixels, nothing half-made left")


def full_disks(folder: Path, trials: int) -> Outcome:
    """Files that may not grow beyond a random size, as on a full disk, and then `resume=auto` with room."""
    held, ends = 0, []
    run(command(folder, "seed=1000", "trainer.epochs=1"), check=True)
    for trial in range(trials):
        limit = int(10 ** CHOICE.uniform(3.3, 5.3))
        limited = run(
            command(folder, f"seed={trial}", f"output={folder}/out{trial}", "tracking.log_model=false"),
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        resumed = run(command(folder, f"seed={trial}", f"output={folder}/out{trial}", "resume=auto"))
        seeds = [found.data.params["seed"] for found in runs_of(folder) if found.info.status == "FINISHED"]
        open_runs = [found for found in runs_of(folder) if found.info.status == "RUNNING"]
        sound = "Traceback" not in limited.stderr + resumed.stderr and seeds.count(str(trial)) == 1 and not open_runs
        held += sound
        ends.append(f"{limit // 1000} kB: {limited.returncode}")
    return Outcome(trials, held, f"one line, then finished ({', '.join(ends)})")


def killed_workers(folder: Path, trials: int) -> Outcome:
    """SIGKILL, as the kernel sends where memory is out, to a worker of a sweep; then the sweep again."""
    held = 0
    for trial in range(trials):
        place = folder / str(trial)
        sweep = command(place, "-m", "seed=0,1", "trainer.epochs=3", "sweep.skip_finished=true")
        process = subprocess.Popen(
            sweep, cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        killed = False
        while process.poll() is None and not killed:
            time.sleep(0.2)
            workers = psutil.Process(process.pid).children(recursive=True)
            busy = [
                worker for worker in workers if worker.is_running() and worker.cpu_times().user > CHOICE.uniform(2, 6)
            ]
            for worker in busy[:1]:
                worker.kill()
                killed = True
        said = process.communicate()[1]
        again = run(sweep)
        jobs = [found for found in runs_of(place) if "role" not in found.data.tags]
        finished = sorted(found.data.params["seed"] for found in jobs if found.info.status == "FINISHED")
        left_open = [found for found in runs_of(place) if found.info.status == "RUNNING"]
        held += "Traceback" not in said + again.stderr and finished == ["0", "1"] and not left_open and killed
    return Outcome(trials, held, "the sweep says so; the same command makes what is missing, nothing twice")


def two_sweeps(folder: Path, trials: int) -> Outcome:
    """Two sweeps at once that are the first users of one store and one cache."""
    held = 0
    for trial in range(trials):
        place = folder / str(trial)
        both = [
            subprocess.Popen(
                command(place, "-m", f"seed={seeds}", "trainer.epochs=2"), cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL
            )
            for seeds in ("0,1", "2,3")
        ]
        codes = [process.wait() for process in both]
        found = [each for each in runs_of(place) if each.info.status == "FINISHED"]
        parents = sum("role" in each.data.tags for each in found)
        held += codes == [0, 0] and (len(found), parents) == (6, 2)
    return Outcome(trials, held, "four jobs below two parents, all FINISHED")


def read_only_tree(folder: Path, trials: int) -> Outcome:
    """The source tree on a read-only mount, store and cache elsewhere. Needs root; 0 trials without."""
    if os.geteuid():
        return Outcome(0, 0, "needs root")
    tree, held = folder / "tree", 0
    tree.mkdir()
    script = f"mount --bind {PROJECT_ROOT} {tree} && mount -o remount,bind,ro {tree} && cd {tree} && "
    for _ in range(trials):
        own = ["dataset.cache=" + str(folder / "cache"), f"tracking.uri=sqlite:///{folder}/mlflow.db"]
        trained = [sys.executable, "-m", "src.train", *SMALL, *own, "trainer.epochs=1"]
        predicted = [sys.executable, "-m", "src.predict", "docs/faces.jpg"]
        lines = " && ".join(" ".join(f"'{word}'" for word in line) for line in (trained, predicted))
        done = run(["unshare", "-m", "sh", "-c", script + lines])
        held += done.returncode == 0 and "Traceback" not in done.stderr
    return Outcome(trials, held, "trains and predicts")


def soak_of_runs(folder: Path, trials: int) -> Outcome:
    """One sweep of `trials` small runs: finished jobs, the parent's memory and handles, the store's growth."""
    seeds = ",".join(map(str, range(trials)))
    process = subprocess.Popen(
        command(folder, "-m", f"seed={seeds}", "trainer.epochs=1"), cwd=PROJECT_ROOT, stdout=subprocess.DEVNULL
    )
    parent, samples = psutil.Process(process.pid), []
    while process.poll() is None:
        time.sleep(1)
        try:
            samples.append((parent.memory_info().rss / 1e6, parent.num_fds(), parent.num_threads()))
        except psutil.Error:
            break
    process.wait()
    done = sum(each.info.status == "FINISHED" and "role" not in each.data.tags for each in runs_of(folder))
    third, last = samples[len(samples) // 3], samples[-2]
    store = (folder / "mlflow.db").stat().st_size / max(done, 1) / 1e3
    seen = (
        f"parent {third[0]:.0f} -> {last[0]:.0f} MB, {third[1]} -> {last[1]} handles, {third[2]} -> {last[2]} threads"
    )
    return Outcome(trials, done, f"{seen}; {store:.0f} kB of database a run")


def soak_of_predictions(_: Path, trials: int) -> Outcome:
    """Pictures over HTTP: answered, and the service's memory, handles and threads after a tenth and at the end."""
    import httpx

    body, answered, samples = (PROJECT_ROOT / "docs" / "faces.jpg").read_bytes(), 0, []
    with serving("--no-page") as server, httpx.Client(base_url=server.url, timeout=60) as client:
        process = psutil.Process(server.process.pid)
        for number in range(trials):
            answered += client.post("/v1/predict", content=body).status_code == 200
            if number in (trials // 10, trials - 1):
                samples.append((process.memory_info().rss / 1e6, process.num_fds(), process.num_threads()))
    (memory, handles, threads), last = samples
    seen = f"{memory:.0f} -> {last[0]:.0f} MB, {handles} -> {last[1]} handles, {threads} -> {last[2]} threads"
    return Outcome(trials, answered if last[0] < 1.2 * memory else 0, seen)


FAULTS: dict[Callable[[Path, int], Outcome], int] = {
    torn_states: 300,
    flipped_bits: 150,
    damaged_lists: 3000,
    killed_preparations: 20,
    soak_of_predictions: 20_000,
    killed_runs: 50,
    full_disks: 10,
    two_sweeps: 3,
    killed_workers: 5,
    read_only_tree: 1,
    soak_of_runs: 100,
}
"""How often each fault is injected: hours in all."""


def main(*chosen: str) -> None:
    """Inject the faults named by `NAME=TRIALS`, or all, and print a line for each as it is done."""
    counts = {fault.__name__: (fault, trials) for fault, trials in FAULTS.items()}
    wanted = dict(name.partition("=")[::2] for name in chosen) or {
        name: str(number) for name, (_, number) in counts.items()
    }
    table, sound = Table("fault", "trials", "held", "what was seen", "minutes", title="faults injected"), True
    for name, trials in wanted.items():
        with tempfile.TemporaryDirectory(prefix="happy-sad-faults-") as folder:
            started = time.monotonic()
            outcome = counts[name][0](Path(folder), int(trials or counts[name][1]))
        minutes = (time.monotonic() - started) / 60
        sound = sound and outcome.held == outcome.trials
        row = (name.replace("_", " "), str(outcome.trials), str(outcome.held), outcome.seen, f"{minutes:.1f}")
        table.add_row(*row)
        print(" | ".join(row), flush=True)
    Console(width=160).print(table)
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
