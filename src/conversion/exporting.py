"""From a recorded model to a checked bundle: its formats, their comparison with Keras, and the card."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from ..config import ExportConfig
from ..data.prepared import PreparedDataset
from ..data.tables import read_parquet
from ..errors import BundleError, TrackingError
from ..evaluation.artifacts import PREDICTIONS
from ..evaluation.recorded import RecordedModel
from ..metrics.intervals import proportion
from ..metrics.scores import score
from ..models.predictions import predict_rows, predictor
from ..reports.pages import markdown_table
from ..runtime.bundle import CARD, MANIFEST, MODEL_FILES, Bundle, create_bundle, finite_scores, write_manifest
from ..runtime.runners import create_runner
from ..system import progress, quiet_stderr
from ..tracking.read import artifact
from .parity import Parity, compare_outputs, measure, table_rows

RECORDED_CARD = "model_card.md"
CALIBRATION_IMAGES = 200


def build_bundle(
    recorded: RecordedModel, dataset: PreparedDataset, config: ExportConfig, folder: Path, name: str
) -> tuple[Bundle, list[Parity]]:
    """Write the bundle `name` to `folder`. Raises BundleError for a format past its tolerance."""
    model = recorded.load()
    calibration = _calibration_images(dataset)
    for model_format in progress(config.formats, "writing formats"):
        write_model(model, model_format, folder, calibration)
    (folder / CARD).write_text("", encoding="utf-8")
    draft = write_manifest(_describe(recorded, dataset, config, folder, name))
    rows, labels = dataset.rows("validation"), dataset.labels("validation")
    reference = predict_rows(predictor(model), dataset, rows)
    parities = [
        _compare(draft, model_format, dataset, rows, labels, reference)
        for model_format in progress(draft.formats, "comparing formats")
    ]
    for parity in parities:
        parity.check(config.tolerance, config.int8_tolerance)
    recorded_card = _recorded_file(recorded, RECORDED_CARD).read_text()
    (folder / CARD).write_text(_card(recorded_card, _by_source(recorded, dataset), parities), encoding="utf-8")
    return write_manifest(replace(draft, formats=_preferred(parities))), parities


def check_place(folder: Path, *, overwrite: bool) -> None:
    """Raise BundleError where `folder` holds a bundle already, unless that may be replaced, or other files."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BundleError(f"output={folder}: is a file; name a folder")
    names = {entry.name for entry in folder.iterdir()}
    other = sorted(names - {MANIFEST, *_files_of(folder)})
    if other:
        raise BundleError(f"output={folder}: holds other files than a bundle ({other[0]}); name another folder")
    if MANIFEST in names and not overwrite:
        raise BundleError(f"output={folder}: holds a model already; name another folder, or overwrite=true replaces it")


