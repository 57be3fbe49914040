"""Send hostile uploads to the service: `python -m benchmarks.hostile_uploads --count 1000`.

Damaged, swapped and swollen images as bodies and in forms, forms that are cut or hold names with line breaks, lengths
that lie, long headers. Prints how the answers fall and the service's memory. Exits with 1 if the service fails (a
status of 500 or more, a traceback), stops, or has grown by more than 32 MB after the first half of the uploads.
"""

from __future__ import annotations

import argparse
import re
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.hostile_images import mutated, sound_images
from benchmarks.serving import serving

MOST_GROWTH = 32e6
"""The models' buffers for the most faces yet may come late: 17 MB at once were seen, and no more than 144 MB in all."""
GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""The C library may keep up to 64 MB of a large image for the next one; without that, what grows is a leak."""
BOUNDARY = "between"
PATIENCE_SECONDS = {"false length": 0.3}
"""How long an answer is waited for, by kind; 30 seconds for the rest."""


@dataclass
class Findings:
    """Answers by kind of upload and status; the service's memory in bytes after each quarter; tracebacks in its log."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    tracebacks: int = 0

    @property
    def failed(self) -> bool:
        """Whether the service failed at an upload, or its memory grew after the first half of the uploads."""
        worst = max(status for _, status in self.statuses)
        return worst >= 500 or self.tracebacks > 0 or self.memory[-1] - self.memory[1] > MOST_GROWTH


def body(data: bytes, _: np.random.Generator) -> bytes:
    """A damaged image by itself."""
    return _request({"Content-Length": str(len(data))}, data)


def form(data: bytes, sampler: np.random.Generator) -> bytes:
    """A damaged image among others in a form."""
    return _form([(f"file{number}.png", data) for number in range(int(sampler.integers(1, 4)))])


def cut_form(data: bytes, sampler: np.random.Generator) -> bytes:
    """A form that ends before its last boundary."""
    whole = _parts([("a.png", data)])
    return _form_request(whole[: int(sampler.integers(1, len(whole)))])


def wrong_names(data: bytes, sampler: np.random.Generator) -> bytes:
    """File names with line breaks, quotes, paths, zero bytes, and 60 kB of them."""
    names = ("a\r\nSet-Cookie: x=1", 'a"; filename="b', "../../etc/passwd", "a\0b", "x" * 60_000, "\udcff\ud800")
    return _form([(str(sampler.choice(np.array(names, dtype=object))), data)])


def many_parts(_: bytes, sampler: np.random.Generator) -> bytes:
    """Thousands of tiny files."""
    return _form([(f"{number}", b"x") for number in range(int(sampler.integers(33, 3000)))])


def false_length(data: bytes, sampler: np.random.Generator) -> bytes:
    """A length that is no number, negative, past the limit, or more than what comes."""
    lengths = ("-1", "abc", "999999999999", str(len(data) + 1000), "1e3", "")
    return _request({"Content-Length": str(sampler.choice(lengths))}, data[:1000])


def long_headers(data: bytes, sampler: np.random.Generator) -> bytes:
    """Headers of up to a megabyte."""
    padding = "y" * int(sampler.integers(1_000, 1_000_000))
    return _request({"X-Padding": padding, "Content-Length": str(len(data))}, data)


def wrong_type(data: bytes, sampler: np.random.Generator) -> bytes:
    """A body under a content type that it does not have."""
    kinds = ("multipart/form-data", "multipart/form-data; boundary=", "application/json", "text/html; charset=\xff")
    return _request({"Content-Type": str(sampler.choice(kinds)), "Content-Length": str(len(data))}, data)


UPLOADS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (body, form, cut_form, wrong_names, many_parts)
UPLOADS += (body, false_length, long_headers, wrong_type)


def _request(headers: dict[str, str], data: bytes) -> bytes:
    lines = [
        "POST /v1/predict HTTP/1.1",
        "Host: localhost",
        "Connection: close",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def _form(files: list[tuple[str, bytes]]) -> bytes:
    return _form_request(_parts(files) + f"--{BOUNDARY}--\r\n".encode())


def _form_request(data: bytes) -> bytes:
    return _request(
        {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(data))}, data
    )


def _parts(files: list[tuple[str, bytes]]) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="'.encode()
    return b"".join(head + name.encode(errors="surrogatepass") + b'"\r\n\r\n' + data + b"\r\n" for name, data in files)


def send(port: int, request: bytes, patience: float) -> int:
    """The answer's status; 0 where none comes, as to a request that never ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        with suppress(OSError):  # rejected midway; the answer may have come already
            connection.sendall(request)
        connection.settimeout(patience)
        with suppress(ConnectionResetError, TimeoutError):
            if found := re.match(rb"HTTP/1.1 (\d{3})", connection.recv(4096)):
                return int(found[1])
    return 0


def requests(count: int, sampler: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """`count` hostile requests, each with the name of its kind."""
    for number, (_, data) in enumerate(mutated(sound_images(sampler), count, sampler)):
        make = UPLOADS[number % len(UPLOADS)]
        yield make.__name__.replace("_", " "), make(data, sampler)


def attack(count: int, seed: int = 0) -> Findings:
    """Start a service and send it `count` uploads one after another. Raises httpx.HTTPError if it stops."""
    findings = Findings()
    with tempfile.TemporaryFile("w+") as log, serving("--no-page", log=log, **GIVEN_BACK) as server:
        process = psutil.Process(server.process.pid)
        for number, (kind, request) in enumerate(requests(count, np.random.default_rng(seed)), 1):
            findings.statuses[kind, send(server.port, request, PATIENCE_SECONDS.get(kind, 30))] += 1
            if number % (count // 4) == 0:
                httpx.get(f"{server.url}/healthz").raise_for_status()
                findings.memory.append(process.memory_info().rss)
        log.seek(0)
        findings.tracebacks = log.read().count("Traceback")
    return findings


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    findings = attack(arguments.count, arguments.seed)
    table = Table("upload", "status", "answers", title=f"{arguments.count} hostile uploads")
    for (kind, status), times in sorted(findings.statuses.items()):
        table.add_row(kind, str(status or "none"), str(times))
    console = Console()
    console.print(table)
    memory = ", ".join(f"{used / 1e6:.0f}" for used in findings.memory)
    console.print(f"the service's memory after each quarter: {memory} MB; tracebacks: {findings.tracebacks}")
    return int(findings.failed)


if __name__ == "__main__":
    sys.exit(main())
