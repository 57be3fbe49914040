"""Every format, color mode and verdict, on files made here, with the pixel values that must come out."""

from __future__ import annotations

import multiprocessing
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from benchmarks.hostile_images import examine, mutated, sound_images
from src.data.images import DEFAULT_LIMITS, PixelBudget, decode_image, decode_pixels, open_upright
from src.data.samples import Limits, RejectedImageError

TEAL = (20, 140, 120)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def quarters(size: int = 64) -> Image.Image:
    """Red, green, blue and white quarters: every turn and flip of it is different."""
    image, half = Image.new("RGB", (size, size), "white"), size // 2
    for box, color in (((0, 0), "red"), ((half, 0), (0, 255, 0)), ((0, half), "blue")):
        image.paste(color, (*box, box[0] + half, box[1] + half))
    return image


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_banner_is_stretched_cropped_or_padded(mode: str, orientation: int) -> None:
    """Black, white and black thirds of a banner, seen along the line through all three."""
    values = np.repeat(np.array([0, 255, 0], np.uint8), 40)[None].repeat(40, axis=0)
    image = Image.fromarray(values.astype(np.uint16) * 257 if mode == "I;16" else values)
    data = encoded(image if mode == "I;16" else image.convert(mode), "TIFF", exif={0x0112: orientation})

    def line(fit: str) -> list[int]:
        pixels = decode_pixels(data, 24, fit=fit)
        assert pixels.shape == (24, 24, 3)
        middle = pixels[:, 12, 0] if orientation == 6 else pixels[12, :, 0]
        across = pixels[12, :, 0] if orientation == 6 else pixels[:, 12, 0]
        return [int(value) for value in (*middle[[2, 12, 21]], across[1])]

    assert line("stretch") == [0, 255, 0, 255]
    assert line("crop") == [255, 255, 255, 255]
    assert line("pad") == [0, 255, 0, 255]
    corner = decode_pixels(data, 24, fit="pad")[1, 1]
    assert corner.tolist() == [255, 255, 255]


def corners(pixels: np.ndarray) -> list[str]:
    """The colors of the four quarters, row by row."""
    near, far = len(pixels) // 4, 3 * len(pixels) // 4
    names = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}
    places = (near, near), (near, far), (far, near), (far, far)
    return [names[tuple(round(value / 255) * 255 for value in pixels[place])] for place in places]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_every_format_gives_the_same_image(kind: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    image = decode_image(encoded(quarters(), kind), 32)
    assert (image.format, image.width, image.height) == (kind, 64, 64)
    assert (image.pixels.shape, image.pixels.dtype) == ((32, 32, 3), np.uint8)
    assert corners(image.pixels) == ["red", "green", "blue", "white"]


def alpha_ramp(mode: str) -> Image.Image:
    image = Image.new("RGBA", (32, 32), (0, 0, 200, 255))
    image.putalpha(128)
    return image.convert(mode)


COLOR_MODES: list[tuple[str, Callable[[], bytes], tuple[int, int, int]]] = [
    ("L", lambda: encoded(Image.new("L", (32, 32), 77)), (77, 77, 77)),
    ("1", lambda: encoded(Image.new("1", (32, 32), 1)), (255, 255, 255)),
    ("P", lambda: encoded(Image.new("RGB", (32, 32), TEAL).convert("P", palette=Image.Palette.ADAPTIVE)), TEAL),
    ("CMYK JPEG", lambda: encoded(Image.new("CMYK", (32, 32), (255, 0, 0, 0)), "JPEG"), (0, 255, 255)),
    ("CMYK TIFF", lambda: encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "TIFF"), (255, 0, 0)),
    ("RGBA half", lambda: encoded(alpha_ramp("RGBA")), (127, 127, 227)),
    ("LA clear", lambda: encoded(Image.new("LA", (32, 32), (0, 0))), (255, 255, 255)),
    ("LA solid", lambda: encoded(Image.new("LA", (32, 32), (90, 255))), (90, 90, 90)),
    ("RGB color key", lambda: encoded(Image.new("RGB", (32, 32), TEAL), transparency=TEAL), (255, 255, 255)),
    ("gray key", lambda: encoded(Image.new("L", (32, 32), 9), transparency=9), (255, 255, 255)),
    ("palette key", lambda: encoded(Image.new("P", (32, 32), 0), transparency=0), (255, 255, 255)),
    ("WebP clear", lambda: encoded(Image.new("RGBA", (32, 32), (9, 9, 9, 0)), "WEBP", lossless=True), (255,) * 3),
    ("16-bit PNG", lambda: encoded(Image.fromarray(np.full((32, 32), 0x8000, np.uint16))), (128, 128, 128)),
    ("16-bit TIFF", lambda: encoded(Image.fromarray(np.full((32, 32), 0x4000, np.uint16)), "TIFF"), (64, 64, 64)),
    ("32-bit TIFF", lambda: encoded(Image.fromarray(np.full((32, 32), 30000, np.int32)), "TIFF"), (117, 117, 117)),
    ("float to 1", lambda: encoded(Image.fromarray(np.full((32, 32), 0.5, np.float32)), "TIFF"), (128, 128, 128)),
    ("float to 255", lambda: encoded(Image.fromarray(np.full((32, 32), 200, np.float32)), "TIFF"), (200, 200, 200)),
]