def _files_of(folder: Path) -> list[str]:
    """List the files that the manifest in `folder`, of whatever version, names; none without a manifest."""
    try:
        return list(json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def install(bundle: Bundle, folder: Path) -> Bundle:
    """Move a finished bundle to `folder`, in place of the bundle there, if any; it appears there as a whole."""
    aside = f".{folder.name}.{uuid.uuid4().hex}"
    partial, before = folder.with_name(f"{aside}.part"), folder.with_name(f"{aside}.old")
    partial.mkdir(parents=True)  # not copied as a whole: a temporary folder may be read by its owner only
    try:
        for name in (MANIFEST, *bundle.files):
            shutil.copyfile(bundle.folder / name, partial / name)
        if folder.exists():
            folder.rename(before)
        partial.rename(folder)
    except BaseException:
        if before.exists() and not folder.exists():
            before.rename(folder)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(before, ignore_errors=True)
    return replace(bundle, folder=folder)


def _describe(
    recorded: RecordedModel, dataset: PreparedDataset, config: ExportConfig, folder: Path, name: str
) -> Bundle:
    predictions = read_parquet(_recorded_file(recorded, PREDICTIONS))
    decision = recorded.decision
    scores = {
        str(split): score(part["label"], part["probability"], part["group"], threshold=decision.threshold)
        for split, part in predictions.groupby("split")
    }
    return create_bundle(
        folder,
        name=name,
        class_names=dataset.class_names,
        image_size=recorded.config.dataset.image_size,
        fit=recorded.config.dataset.fit,
        threshold=decision.threshold,
        temperature=decision.temperature,
        abstain=decision.abstain,
        dataset_digest=dataset.digest,
        scores=finite_scores(scores),
        run_id=recorded.run.id if recorded.run else None,
        formats=tuple(config.formats),
        files={},
    )


def _recorded_file(recorded: RecordedModel, name: str) -> Path:
    path = artifact(recorded.run, name) if recorded.run else recorded.file.parent / name
    if path is None or not path.exists():
        raise TrackingError(f"run={recorded.name}: cannot be exported, it lacks {name}")
    return path


def _calibration_images(dataset: PreparedDataset) -> NDArray:
    """Training images, evenly spaced: never those that the formats are compared on."""
    rows = dataset.rows("train")
    chosen = np.linspace(0, len(rows) - 1, min(CALIBRATION_IMAGES, len(rows))).round().astype(int)
    return dataset.images[rows[chosen]]


def _compare(
    bundle: Bundle, model_format: str, dataset: PreparedDataset, rows: NDArray, labels: NDArray, reference: NDArray
) -> Parity:
    if model_format == "keras":
        return compare_outputs(bundle, model_format, reference, reference, labels, None)
    found = predict_rows(create_runner(bundle, model_format), dataset, rows)
    cost = measure(bundle.model_file(model_format), model_format, bundle.image_size)
    return compare_outputs(bundle, model_format, reference, found, labels, cost)


def _preferred(parities: Sequence[Parity]) -> tuple[str, ...]:
    """Formats in the order in which to use them: the float one that is fastest in batches, the others, int8, Keras."""

    def place(parity: Parity) -> tuple[bool, bool, float]:
        cost = parity.cost
        return cost is None, parity.model_format == "int8", cost.median(32) if cost else 0.0

    return tuple(parity.model_format for parity in sorted(parities, key=place))


def _card(recorded_card: str, by_source: str, parities: Sequence[Parity]) -> str:
    """The run's card with what an export adds, and without what a bundle does not hold: figures, and where the record
    was kept.
    """
    text = "\n".join(line for line in recorded_card.splitlines() if not line.startswith("!["))
    text = re.sub(r" (output|tracking\.\w+|dataset\.cache)=\S+", "", text)
    header = ("", *(parity.model_format for parity in parities))
    table = markdown_table(header, table_rows(parities))
    return f"{text}\n{by_source}\n## Formats\n\nAgainst Keras on {parities[0].images:,} validation images.\n\n{table}"


def _by_source(recorded: RecordedModel, dataset: PreparedDataset) -> str:
    """Accuracy for each of several sources, as a section of the card."""
    sources = dataset.table.drop_duplicates("sha256").set_index("sha256")["source"]
    if sources.nunique() < 2:
        return ""
    predictions = read_parquet(_recorded_file(recorded, PREDICTIONS))
    named = predictions.assign(
        source=predictions["sha256"].map(sources), right=predictions["predicted"] == predictions["label"]
    )
    rows = [
        (str(split), str(source), f"{len(part):,}", str(proportion(part["right"], part["group"])))
        for (split, source), part in named.groupby(["split", "source"])
    ]
    return f"\n## By source\n\n{markdown_table(('split', 'source', 'images', 'accuracy'), rows)}"


def write_model(model: keras.Model, model_format: str, folder: Path, calibration: NDArray[np.uint8]) -> Path:
    """Write `model` to `folder` in one format and return the file.

    `calibration`, training images uint8 (n, size, size, 3), tell int8 the range of every activation. Raises
    BundleError where a needed package is not installed.
    """
    file = folder / MODEL_FILES[model_format]
    try:
        with _quiet():
            _WRITERS[model_format](model, file, calibration)
    except ImportError as error:
        raise BundleError(f"formats={model_format}: {error}; pip install '.[export]' in the checkout") from None
    return file


def _write_keras(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    model.save(file)


def _write_litert(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    file.write_bytes(_converter(model).convert())


def _write_int8(model: keras.Model, file: Path, calibration: NDArray[np.uint8]) -> None:
    """Full integer weights and activations, one scale for each channel of a kernel (Jacob et al. 2018); images go in
    and probabilities come out as floats, so that both LiteRT files are used in one way.
    """
    import tensorflow as tf

    def images() -> Iterator[list[NDArray[np.float32]]]:
        for image in calibration:
            yield [image[None].astype(np.float32)]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = images
    file.write_bytes(converter.convert())


def _write_onnx(model: keras.Model, file: Path, _: NDArray[np.uint8]) -> None:
    model.export(str(file), format="onnx", verbose=False)


def _converter(model: keras.Model):  # type: ignore[no-untyped-def] # tf.lite.TFLiteConverter, whose import is late
    import tensorflow as tf

    return tf.lite.TFLiteConverter.from_keras_model(model)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the converters' notices, which come from Python and, on stderr, from C++."""
    with quiet_stderr(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_WRITERS: dict[str, Callable[[keras.Model, Path, NDArray[np.uint8]], None]] = {
    "keras": _write_keras,
    "litert": _write_litert,
    "int8": _write_int8,
    "onnx": _write_onnx,
}
