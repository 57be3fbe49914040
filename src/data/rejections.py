"""Why a file cannot be read as an image, said in one verdict and one line."""

from __future__ import annotations

import struct
import zlib

from PIL import Image, UnidentifiedImageError, features

from .samples import Verdict

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(["AVIF"] if features.check("avif") else []))
"""The formats that are read, by Pillow's names. Of an animation only the first frame is."""

# Signatures of image formats that Pillow does not know: HEIF, JPEG XL, SVG, Photoshop's large files, camera raws.
_FOREIGN_SIGNATURES = (
    b"\xff\x0a",
    b"\x00\x00\x00\x0cJXL ",
    b"<svg",
    b"8BPS",
    b"FUJIFILM",
    b"AT&TFORM",
    b"qoif",
    b"P7\n",
)

UNOPENED: dict[Verdict, str] = {
    "not_an_image": "no image format found",
    "unsupported_format": f"a format other than {', '.join(FORMATS)}",
    "truncated": "the file ends too early",
    "unreadable": "its header cannot be understood",
}
DECODE_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError),
    *(OverflowError, ZeroDivisionError, MemoryError, NotImplementedError, struct.error, zlib.error),
    *(Image.DecompressionBombError, UnidentifiedImageError),
)
"""What Pillow's plugins raise on broken files: each is found in their source or by the mutation tests."""


def broken_verdict(data: bytes, error: BaseException) -> Verdict:
    """Why an image whose header was read could not be decoded."""
    if isinstance(error, MemoryError | Image.DecompressionBombError):
        return "too_large"
    text = str(error).lower()
    if "conversion from" in text or "not supported" in text or "unsupported" in text or "unknown" in text:
        return "unsupported_format"
    return "truncated" if "truncated" in text or "end of file" in text or _ends_early(data) else "unreadable"


def unopened_verdict(data: bytes) -> Verdict:
    """Why no plugin opened it: another image format, a broken image of one of ours, or no image at all."""
    Image.init()
    prefix = data[:16].ljust(16, b"\0")  # some signature tests read beyond a shorter one
    known = {name for name, (_, accepts) in Image.OPEN.items() if accepts and accepts(prefix) is True}
    if known & set(FORMATS):
        return "truncated" if _ends_early(data) else "unreadable"
    foreign = data.lstrip()[:256].startswith(_FOREIGN_SIGNATURES) or prefix[4:8] == b"ftyp"
    svg = data.lstrip()[:5] == b"<?xml" and b"<svg" in data[:1024]
    return "unsupported_format" if known or foreign or svg else "not_an_image"


def _ends_early(data: bytes) -> bool:
    """Whether a file stops before the end that its format announces."""
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
    """What an error says, at most 200 characters; `otherwise` where it says nothing."""
    text = "" if isinstance(error, UnidentifiedImageError) else " ".join(str(error).split())
    return (text or otherwise or type(error).__name__)[:200]
