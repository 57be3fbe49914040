"""Every format, color mode and verdict, on files made here, with the pixel values that must come out."""

from __future__ import annotations

import contextlib
import multiprocessing
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, PngImagePlugin, features

from benchmarks.hostile_images import examine, mutated, sound_images
from src.data.images import DEFAULT_LIMITS, PixelBudget, decode_image, decode_pixels, open_upright
from src.data.samples import Limits, RejectedImageError
from tests.data.listing import measured_peak, needs_linux

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
    ("LA solid", lambda: encoded(Image.new("LA", (32, 32), (90, 255))), (90, 90, 90)),
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


def alpha0_bmp() -> bytes:
    """32 bits a pixel, of which programs that know no transparency leave the last 8 at zero."""
    pixels = np.full((32, 32, 4), (*TEAL[::-1], 0), np.uint8)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII4I", 124, 32, 32, 1, 32, 3, pixels.size, 0, 0, 0, 0, *masks).ljust(124, b"\0")
    return b"BM" + struct.pack("<IHHI", 138 + pixels.size, 0, 0, 138) + header + pixels.tobytes()


def test_the_colors_of_a_bmp_show_where_its_transparency_was_never_written() -> None:
    assert decode_pixels(alpha0_bmp(), 16)[8, 8].tolist() == list(TEAL)


@pytest.mark.parametrize(
    ("mode", "color", "clear", "kind", "options"),
    [
        ("LA", (9, 255), (9, 0), "PNG", {}),
        ("RGBA", (9, 9, 9, 255), (9, 9, 9, 0), "WEBP", {"lossless": True}),
        ("RGB", (9, 9, 9), TEAL, "PNG", {"transparency": TEAL}),
        ("L", 9, 7, "PNG", {"transparency": 7}),
        ("P", 9, 0, "GIF", {"transparency": 0}),
    ],
)
def test_white_shows_through_and_nothing_but_white_is_no_image(
    mode: str, color: object, clear: object, kind: str, options: dict[str, object]
) -> None:
    image = Image.new(mode, (32, 32), clear)  # type: ignore[arg-type]
    assert rejected(encoded(image, kind, **options)) == (
        "unreadable",
        "nothing shows: it is transparent, or white where it is not",
    )
    image.paste(color, (0, 0, 32, 8))  # type: ignore[arg-type]
    assert decode_pixels(encoded(image, kind, **options), 16)[12, 8].tolist() == [255, 255, 255]


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
    ("not_an_image", lambda: b"\x00"),
    ("unsupported_format", lambda: encoded(quarters(), "PPM")),
    ("unsupported_format", lambda: encoded(quarters(), "ICO")),
    ("unsupported_format", lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>"),
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


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100), "HEIC, which is not read: save it as JPEG"),
        (b"\x00\x00\x00\x18ftypisom" + bytes(100), "a video, or an image of its format"),
        (b"PK\x03\x04" + bytes(40), "an archive: unpack it"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_to_do(data: bytes, line: str) -> None:
    assert rejected(data)[1].startswith(line)


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


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_a_progressive_jpeg_of_endless_scans_is_rejected(kind: str) -> None:
    more = {"save_all": True, "append_images": [Image.new("L", (8, 8))]} if kind == "MPO" else {}
    data = encoded(Image.new("L", (6000, 6000), 128), kind, progressive=True, quality=30, **more)
    end = data.index(b"\xff\xd9", data.index(b"\xff\xda"))
    scan = data[data.rindex(b"\xff\xda", 0, end) : end]
    assert rejected(data[:end] + scan * 60 + data[end:])[0] == "too_large"


def tiled_tiff(tile: int, side: int = 64) -> bytes:
    """An image of `side` by `side` gray pixels in the corner of one tile."""
    packed = zlib.compress(bytes(tile * tile), 9)
    short, long, place = 3, 4, 8 + 2 + 12 * 10 + 4
    values = [(256, long, side), (257, long, side), (258, short, 8), (259, short, 8), (262, short, 1), (277, short, 1)]
    values += [(322, long, tile), (323, long, tile), (324, long, place), (325, long, len(packed))]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in values)
    return b"II*\0" + struct.pack("<IH", 8, len(values)) + tags + bytes(4) + packed


def avif_of_another_size(side: int) -> bytes:
    def header(length: int) -> bytes:
        return b"ispe" + struct.pack(">III", 0, length, length)

    return encoded(Image.new("RGB", (side, side), TEAL), "AVIF", speed=10).replace(header(side), header(64))


def packed_notes() -> bytes:
    notes = PngImagePlugin.PngInfo()
    for number in range(60):
        notes.add_text(f"note {number}", "x" * 1_000_000, zip=True)
    return encoded(quarters(), "PNG", pnginfo=notes)


def scene(mode: str = "RGB", side: int = 2000) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert(mode)


COSTLY: dict[str, Callable[[], bytes]] = {
    "progressive JPEG": lambda: encoded(scene(), "JPEG", progressive=True, subsampling=0, quality=30),
    "progressive CMYK": lambda: encoded(scene("CMYK"), "JPEG", progressive=True, subsampling=0, quality=30),
    "lossless WebP": lambda: encoded(scene("RGBA"), "WEBP", lossless=True, quality=0, method=0),
    "transparent PNG": lambda: encoded(scene("LA"), "PNG"),
    "float TIFF": lambda: encoded(scene("F"), "TIFF", compression="tiff_deflate"),
    "tile of 36 megapixels": lambda: tiled_tiff(6000),
    "tile of 100 megapixels": lambda: tiled_tiff(10_000),
    "AVIF of 16 megapixels that says 64 pixels": lambda: avif_of_another_size(4000),
    "60 MB of packed notes": packed_notes,
}


@needs_linux
@pytest.mark.parametrize("name", COSTLY)
def test_no_decoder_takes_more_memory_than_the_budget_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[float] = []

    class Counting(PixelBudget):
        def hold(self, megapixels: float) -> AbstractContextManager[None]:
            counted.append(megapixels)
            return super().hold(megapixels)

    monkeypatch.setattr("src.data.images.DECODING", Counting(32))
    data = COSTLY[name]()
    for decode in (lambda: decode_image(data, 32), lambda: open_upright(data, DEFAULT_LIMITS)):
        counted[:] = [0]
        with measured_peak() as peak, contextlib.suppress(RejectedImageError):
            decode()
        assert peak[0] < 30 * max(counted) + 12


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
