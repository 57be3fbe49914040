"""A sample of the damaged files of `python -m benchmarks.hostile_images`, which measures their time too."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.hostile_images import examine, mutated, sound_images

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's remarks on broken metadata


def test_damaged_files_never_crash_or_pass_for_sound() -> None:
    random = np.random.default_rng(1)
    findings = examine(mutated(sound_images(random), 600, random), size=32)
    assert sum(findings.verdicts.values()) == 600
    assert findings.misread == []
    assert {"ok", "truncated", "unreadable", "too_large", "not_an_image"} <= set(findings.verdicts)


def test_sound_files_are_all_taken() -> None:
    sound = sound_images(np.random.default_rng(2))
    assert examine(iter(sound)).verdicts == {"ok": len(sound)}
