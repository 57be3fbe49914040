"""The one way an image becomes pixels, shared by training, evaluation, prediction and serving.

The format is decided by a file's content, never by its name. Every limit is checked before anything is decoded, and an
image that cannot be decoded to its last row is rejected with a verdict and one line, never guessed.
"""

from __future__ import annotations

import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError, features

from ..detection.faces import Detector, create_detector, is_face_crop
from .samples import DecodedImage, FitMode, Limits, RejectedImageError, Verdict

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""The formats that are read, by Pillow's names. Of an animation only the first frame is."""

_FOREIGN_SIGNATURES = {
    **dict.fromkeys((b"\xff\x0a", b"\x00\x00\x00\x0cJXL "), "JPEG XL"),
    **dict.fromkeys((b"<svg", b"<?xml"), "SVG"),
    **dict.fromkeys((b"8BPS", b"FUJIFILM", b"AT&TFORM", b"qoif", b"P7\n"), "another image format"),
}
"""Beginnings of image formats that Pillow does not know."""

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh", b"\xfd7zXZ")
DECODE_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, struct.error, zlib.error),
    *(Image.DecompressionBombError, UnidentifiedImageError),
)
"""Errors of Pillow's plugins on broken files, found in their source or by the mutation tests."""

BACKGROUND = (255, 255, 255)
"""Shows through transparent pixels: white, as on a page."""

MAX_SIDE = 1600
"""Longest side in pixels of an image that is shown, or in which faces are detected."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_RESAMPLING = Image.Resampling.BILINEAR  # antialiased by Pillow when it shrinks
_GRAY_RANGES = (1, 255, 65535, 2**32 - 1)
_SCANNED_MEGAPIXELS = 1500  # libjpeg walks the whole image once for every scan of a progressive JPEG
_COEFFICIENTS = 0.3  # of which it keeps up to 8 bytes a pixel at full size, of the 30 that are reckoned
PngImagePlugin.MAX_TEXT_MEMORY = 8 << 20  # of packed notes; held while the image is open, outside of any budget
# Pillow warns from 89 megapixels on, where our own limit stands already, and of metadata that no pixel depends on.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")


DEFAULT_LIMITS = Limits()
_NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


class PixelBudget:
    """Megapixels in flight, of the threads of this process or, after `share_with`, of several processes.

    Whoever is past it waits, in the order of coming.
    """

    def __init__(self, megapixels: int) -> None:
        self._size = megapixels
        self._turn: Any = threading.Lock()
        self._free: Any = threading.Semaphore(megapixels)

    def shared(self, context: Any) -> tuple[Any, Any]:
        """Return what the processes that `context` (of `multiprocessing`) starts need for `share_with`."""
        return context.Lock(), context.Semaphore(self._size)

    def share_with(self, others: tuple[Any, Any]) -> None:
        """Count with other processes from now on; nothing may be held."""
        self._turn, self._free = others

    @contextmanager
    def hold(self, megapixels: float) -> Iterator[None]:
        """Take a share, waiting for it; one that is larger than the whole budget is given alone. Not to be nested."""
        units = math.ceil(min(self._size, megapixels))
        with self._turn:  # one at a time, else two that wait for the rest of their share could wait for each other
            for _ in range(units):
                self._free.acquire()
        try:
            yield
        finally:
            for _ in range(units):
                self._free.release()


DECODING = PixelBudget(32)
"""Shared by service, page, prediction and preparation; a decoder takes up to 30 bytes for each pixel of a WebP."""


def decode_pixels(
    data: bytes, size: int, limits: Limits = DEFAULT_LIMITS, fit: FitMode = "stretch"
) -> NDArray[np.uint8]:
    """Return the image in `data` as RGB, brought to `size` by `size` pixels: uint8 (size, size, 3).

    EXIF orientation is applied, transparency laid over white, 16 bits rescaled to 8. Raises RejectedImageError.
    """
    return decode_image(data, size, limits, fit).pixels


def decode_image(data: bytes, size: int, limits: Limits = DEFAULT_LIMITS, fit: FitMode = "stretch") -> DecodedImage:
    """Do the same, and return the image's own size, format and mode too. Raises RejectedImageError."""
    side = MAX_SIDE if fit == "face" else 2 * size
    with _decoding(data, side, limits) as (image, header):
        pixels, turned = np.asarray(prepare_image(image, size, fit)), _orientation(image) >= 5
        return replace(header, pixels=pixels, turned=turned)


