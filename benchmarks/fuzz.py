"""Fuzzing: `python -m benchmarks fuzz [NAME[=AMOUNT] ...]`, exits with 1 where something was found.

`images`, `lists` and `bundles` are guided by coverage for some seconds each (atheris, libFuzzer for Python:
`pip install -e '.[fuzz]'`): a target starts from sound inputs and may only accept an input or reject it with the error
that its callers expect. Any other error, a crash, 30 seconds or 2.5 GB for one input are findings, kept in the folder
that is printed. `command_lines` and `damaged_images` are so many random command lines and files.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.command_lines import command_lines
from benchmarks.harness import amounts
from benchmarks.hostile_images import damaged_images

SECONDS = 600
LIMITS = [
    "-timeout=30",
    "-rss_limit_mb=2500",
    "-max_len=20000",
    "-print_final_stats=1",
    "-seed=1",
    "-use_value_profile=1",
]
INSTRUMENTED = ["src", "PIL", "zipfile", "tarfile", "gzip", "pandas.io.json", "pandas.io.parsers"]
WORDS = ["happy", "sad", "path", "label", "split", "weight", "train", "nan", "1e999", "ustar", "PAR1", "Exif", "IHDR"]
WORDS += ["IDAT", "WEBP", "VP8X", "ftypavif", "GIF89a", "BM", "II*\\x00", "MM\\x00*", "PK\\x01\\x02", "PK\\x03\\x04"]
WORDS += [
    "PK\\x05\\x06",
    "\\x1f\\x8b\\x08",
    "\\xff\\xd8\\xff",
    "\\xff\\xda",
    "schema",
]


def images(_: Path) -> tuple[Iterator[bytes], Callable[[bytes], None]]:
    """The one decoder: every format and mode that it reads, to a square and to a whole upright image."""
    import numpy as np

    from benchmarks.hostile_images import sound_images
    from src.data.images import decode_image, open_upright
    from src.data.samples import Limits, RejectedImageError

    limits = Limits(megapixels=2.0)
    seeds = [data for _, data in sound_images(np.random.default_rng(0)) if len(data) < 20_000]

    def test(data: bytes) -> None:
        try:
            decoded = decode_image(data, 16, limits, ("stretch", "crop", "pad")[len(data) % 3])
            _check(decoded.pixels.shape == (16, 16, 3), "pixels of another shape")
            open_upright(data, limits)
        except RejectedImageError:
            pass

    return iter(seeds), test


def lists(folder: Path) -> tuple[Iterator[bytes], Callable[[bytes], None]]:
    """Manifests as CSV, JSON lines and Parquet, fer2013.csv, zip and tar archives; the first byte chooses which."""
    from benchmarks.damaged_lists import _read_all, _sound
    from src.config import SourceConfig
    from src.errors import UserError

    kinds = [(folder / name, source) for name, source, _ in _sound(folder)]
    seeds = [bytes([number]) + data for number, (_, _, data) in enumerate(_sound(folder))]

    def test(data: bytes) -> None:
        path, source = kinds[(data[0] if data else 0) % len(kinds)]
        path.write_bytes(data[1:])
        try:
            _read_all(SourceConfig("fuzzed", source, path=str(path)))
        except UserError as error:
            _check("\n" not in str(error), "an error of several lines")

    return iter(seeds), test


def bundles(folder: Path) -> tuple[Iterator[bytes], Callable[[bytes], None]]:
    """`bundle.json`, beside the shipped model's own files."""
    from src.config import SHIPPED_MODEL
    from src.errors import BundleError
    from src.runtime.bundle import MANIFEST, open_bundle

    for file in SHIPPED_MODEL.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    shipped = (SHIPPED_MODEL / MANIFEST).read_bytes()

    def test(data: bytes) -> None:
        (folder / MANIFEST).write_bytes(data)
        try:
            bundle = open_bundle(folder)
            _check(bundle.model_id.isprintable(), "a name that is no line")
            bundle.label(0.5)
        except BundleError as error:
            _check("\n" not in str(error), "an error of several lines")

    return iter([shipped, json.dumps(json.loads(shipped)).encode()]), test