@pytest.mark.parametrize(
    ("make", "expected"), [case[1:] for case in COLOR_MODES], ids=[case[0] for case in COLOR_MODES]
)
def test_color_mode_becomes_the_right_rgb(make: Callable[[], bytes], expected: tuple[int, int, int]) -> None:
    pixels = decode_pixels(make(), 16)
    np.testing.assert_allclose(pixels, np.broadcast_to(expected, pixels.shape), atol=3)


def test_sixteen_bit_color_is_rescaled() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0x8080, 0x4040, 0xFFFF) * 16 for _ in range(16))
    pixels = decode_pixels(png(16, 16, 16, 2, rows), 16)
    assert tuple(pixels[8, 8]) == (0x80, 0x40, 0xFF)


# Where each orientation puts the corners of an image that was stored as red, green, blue, white.
ORIENTED = {
    1: ["red", "green", "blue", "white"],
    2: ["green", "red", "white", "blue"],
    3: ["white", "blue", "green", "red"],
    4: ["blue", "white", "red", "green"],
    5: ["red", "blue", "green", "white"],
    6: ["blue", "red", "white", "green"],
    7: ["white", "green", "blue", "red"],
    8: ["green", "white", "red", "blue"],
}


@pytest.mark.parametrize("orientation", ORIENTED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once_wherever_an_image_is_opened(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(quarters(), kind, exif=exif)
    assert corners(decode_pixels(data, 32)) == ORIENTED[orientation]
    assert corners(np.asarray(open_upright(data, DEFAULT_LIMITS))) == ORIENTED[orientation]


def test_a_broken_exif_block_costs_nothing() -> None:
    data = encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert corners(decode_pixels(data, 32))[0] == "red"


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_counts(kind: str) -> None:
    frames = [Image.new("RGB", (32, 32), color) for color in ((255, 0, 0), (0, 0, 255))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(decode_pixels(data, 8)[4, 4], (255, 0, 0), atol=4)


def test_a_large_jpeg_is_decoded_small_and_stays_true() -> None:
    photo = Image.radial_gradient("L").resize((1600, 1200)).convert("RGB")
    data = encoded(photo, "JPEG", quality=95)
    expected = np.asarray(photo.resize((64, 64), Image.Resampling.BILINEAR), dtype=int)
    assert np.abs(decode_pixels(data, 64).astype(int) - expected).mean() < 1.5


def rejected(data: bytes, limits: Limits = DEFAULT_LIMITS) -> tuple[str, str]:
    with pytest.raises(RejectedImageError) as caught:
        decode_pixels(data, 32, limits)
    return caught.value.verdict, caught.value.detail


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def garbled() -> bytes:
    data = bytearray(encoded(quarters(200)))
    start = data.index(b"IDAT") + 20
    data[start : start + 40] = bytes(40)
    return bytes(data)


REJECTED: list[tuple[str, Callable[[], bytes]]] = [
    ("zero_bytes", lambda: b""),
    ("not_an_image", lambda: b"hello, this is text"),
    ("not_an_image", lambda: b"PK\x03\x04" + bytes(40)),
    ("not_an_image", lambda: b"\x00"),
    ("unsupported_format", lambda: encoded(quarters(), "PPM")),
    ("unsupported_format", lambda: encoded(quarters(), "ICO")),
    ("unsupported_format", lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
    ("unsupported_format", lambda: b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)),
    ("unreadable", garbled),
    ("unreadable", lambda: encoded(Image.fromarray(np.full((32, 32), np.nan, np.float32)), "TIFF")),
    ("unreadable", lambda: encoded(Image.fromarray(np.full((32, 32), np.inf, np.float32)), "TIFF")),
    ("too_small", lambda: encoded(Image.new("RGB", (7, 90), TEAL))),
    ("too_large", lambda: png(9_000, 9_000, 1, 0, b"")),  # a bomb: only its header is read
    ("too_large", lambda: png(20_000, 20_000, 1, 0, b"")),
]


@pytest.mark.parametrize(("verdict", "make"), REJECTED)
def test_what_cannot_be_used_is_rejected_with_its_verdict(verdict: str, make: Callable[[], bytes]) -> None:
    assert rejected(make())[0] == verdict


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_cut_files_are_truncated(kind: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    assert rejected(data[: int(kept * len(data))])[0] == "truncated"


def test_the_limits_can_be_moved() -> None:
    assert rejected(bytes(2001), Limits(megabytes=0.002))[0] == "too_large"
    data = encoded(quarters(64))
    assert decode_pixels(data, 8, Limits(megapixels=0.005)).shape == (8, 8, 3)
    assert rejected(data, Limits(megapixels=0.004)) == ("too_large", "64x64, 0 megapixels")


def test_a_progressive_jpeg_of_endless_scans_is_rejected() -> None:
    data = encoded(Image.new("L", (6000, 6000), 128), "JPEG", progressive=True, quality=30)
    scan = data[data.rindex(b"\xff\xda") : -2]
    assert rejected(data[:-2] + scan * 60 + b"\xff\xd9")[0] == "too_large"


def test_thin_lines_do_not_alias() -> None:
    stripes = Image.new("L", (512, 512), 0)
    draw = ImageDraw.Draw(stripes)
    for column in range(0, 512, 2):
        draw.line([(column, 0), (column, 511)], fill=255)
    pixels = decode_pixels(encoded(stripes), 32)
    assert np.abs(pixels.astype(int) - 127).max() <= 3


def test_no_more_than_the_budget_is_held_and_nothing_starves() -> None:
    budget, lock = PixelBudget(10), threading.Lock()
    held, most = [], []

    def decode(megapixels: float) -> float:
        with budget.hold(megapixels):
            with lock:
                held.append(megapixels)
                most.append(sum(held))
                alone = len(held) == 1
            assert alone or megapixels <= 10
            time.sleep(0.002)
            with lock:
                held.remove(megapixels)
        return megapixels

    sizes = [1, 4, 7, 25, 10] * 12
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(decode, sizes)) == sizes
    assert max(total for total in most if total != 25) <= 10
    assert 25 in most


def _held_in_a_process(shares: tuple[object, object], log: Path) -> None:
    budget = PixelBudget(10)
    budget.share_with(shares)
    for _ in range(20):
        with budget.hold(6), log.open("a") as file:
            file.write("+")
            file.flush()
            time.sleep(0.001)
            file.write("-")


def test_processes_that_prepare_share_one_budget(tmp_path: Path) -> None:
    context, log = multiprocessing.get_context("fork"), tmp_path / "log"
    shares = PixelBudget(10).shared(context)
    processes = [context.Process(target=_held_in_a_process, args=(shares, log)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert log.read_text() == "+-" * 40


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on broken metadata
def test_damaged_files_never_crash_or_pass_for_sound() -> None:
    """A sample of `python -m benchmarks fuzz damaged_images`, which measures their time too."""
    random = np.random.default_rng(1)
    sound = sound_images(random)
    assert examine(iter(sound)).verdicts == {"ok": len(sound)}
    findings = examine(mutated(sound, 300, random), size=32)
    assert sum(findings.verdicts.values()) == 300
    assert findings.misread == []
    assert {"ok", "truncated", "unreadable", "not_an_image"} <= set(findings.verdicts)
