from __future__ import annotations

import gc
import platform
import subprocess
import sys
import weakref

import keras
import numpy as np
import pytest

from src.errors import ConfigError
from src.models.weights import float32
from src.training import backend


def test_reset_leaves_no_trace_of_an_earlier_run() -> None:
    def build() -> tuple[str, np.ndarray]:
        backend.reset(3, "float32")
        layer = keras.layers.Conv2D(2, 3)
        layer.build((None, 8, 8, 3))
        return layer.name, np.asarray(layer.kernel)

    first, second = build(), build()
    assert first[0] == second[0] == "conv2d"
    assert np.array_equal(first[1], second[1])


def test_auto_precision_follows_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gpus", list)
    monkeypatch.setattr(backend, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    monkeypatch.setattr(backend, "cpu_vendor", lambda: "AuthenticAMD")
    assert backend.resolve_precision("auto") == "bfloat16"
    monkeypatch.setattr(backend, "cpu_vendor", lambda: "GenuineIntel")  # at float32's rate there, but with AMX
    assert backend.resolve_precision("auto") == "float32"
    monkeypatch.setattr(backend, "cpu_flags", lambda: {"avx2", "avx512_bf16", "amx_bf16"})
    assert backend.resolve_precision("auto") == "bfloat16"
    monkeypatch.setattr(backend, "cpu_flags", lambda: {"avx2"})
    assert backend.resolve_precision("auto") == "float32"
    assert backend.resolve_precision("bfloat16") == "bfloat16"


def test_float16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "gpus", list)
    with pytest.raises(ConfigError, match=r"trainer\.precision=float16: needs a GPU"):
        backend.resolve_precision("float16")


def test_float32_context_gives_the_policy_back() -> None:
    backend.reset(0, "bfloat16")
    with float32():
        assert keras.config.dtype_policy().name == "float32"
    assert keras.config.dtype_policy().name == "mixed_bfloat16"
    backend.reset(0, "float32")


def test_starting_again_keeps_nothing_of_an_earlier_run_alive() -> None:
    class Node:
        other: Node

    first, second = Node(), Node()
    first.other, second.other = second, first
    gone = weakref.ref(first)
    del first, second  # a cycle, as a model that was trained before is
    backend.start_backend()
    gc.collect()
    assert gone() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_that_is_freed_is_used_again() -> None:
    """Unless told so, glibc gives a block of this size back to the system, and its pages are mapped anew each time."""
    script = """
import resource
import numpy as np
from src.training.backend import import_backend

import_backend()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(25_000_000, 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), faults())
"""
    first, second = map(int, subprocess.check_output([sys.executable, "-c", script], text=True).split())
    assert second < first / 10
