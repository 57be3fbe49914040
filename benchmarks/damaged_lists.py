"""Lists of images and archives, damaged at random."""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.small_runs import Outcome
from src.config import SourceConfig
from src.data.locators import READ_ERRORS
from src.data.sources.folders import SOURCES
from src.errors import UserError

WORDS = b"happy sad , .. / nan -1 1e999 { [ path label split weight train PK\x01\x02 PK\x05\x06 ustar".split()
WORDS += [b'"', b"\n", b"\r", b"\0", b"\xff\xfe", b"\x1f\x8b", b"\xff" * 8]
CHOICE = random.Random(0)  # noqa: S311 - not a secret


def damaged_lists(folder: Path, trials: int) -> Outcome:
    """Manifests, label lists and archives, which a reader may only take or reject, in one line.

    Each starts as a sound file of one kind; up to eight places of it are cut, repeated, overwritten or given words that
    mean something to a reader.
    """
    generator, seen, defects = CHOICE, Counter[str](), []
    sound = list(_sound(folder))
    for number in range(trials):
        name, source, data = sound[number % len(sound)]
        file = folder / name
        file.write_bytes(_damaged(bytearray(data), generator))
        try:
            _read_all(SourceConfig("fuzzed", source, path=str(file)))
            seen["taken"] += 1
        except UserError as error:
            seen["one line" if "\n" not in str(error) else "several lines"] += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            defects.append(f"{name}: {type(error).__name__}: {error}"[:160])
    counted = ", ".join(f"{count} {what}" for what, count in seen.items())
    counted += "".join(f"; {defect}" for defect in sorted(set(defects))[:5])
    return Outcome(trials, seen["taken"] + seen["one line"], counted)


def _read_all(config: SourceConfig) -> None:
    for sample in SOURCES[config.source].list(config).samples[:20]:
        try:
            sample.locator.read(10_000)
        except READ_ERRORS:
            continue


def _sound(folder: Path) -> list[tuple[str, str, bytes]]:
    """Name, source and bytes of a sound file of each kind."""
    images = {}
    for label in ("happy", "sad"):
        for index in range(3):
            stream = io.BytesIO()
            pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(stream, "PNG")
            images[f"{label}/{index}.png"] = stream.getvalue()
            (folder / label).mkdir(exist_ok=True)
            (folder / label / f"{index}.png").write_bytes(stream.getvalue())
    rows = pd.DataFrame(
        {
            "path": list(images),
            "label": [name.partition("/")[0] for name in images],
            "split": "train",
            "weight": 1.0,
        }
    )
    parquet, packed, taped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    rows.to_parquet(parquet)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in images.items():
            archive.writestr(name, data)
    with tarfile.open(fileobj=taped, mode="w:gz") as tape:
        for name, data in images.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tape.addfile(member, io.BytesIO(data))
    pixels = " ".join(["7"] * 64)
    fer = "emotion,pixels,Usage\n" + "".join(f"{emotion},{pixels},Training\n" for emotion in (3, 4, 3, 4))
    return [
        ("list.csv", "manifest", rows.to_csv(index=False).encode()),
        ("list.jsonl", "manifest", rows.to_json(orient="records", lines=True).encode()),
        ("list.parquet", "manifest", parquet.getvalue()),
        ("fer2013.csv", "fer2013", fer.encode()),
        ("faces.zip", "folder", packed.getvalue()),
        ("faces.tar.gz", "folder", taped.getvalue()),
    ]


def _damaged(data: bytearray, generator: random.Random) -> bytes:
    for _ in range(generator.randint(1, 8)):
        if not data:
            break
        place = generator.randrange(len(data))
        end = min(len(data), place + generator.randint(1, 40))
        how = generator.randrange(5)
        if how == 0:
            data[place] ^= 1 << generator.randrange(8)
        elif how == 1:
            data[place:end] = generator.choice(WORDS)
        elif how == 2:
            data[place:place] = data[place:end] * generator.randint(1, 4)
        elif how == 3:
            data[place:end] = generator.randbytes(end - place)
        else:
            del data[place : end if generator.random() < 0.8 else len(data)]
    return bytes(data)
