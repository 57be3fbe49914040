"""Nothing of a bundle is used before it is checked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.config import PROJECT_ROOT, ExportConfig, TrackingConfig
from src.conversion.export import export
from src.conversion.exporting import check_place, install
from src.conversion.opening import open_model
from src.errors import BundleError
from src.metrics.calibration import apply_temperature
from src.runtime.bundle import MANIFEST, Bundle, open_bundle
from src.runtime.photos import open_predictor
from src.runtime.predictor import ImageFile


@pytest.fixture
def changed(bundle: Bundle, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """A copy of the bundle with other values in its manifest."""

    def change(values: dict[str, Any]) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(bundle.folder, folder)
        stored = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps(stored | values))
        return folder

    return change


def test_a_bundle_holds_the_recorded_decision_and_scores(bundle: Bundle, record: Path) -> None:
    decision = json.loads((record / "decision.json").read_text())
    assert (bundle.threshold, bundle.temperature) == (decision["threshold"], decision["temperature"])
    value, low, high = bundle.scores["test"]["accuracy"]
    assert low <= value <= high
    assert bundle.class_names == ("sad", "happy")
    assert "## Formats" in bundle.card()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"schema": 99}, "schema 99"),
        ({"preparation": "bgr"}, "prepared in another way"),
        ({"class_names": ["sad", "../../etc"]}, "class_names"),
        ({"threshold": float("nan")}, "threshold"),
        ({"abstain": [0.7, 0.3]}, "abstain"),
        ({"formats": ["pickle"]}, "formats"),
        ({"formats": ["int8"]}, "other files"),
        ({"files": {"../model.tflite": "0"}}, "other files"),
    ],
)
def test_a_manifest_that_does_not_fit_is_rejected(
    changed: Callable[[dict[str, Any]], Path], values: dict[str, Any], said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        open_bundle(changed(values))


def test_a_changed_model_file_is_rejected(changed: Callable[[dict[str, Any]], Path]) -> None:
    folder = changed({})
    file = folder / "model.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=r"model\.tflite: missing or changed"):
        open_bundle(folder)


def test_a_bundle_calibrates_as_evaluation_does(bundle: Bundle) -> None:
    probabilities = np.array([0.0, 1e-9, 0.2, 0.5, 0.97, 1.0])
    warm = replace(bundle, temperature=1.7)
    np.testing.assert_allclose(warm.calibrated(probabilities), apply_temperature(probabilities, 1.7), rtol=1e-9)


def test_inside_the_band_the_label_is_unsure(bundle: Bundle) -> None:
    careful = replace(bundle, threshold=0.5, abstain=(0.4, 0.6))
    assert [careful.label(probability) for probability in (0.39, 0.5, 0.61)] == ["sad", "unsure", "happy"]


def test_a_format_past_its_tolerance_fails_the_export_and_writes_nothing(record: Path, tmp_path: Path) -> None:
    strict = ExportConfig(
        TrackingConfig("off"), str(record), str(tmp_path / "never"), formats=["int8"], int8_tolerance=1e-12
    )
    with pytest.raises(BundleError, match="format int8: the mean difference"):
        export(strict)
    assert not (tmp_path / "never").exists()


def test_an_export_never_replaces_other_files(record: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="holds other files"):
        export(ExportConfig(TrackingConfig("off"), str(record), str(tmp_path), formats=["keras"]))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(BundleError, match=r"thesis\.txt: is a file"):
        check_place(tmp_path / "thesis.txt", overwrite=True)


def test_a_bundle_appears_in_its_place_as_a_whole(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "models" / "mine"
    install(bundle, place)
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match=r"holds other files than a bundle \(thesis\.txt\)"):
        check_place(place, overwrite=True)
    (place / "thesis.txt").unlink()
    check_place(place, overwrite=True)
    copies = iter([shutil.copyfile])
    monkeypatch.setattr(shutil, "copyfile", lambda *files: next(copies)(*files))  # fails at the second
    with pytest.raises(StopIteration):
        install(bundle, place)
    monkeypatch.undo()
    rename = Path.rename

    def fail_at_the_last(path: Path, target: Path) -> Path:
        if path.suffix == ".part":
            raise OSError
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_at_the_last)
    with pytest.raises(OSError):  # noqa: PT011
        install(bundle, place)
    monkeypatch.undo()
    assert open_bundle(place).model_id.endswith(bundle.model_id.rpartition("@")[2])
    assert [path.name for path in place.parent.iterdir()] == ["mine"]
    install(bundle, place)
    assert [path.name for path in place.parent.iterdir()] == ["mine"]


def test_the_shipped_model_is_small_whole_and_says_how_it_was_made() -> None:
    shipped = open_model()
    assert sum(file.stat().st_size for file in shipped.folder.iterdir()) < 3_000_000
    assert "python -m src.train experiment=" in shipped.card()
    assert "Not for" in shipped.card()
    assert "Validation was looked at" in shipped.card()
    answer = next(open_predictor(shipped).answers([ImageFile(str(PROJECT_ROOT / "docs" / "faces.jpg"))]))
    assert answer.label in shipped.class_names
    assert answer.evidence.endswith(" faces")