def _check(sound: bool, otherwise: str) -> None:
    if not sound:
        raise AssertionError(otherwise)


TARGETS = {target.__name__: target for target in (images, lists, bundles)}


def fuzz(name: str, folder: Path, arguments: list[str]) -> None:
    """Fuzz one target in this process until libFuzzer ends it; findings go to `folder`, each kind of them once."""
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        (folder / "work").mkdir(exist_ok=True)
        seeds, test = TARGETS[name](folder / "work")
    (folder / "corpus").mkdir(exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / "corpus" / f"seed{number}").write_bytes(seed)
    known = Counter[str]()

    def test_one(data: bytes) -> None:
        try:
            test(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            frames, trace = [], error.__traceback__
            while trace is not None:
                frames.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
                trace = trace.tb_next
            kind = f"{type(error).__name__} at {frames[-1]}"
            known[kind] += 1
            if known[kind] == 1:
                (folder / f"finding-{len(known)}").write_bytes(data)
                print(f"FINDING {kind} by {' '.join(frames[1:])}: {error}"[:500], file=sys.stderr, flush=True)

    atheris.Setup([sys.argv[0], *arguments, str(folder / "corpus")], test_one)
    atheris.Fuzz()


def watch(name: str, seconds: int) -> int:
    """Fuzz a target in processes of their own for `seconds`, started again after a crash, and print what came of it.

    Returns how many kinds of findings there were.
    """
    folder, started = Path(tempfile.mkdtemp(prefix=f"happy-sad-fuzz-{name}-")), time.monotonic()
    (folder / "words").write_text("".join(f'"{word}"\n' for word in WORDS))
    done, spent, covered, found, begun = 0, 0, (0, 0), set[str](), (0, 0)
    while (left := seconds - (time.monotonic() - started)) > 1:
        options = [*LIMITS, f"-max_total_time={int(left)}", f"-dict={folder}/words", f"-artifact_prefix={folder}/"]
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.fuzz", name, str(folder), *options],
            capture_output=True,
            text=True,
            errors="replace",
        )
        said = ended.stderr
        steps = [(int(step[1]), int(step[2])) for step in re.finditer(r"cov: (\d+) ft: (\d+)", said)]
        begun, covered = (begun if any(begun) or not steps else steps[0]), max([covered, *steps])
        numbers = [int(step) for step in re.findall(r"^#(\d+)", said, re.MULTILINE)]
        done += max(numbers, default=0)
        spent += sum(map(int, re.findall(r"^Done \d+ (?:runs )?in (\d+) second", said, re.MULTILINE)))
        found |= {line.removeprefix("FINDING ") for line in said.splitlines() if line.startswith("FINDING ")}
        if ended.returncode and not numbers:
            print(said[-2000:])
            return 1
        if ended.returncode:
            found.add(
                next((line for line in said.splitlines() if "ERROR: libFuzzer" in line), f"exit {ended.returncode}")
            )
    inputs = sum(1 for _ in (folder / "corpus").iterdir())
    print(
        f"{name}: {done:,} executions in {spent / 60:.1f} minutes; edges covered {begun[0]:,} -> {covered[0]:,}, "
        f"features {begun[1]:,} -> {covered[1]:,}; {inputs:,} inputs kept; {len(found)} findings"
        + (f" in {folder}" if found else ""),
        flush=True,
    )
    for finding in sorted(found):
        print(f"  {finding}", flush=True)
    return len(found)


def main(*chosen: str) -> None:
    """Fuzz the targets that are chosen, or all."""
    defaults = {**dict.fromkeys(TARGETS, str(SECONDS)), "command_lines": "10000", "damaged_images": "5000"}
    findings = 0
    for name, amount in amounts(chosen, defaults).items():
        if name == "command_lines":
            findings += command_lines(int(amount))
        elif name == "damaged_images":
            findings += damaged_images(int(amount))
        else:
            findings += watch(name, int(amount))
    sys.exit(1 if findings else 0)


if __name__ == "__main__":  # a target in a process of its own
    fuzz(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
