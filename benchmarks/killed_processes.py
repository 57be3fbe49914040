"""Processes of runs, preparations, sweeps and searches, killed at every moment and started again."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.small_runs import EPOCHS, ForkedTraining, Outcome, command, is_whole, run, runs_of, start, values
from src.config import PROJECT_ROOT

CHOICE = random.SystemRandom()
WIDE = ["model=baseline", "model.filters=[8]", "model.dense=[2048,2048]"]
"""A model whose state takes a while to write: 4 million weights, 50 MB."""

ROUNDS_OF_A_STORE = 5
MAX_LIFE_SECONDS = 40.0


def killed_runs(folder: Path, trials: int) -> Outcome:
    """SIGKILL at a random moment from the start of a run to its last upload, then `resume=auto`."""
    life = ForkedTraining(values(folder / "whole")).seconds_until(math.inf)

    def is_due(training: ForkedTraining, _: Path) -> bool:
        due = CHOICE.uniform(0, life)
        return training.seconds_until(due) >= due

    return _kill_and_resume(folder, trials, [], is_due)


def killed_writes(folder: Path, trials: int) -> Outcome:
    """SIGKILL while the state of a fit is being written, then `resume=auto`."""
    ForkedTraining(values(folder / "whole", *WIDE)).wait()

    def is_due(training: ForkedTraining, place: Path) -> bool:
        left, there = CHOICE.randint(2, 3), False
        while not training.wait(0):
            partial = next((place / "checkpoints").glob("*/partial.npz"), None)
            if partial is not None and not there:
                left -= 1
                if not left:
                    time.sleep(CHOICE.uniform(0, 0.03))
                    return True
            there = partial is not None
            time.sleep(0.001)
        return False

    return _kill_and_resume(folder, trials, WIDE, is_due)


def _kill_and_resume(
    folder: Path, trials: int, more: list[str], is_due: Callable[[ForkedTraining, Path], bool]
) -> Outcome:
    """Run after run, killed whenever that `is_due`, until `trials` kills; each must end as the undisturbed one did."""
    (undisturbed,) = runs_of(folder / "whole")
    digest, kills, held, rounds, moments = undisturbed.data.tags["weights.sha256"], 0, 0, 0, Counter[str]()
    while kills < trials:
        place, before = folder / f"store{rounds // ROUNDS_OF_A_STORE}", kills
        rounds += 1
        while True:
            training = ForkedTraining(values(place, *more, "resume=auto"))
            if kills == trials or not is_due(training, place):
                training.wait()
                break
            training.kill()
            kills += 1
            moments[_moment(place)] += 1
            if _finished(place) > (rounds - 1) % ROUNDS_OF_A_STORE:  # it was killed on its way out
                break
        found = runs_of(place)
        finished = [each for each in found if each.info.status == "FINISHED"]
        sound = len(finished) == (rounds - 1) % ROUNDS_OF_A_STORE + 1 and all(
            is_whole(each, digest) for each in finished
        )
        sound = sound and all(each.info.status != "RUNNING" for each in found)
        held += (kills - before) if sound else 0
        print(f"run {rounds}: {kills - before} kills, {kills} in all, {held} held", file=sys.stderr, flush=True)
    fell = ", ".join(f"{count} {moment}" for moment, count in moments.most_common())
    return Outcome(
        trials, held, f"{rounds} runs: each epoch once, weights to the bit, none left RUNNING; kills: {fell}"
    )


def _finished(place: Path) -> int:
    return sum(each.info.status == "FINISHED" for each in runs_of(place)) if (place / "mlflow.db").exists() else 0


def _moment(place: Path) -> str:
    """Where in a run a kill fell."""
    if not (place / "mlflow.db").exists():
        return "before there was a store"
    spools = sorted((place / "unsent").glob("*/spool.jsonl"), key=lambda file: file.stat().st_mtime)
    if not spools:
        return "before the run was recorded"
    events = [json.loads(line) for line in spools[-1].read_text().splitlines() if line.endswith("}")]
    if any("end" in event for event in events):
        return "uploading"
    states = list((place / "checkpoints").glob("*/partial.npz"))
    epochs = max((event["step"] for event in events if "loss" in event.get("metrics", {})), default=0)
    return "writing the state" if states else "evaluating" if epochs == EPOCHS else "fitting" if epochs else "building"


def killed_preparations(folder: Path, trials: int) -> Outcome:
    """SIGKILL while images are decoded and written to a `.partial` folder, then the same preparation again."""
    cache, arguments = folder / "cache", [sys.executable, "-m", "src.prepare", "dataset.synthetic.count=1500"]
    arguments += ["dataset.image_size=64", f"output={folder}/report", f"dataset.cache={cache}"]
    process = start(arguments)
    since = _partial_since(process, cache)
    while next(cache.glob(".*.partial"), None) is not None:
        time.sleep(0.002)
    writing, held, hit = time.monotonic() - since, 0, 0
    process.communicate()
    (store,) = (path for path in cache.glob("synthetic-*") if path.is_dir())
    pixels = (store / "pixels.u8").read_bytes()
    for _ in range(trials):
        for path in sorted(store.rglob("*"), reverse=True):
            path.unlink()
        store.rmdir()
        process = start(arguments)
        _partial_since(process, cache)
        time.sleep(CHOICE.uniform(0, writing))
        hit += next(cache.glob(".*.partial"), None) is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        again = run(arguments)
        leavings = list(cache.glob(".*.partial"))
        held += again.returncode == 0 and (store / "pixels.u8").read_bytes() == pixels and not leavings
    return Outcome(trials, held, f"the same pixels, nothing half-made left; {hit} fell while .partial was written")


def _partial_since(process: subprocess.Popen[str], cache: Path) -> float:
    """Wait until something half-made is in `cache`; when that was."""
    while next(cache.glob(".*.partial"), None) is None and process.poll() is None:
        time.sleep(0.002)
    return time.monotonic()


def killed_workers(folder: Path, trials: int) -> Outcome:
    """SIGKILL to a worker of a sweep; then the sweep again."""

    def kill(worker: psutil.Process) -> bool:
        time.sleep(CHOICE.uniform(0, 3))
        worker.kill()
        return True

    return _sweeps_without_a_worker(folder, trials, kill)


def starved_workers(folder: Path, trials: int) -> Outcome:
    """The kernel kills a worker that is out of its control group's memory; then the sweep again. Needs root, cgroup v1
    or v2; 0 trials without.
    """
    root = Path("/sys/fs/cgroup/memory") if Path("/sys/fs/cgroup/memory").exists() else Path("/sys/fs/cgroup")
    limit, events = (
        ("memory.max", "memory.events")
        if root.name == "cgroup"
        else (
            "memory.limit_in_bytes",
            "memory.oom_control",
        )
    )
    group = root / f"happy-sad-faults-{os.getpid()}"
    try:
        group.mkdir()
        (group / limit).write_text(str(24_000_000))  # beyond what it has already, which stays with its old group
    except OSError as error:
        return Outcome(0, 0, f"needs control groups: {error.strerror}")

    def oom_kills() -> int:
        return int((group / events).read_text().split("oom_kill ")[1].split()[0])

    def starve(worker: psutil.Process) -> bool:
        before = oom_kills()
        (group / "cgroup.procs").write_text(str(worker.pid))
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
        return oom_kills() > before

    try:
        return _sweeps_without_a_worker(folder, trials, starve)
    finally:
        group.rmdir()


def _sweeps_without_a_worker(folder: Path, trials: int, kill: Callable[[psutil.Process], bool]) -> Outcome:
    held, killed_at_all, said = 0, 0, Counter[str]()
    for trial in itertools.count():
        if killed_at_all == trials:
            break
        place = folder / str(trial)
        sweep = command(place, "-m", "seed=0,1", "trainer.epochs=3", "sweep.skip_finished=true")
        process = start(sweep)
        killed = kill(_worker(process))
        lines = process.communicate()[1]
        said.update(line for line in lines.splitlines() if line.startswith("error"))
        again = run(sweep)
        jobs = [found for found in runs_of(place) if "role" not in found.data.tags]
        finished = sorted(found.data.params["seed"] for found in jobs if found.info.status == "FINISHED")
        left_open = [found for found in runs_of(place) if found.info.status == "RUNNING"]
        sound = "Traceback" not in lines + again.stderr and finished == ["0", "1"] and not left_open
        if not sound:
            print(f"trial {trial}: {finished=} {left_open=}\n{lines}\n{again.stderr}", file=sys.stderr, flush=True)
        killed_at_all += killed  # a worker that was done in time is no trial
        held += sound and killed
    words = "; ".join(said)
    return Outcome(trials, held, f"the same command makes what is missing, nothing twice, none left RUNNING; {words}")


def _worker(process: subprocess.Popen[str]) -> psutil.Process:
    """The first worker of a sweep: a child of the server that workers are forked from."""
    sweep = psutil.Process(process.pid)
    while process.poll() is None:
        for server in sweep.children():
            for worker in server.children():
                return worker
        time.sleep(0.05)
    raise RuntimeError("the sweep has ended before it had a worker")


def killed_sweeps(folder: Path, trials: int) -> Outcome:
    """SIGKILL to a sweep of six jobs at random moments, started again each time: each job finishes once."""
    return _killed_until_done(command(folder, "-m", "seed=0,1,2,3,4,5", "sweep.skip_finished=true"), folder, trials)


def killed_searches(folder: Path, trials: int) -> Outcome:
    """SIGKILL to a search of six trials, started again each time: the winner is that of an undisturbed search."""
    searches = []
    for place in (folder / "undisturbed", folder / "killed"):
        own = ["tuner=random", "space=tiny", "tuner.max_trials=6", f"output={place}/search"]
        own += [f"tuner.save_as=killed_{folder.name.replace('-', '_')}"]
        searches.append([sys.executable, "-m", "src.tune", *values(place, *own)])
    undisturbed, killed = searches
    experiments = PROJECT_ROOT / "experiments"
    before = set(experiments.glob("tuned_*.yaml"))
    try:
        run(undisturbed, check=True)
        outcome = _killed_until_done(killed, folder / "killed", trials)
    finally:
        for file in set(experiments.glob("tuned_killed_*.yaml")) - before:
            file.unlink()
    same = _winner(folder / "undisturbed") == _winner(folder / "killed")
    return outcome if same else Outcome(trials, 0, "another winner")


def _killed_until_done(arguments: list[str], folder: Path, kills: int) -> Outcome:
    """Kill a command `kills` times; when it ends by itself before that, its record is cleared and it starts anew."""
    done = starts = 0
    while True:
        starts += 1
        process = start(arguments)
        try:
            process.communicate(timeout=CHOICE.uniform(0.5, MAX_LIFE_SECONDS) if done < kills else None)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            done += 1
            continue
        if process.returncode or done == kills:
            break
        for path in (*folder.glob("mlflow.db*"), *folder.glob("search/journal.jsonl")):
            path.unlink()
    found = runs_of(folder)
    jobs = [each for each in found if "role" not in each.data.tags]
    finished = Counter(each.data.tags["config.digest"] for each in jobs if each.info.status == "FINISHED")
    repeated = sum(count > 1 for count in finished.values())
    left_open = sum(each.info.status == "RUNNING" for each in found)
    sound = (len(finished), repeated, left_open, len(found) - len(jobs)) == (6, 0, 0, 1)
    seen = f"{starts} starts; {len(finished)} of 6 finished, {repeated} repeated, {left_open} left open"
    return Outcome(kills, kills if sound else 0, seen)


def _winner(folder: Path) -> str:
    """Return the digest of the weights of a search's winner."""
    runs = {each.info.run_id: each for each in runs_of(folder)}
    (parent,) = (each for each in runs.values() if each.data.tags.get("role") == "tune")
    return str(runs[parent.data.tags["winner.run"]].data.tags["weights.sha256"])


def two_sweeps(folder: Path, trials: int) -> Outcome:
    """Two sweeps at once that are the first users of one store and one cache."""
    held = 0
    for trial in range(trials):
        place = folder / str(trial)
        both = [start(command(place, "-m", f"seed={seeds}", "trainer.epochs=2")) for seeds in ("0,1", "2,3")]
        said = "".join(process.communicate()[1] for process in both)
        found = [each for each in runs_of(place) if each.info.status == "FINISHED"]
        parents = sum("role" in each.data.tags for each in found)
        codes = [process.returncode for process in both]
        held += codes == [0, 0] and (len(found), parents) == (6, 2) and "Traceback" not in said
    return Outcome(trials, held, "four jobs below two parents, all FINISHED")
