"""Decode thousands of damaged and hostile files: `python -m benchmarks fuzz damaged_images=FILES`.

Each file starts as a sound image that is then cut, bit-flipped, overwritten, given another format's header or grown
into a bomb. Findings are a second for one file, a gigabyte for the process, and an image that
Pillow cannot decode.
"""

from __future__ import annotations

import resource
import struct
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

import numpy as np
from PIL import Image

from src.data.images import FORMATS, decode_pixels
from src.data.samples import RejectedImageError

MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "P", "L", "LA", "1", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "BMP": ("RGB", "P"),
    "GIF": ("P", "L"),
    "TIFF": ("RGB", "RGBA", "CMYK", "I;16", "F", "1"),
    "AVIF": ("RGB", "RGBA"),
}
MAX_SECONDS, MAX_BYTES = 1.0, 1_000_000_000


@dataclass
class Findings:
    """What became of the files."""

    verdicts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    slowest_name: str = ""
    misread: list[str] = field(default_factory=list)


def sound_images(random: np.random.Generator) -> list[tuple[str, bytes]]:
    """One encoded image for each format, mode and way of storing it."""
    found = []
    for kind in FORMATS:
        for mode in MODES[kind]:
            options: list[dict[str, object]] = [{}]
            options += [{"progressive": True}] if kind == "JPEG" else []
            options += (
                [{"compression": "tiff_lzw"}, {"compression": "packbits"}] if kind == "TIFF" and mode != "F" else []
            )
            for option in options:
                buffer = BytesIO()
                _image(mode, random).save(buffer, kind, **option)  # type: ignore[arg-type]
                found.append((f"{kind}/{mode}{'/' + str(option) if option else ''}", buffer.getvalue()))
    return found


def _image(mode: str, random: np.random.Generator) -> Image.Image:
    width, height = (int(side) for side in random.integers(40, 400, size=2))
    smooth = Image.fromarray(random.integers(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))
    if mode == "I;16":
        return Image.fromarray(np.asarray(smooth.convert("L"), dtype=np.uint16) * 257)
    return smooth.convert(mode)


def mutated(sound: list[tuple[str, bytes]], count: int, random: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files, each with a name that says what was done to it."""
    for number in range(count):
        name, data = sound[number % len(sound)]
        damage = DAMAGES[(number // len(sound)) % len(DAMAGES)]
        yield f"{name} {damage.__name__.strip('_')} #{number}", damage(bytearray(data), sound, random)


def _cut(data: bytearray, _: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    return bytes(data[: int(random.integers(0, len(data)))])


def _bits_flipped(data: bytearray, _: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    for place in random.integers(0, len(data), size=int(random.integers(1, 40))):
        data[place] ^= 1 << int(random.integers(8))
    return bytes(data)


def _header_flipped(data: bytearray, _: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    for place in random.integers(0, min(64, len(data)), size=3):
        data[place] = int(random.integers(256))
    return bytes(data)


def _overwritten(data: bytearray, _: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    start, length = int(random.integers(0, len(data))), int(random.integers(1, 200))
    data[start : start + length] = random.bytes(length)
    return bytes(data)


def _header_swapped(data: bytearray, sound: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    _, other = sound[int(random.integers(len(sound)))]
    length = int(random.integers(4, 40))
    return other[:length] + bytes(data[length:])


def _spliced(data: bytearray, sound: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    _, other = sound[int(random.integers(len(sound)))]
    place = int(random.integers(0, len(data)))
    return bytes(data[:place]) + other + bytes(data[place:])


def _sizes_raised(data: bytearray, _: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    """Large numbers where a header keeps lengths and sizes."""
    for place in random.integers(0, max(1, min(120, len(data) - 4)), size=2):
        data[place : place + 4] = struct.pack(">I", int(random.choice([0, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 65500])))
    return bytes(data)


def _bomb(_data: bytearray, _sound: list[tuple[str, bytes]], random: np.random.Generator) -> bytes:
    """A PNG of up to 400 megapixels that is a few hundred kilobytes at most; one in eight stays below the limit."""
    side = 8000 if random.integers(8) == 0 else 20_000
    depth, color = (1, 0) if side == 20_000 else (8, 2)
    row = bytes(1 + (side * depth * (3 if color == 2 else 1) + 7) // 8)
    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(row) for _ in range(side if side == 8000 else 500)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, depth, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _archived(data: bytearray, _sound: list[tuple[str, bytes]], _random: np.random.Generator) -> bytes:
    """An archive in the place of an image."""
    import zipfile

    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("nested.jpg", bytes(data))
    return buffer.getvalue()


DAMAGES = (_cut, _bits_flipped, _header_flipped, _overwritten, _header_swapped, _spliced, _sizes_raised, _cut, _bomb)
DAMAGES += (_bits_flipped, _archived, _overwritten, _sizes_raised)


def pillow_decodes(data: bytes) -> bool:
    """Whether Pillow by itself decodes the first frame to its last row."""
    try:
        with Image.open(BytesIO(data)) as image:
            image.load()
    except Exception:  # noqa: BLE001  (the reference: whatever it raises, it did not decode)
        return False
    return True


def examine(files: Iterator[tuple[str, bytes]], size: int = 64) -> Findings:
    """Decode every file and note verdict, time and whether Pillow agrees with each image that was taken."""
    findings = Findings()
    for name, data in files:
        started = time.perf_counter()
        try:
            decode_pixels(data, size)
            verdict = "ok"
        except RejectedImageError as rejection:
            verdict = rejection.verdict
        seconds = time.perf_counter() - started
        findings.verdicts[verdict] += 1
        if seconds > findings.slowest:
            findings.slowest, findings.slowest_name = seconds, name
        if verdict == "ok" and not pillow_decodes(data):
            findings.misread.append(name)
    return findings


def damaged_images(count: int) -> int:
    """Decode `count` damaged files, print verdicts, time and memory, and return the number of broken limits."""
    random = np.random.default_rng(0)
    findings = examine(mutated(sound_images(random), count, random))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    verdicts = ", ".join(f"{number} {verdict}" for verdict, number in findings.verdicts.most_common())
    print(f"{count} damaged files: {verdicts}; slowest {findings.slowest:.2f} s ({findings.slowest_name}); ", end="")
    print(f"peak memory {memory / 1e6:.0f} MB; not decoded by Pillow: {len(findings.misread)} {findings.misread[:5]}")
    return (findings.slowest > MAX_SECONDS) + (memory > MAX_BYTES) + bool(findings.misread)