@contextmanager
def _decoding(data: bytes, side: int, limits: Limits) -> Iterator[tuple[Image.Image, DecodedImage]]:
    """Give the image in `data`, decoded at `side` pixels or more where its format can do that, and what its header
    says. Raises RejectedImageError, also for what Pillow raises inside.
    """
    if not data:
        raise RejectedImageError("zero_bytes", "the file is empty")
    if len(data) > limits.bytes:
        raise RejectedImageError("too_large", f"more than {limits.megabytes:g} megabytes")
    with _open(data) as image:
        held = _check_size(image, data, limits)
        header = DecodedImage(_NO_PIXELS, *image.size, str(image.format), image.mode)
        try:
            image.draft(None, (side, side))  # JPEG: decode at 1/2, 1/4 or 1/8 where that is enough
            with DECODING.hold(held + image.width * image.height / 1e6):
                image.load()
                yield image, header
        except DECODE_ERRORS as error:
            raise RejectedImageError(broken_verdict(data, error), one_line(error)) from None


def prepare_image(image: Image.Image, size: int, fit: FitMode = "stretch") -> Image.Image:
    """Return an opened image as RGB, upright, brought to `size` by `size`: stretched, its middle, all of it between
    bars of `BACKGROUND`, or its largest face. Raises what Pillow raises, and RejectedImageError where no face is found.
    """
    if fit == "face":
        return prepare_image(_largest_face(upright_image(image), size), size)
    turn = _UPRIGHT.get(_orientation(image))
    width, height = image.size
    shape = (size, size)
    if fit == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    elif fit == "pad":
        longer = max(width, height)
        shape = (max(1, round(size * width / longer)), max(1, round(size * height / longer)))
    if image.mode[0] in "IF":
        small = _eight_bits(image, shape)
    else:
        plain = image if image.mode == "L" and not image.has_transparency_data else _over_background(image)
        small = plain.resize(shape, _RESAMPLING, reducing_gap=3.0).convert("RGB")
    if shape != (size, size):
        square = Image.new("RGB", (size, size), BACKGROUND)
        square.paste(small, ((size - shape[0]) // 2, (size - shape[1]) // 2))
        small = square
    # The result is square, so turning after shrinking is the same and costs nothing.
    return small if turn is None else small.transpose(turn)


def _largest_face(upright: Image.Image, size: int) -> Image.Image:
    """Return the largest face of an upright image, cut out as a prediction cuts it out; all of one that is a face."""
    if is_face_crop(upright, size):
        return upright
    detector = _detector()
    faces = detector.faces(upright)
    if not faces:
        raise RejectedImageError("no_face", "no face was found in it")
    return detector.crop(upright, max(faces, key=lambda box: box.side))


@cache
def _detector() -> Detector:
    return create_detector()


def open_upright(data: bytes, limits: Limits) -> Image.Image:
    """Return the whole image as RGB, at most `MAX_SIDE` long. Raises RejectedImageError."""
    with _decoding(data, MAX_SIDE, limits) as (image, _):
        return upright_image(image)


def upright_image(image: Image.Image) -> Image.Image:
    """Return an opened image as RGB, upright, in its own shape, at most `MAX_SIDE` long. Raises what Pillow raises."""
    image.load()  # which turns a TIFF by its tag, and removes the tag
    if image.mode[0] in "IF":
        scale = min(1.0, MAX_SIDE / max(image.size))  # before its pixels become numbers of 8 bytes
        plain = _eight_bits(image, (max(1, round(scale * image.width)), max(1, round(scale * image.height))))
    else:
        plain = _over_background(image)
    turn = _UPRIGHT.get(_orientation(image))
    upright = plain.copy() if turn is None else plain.transpose(turn)
    upright.info = {}  # else a part of it would be turned once more
    upright.thumbnail((MAX_SIDE, MAX_SIDE))
    return upright


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; 1 where it is corrupt."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODE_ERRORS:
        return 1


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise RejectedImageError("too_large", one_line(error)) from None
    except DECODE_ERRORS as error:
        verdict, detail = unopened(data)
        raise RejectedImageError(verdict, one_line(error, detail)) from None


def _check_size(image: Image.Image, data: bytes, limits: Limits) -> float:
    """Return the megapixels that the decoder holds beside the image, whatever its header says of its size."""
    width, height = image.size
    megapixels = width * height / 1e6
    tile = _tile_megapixels(image)
    if max(megapixels, tile) > limits.megapixels:
        raise RejectedImageError("too_large", f"{width}x{height}, {max(megapixels, tile):.0f} megapixels")
    if min(width, height) < limits.min_side:
        raise RejectedImageError("too_small", f"{width}x{height}, a side is under {limits.min_side} pixels")
    scans = data.count(b"\xff\xda") if data.startswith(b"\xff\xd8") else 1
    if megapixels * scans > _SCANNED_MEGAPIXELS:
        raise RejectedImageError("too_large", f"{width}x{height} in {scans} scans")
    if image.format == "AVIF":
        return math.inf  # its frames may be larger than its header says, up to the 268 megapixels of libavif: alone
    return tile + (_COEFFICIENTS * megapixels if scans > 1 else 0)


def _tile_megapixels(image: Image.Image) -> float:
    """Return the size of a tile of a TIFF, which is decoded whole however little of it the image is."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 0.0
    sides = [image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)]
    return math.prod(side for side in sides if isinstance(side, int)) / 1e6


def _over_background(image: Image.Image) -> Image.Image:
    """Return RGB, with transparent pixels laid over the background. Raises RejectedImageError if nothing shows."""
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    colors = image.convert("RGBA")
    alpha = colors.getchannel("A")
    if image.format == "BMP" and alpha.getextrema() == (0, 0):
        return colors.convert("RGB")  # programs that know no transparency leave these bytes at 0
    flat = Image.new("RGB", image.size, BACKGROUND)
    flat.paste(colors, mask=alpha)
    if flat.getextrema() == tuple((level, level) for level in BACKGROUND):
        raise RejectedImageError("unreadable", "nothing shows: it is transparent, or white where it is not")
    return flat


def _eight_bits(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image of 16 or 32 bits a pixel, resized to (width, height) and then rescaled, never clipped.

    Sixteen-bit pixels use their whole range; integers of 32 bits and floats the smallest usual range that holds them.
    """
    _, high = cast("tuple[float, float]", image.getextrema())
    top = 65535 if image.mode.startswith("I;16") else next((top for top in _GRAY_RANGES if high <= top), high)
    values = np.asarray(image.resize(size, _RESAMPLING), dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are no finite numbers")
    gray = np.rint(np.clip(values / top, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(gray).convert("RGB")


def broken_verdict(data: bytes, error: BaseException) -> Verdict:
    """Return the verdict on an image with a readable header that could not be decoded."""
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return "too_large"
    text = str(error).lower()
    if "conversion from" in text or "not supported" in text or "unsupported" in text or "unknown" in text:
        return "unsupported_format"
    return "truncated" if "truncated" in text or "end of file" in text or _ends_early(data) else "unreadable"


def unopened(data: bytes) -> tuple[Verdict, str]:
    """Return the verdict on what Pillow cannot open, another format, a broken image of ours, or no image; and why."""
    Image.init()
    prefix = data[:16].ljust(16, b"\0")  # some signature tests read beyond a shorter one
    known = [name for name, (_, accepts) in Image.OPEN.items() if accepts and accepts(prefix) is True]
    if set(known) & set(FORMATS):
        verdict: Verdict = "truncated" if _ends_early(data) else "unreadable"
        return verdict, "the file ends too early" if verdict == "truncated" else "its header cannot be understood"
    start = data.lstrip()[:256]
    name = next((name for signature, name in _FOREIGN_SIGNATURES.items() if start.startswith(signature)), "")
    if name == "SVG" and b"<svg" not in data[:1024]:
        name = ""
    if prefix[4:8] == b"ftyp":
        name = "HEIC" if prefix[8:12] in _HEIC_BRANDS else "a video, or an image of its format"
    if known or name:
        return "unsupported_format", f"{name or known[0]}, which is not read: save it as JPEG or PNG"
    archive = "an archive: unpack it" if prefix.startswith(_ARCHIVES) else "no image format found"
    return "not_an_image", archive


def _ends_early(data: bytes) -> bool:
    """Return True if a file stops before the end that its format announces."""
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-64:]
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"GIF8"):
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if data.startswith(b"RIFF"):
        return len(data) < 8 or len(data) < 8 + int.from_bytes(data[4:8], "little")
    if data.startswith(b"BM"):
        return len(data) < int.from_bytes(data[2:6], "little")
    return len(data) < 16


def one_line(error: BaseException, otherwise: str = "") -> str:
    """Return an error's message in at most 200 characters; `otherwise` where it has none."""
    text = "" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return (text or otherwise or type(error).__name__)[:200]
