"""Labels that are likely wrong: a page of thumbnails to look at, and a manifest to mend and train on."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..config import DatasetConfig
from ..data.locators import FileLocator, PixelTextLocator
from ..data.prepared import PreparedDataset
from ..data.samples import Limits, Sample
from ..data.sources import list_samples
from ..errors import DataError
from ..metrics.intervals import Score
from ..metrics.label_errors import LabelErrors
from ..system import printable
from .pages import render, thumbnail, write_page

PAGE, MANIFEST, IMAGES = "audit.html", "labels.csv", "images"


def auditable_samples(config: DatasetConfig) -> list[Sample]:
    """The samples of a data set, each of which is a file of its own or in an archive.

    Raises DataError for those that a manifest cannot name: synthetic faces and pixels written as text.
    """
    samples = list_samples(config).samples
    if any(not sample.locator.has_file or isinstance(sample.locator, PixelTextLocator) for sample in samples):
        raise DataError(f"dataset={config.name}: an audit takes image files, in folders, archives or manifests")
    for sample in samples:
        if isinstance(sample.locator, FileLocator) and not _is_text(sample.locator.path):
            raise DataError(f"{printable(sample.locator.path)}: a list cannot hold this name, which is no UTF-8")
    return samples


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def audit_table(dataset: PreparedDataset, probabilities: NDArray[np.float64], errors: LabelErrors) -> pd.DataFrame:
    """One row for each image with an out-of-fold probability (rows,), NaN for the others, suspects first:
    the row in the data set (`row`), path, source, given and likely class, P(given class) and whether it is a `suspect`.
    """
    table, labels = dataset.table, dataset.table["label"].to_numpy()
    known = np.flatnonzero(np.isfinite(probabilities))
    order = np.concatenate([known[errors.suspects], np.delete(known, errors.suspects)])
    given = labels[order]
    own = np.where(given == 1, probabilities[order], 1 - probabilities[order])
    names = np.array(dataset.class_names, dtype=object)
    suspect = np.arange(len(order)) < len(errors.suspects)
    return pd.DataFrame(
        {
            "row": order,
            "path": table["path"].to_numpy()[order],
            "source": table["source"].to_numpy()[order],
            "label": names[given],
            "likely": names[np.where(suspect, 1 - given, given)],
            "p_label": own.round(4),
            "suspect": suspect,
        }
    )


def write_audit_page(
    table: pd.DataFrame,
    dataset: PreparedDataset,
    errors: LabelErrors,
    agreement: Score,
    folder: Path,
    shown: int,
) -> Path:
    """Write one self-contained page with the `shown` surest suspects into `folder`; returns its path. `agreement` is
    the share of all labels that the models give too.
    """
    suspects = table[table["suspect"]].head(shown).to_dict("records")
    kinds = dict(zip(dataset.class_names, ("negative", "positive"), strict=True))
    images = [
        thumbnail(
            dataset.images[each["row"]],
            f"{each['path']}: {each['label']}, rather {each['likely']}",
            kinds[each["label"]],
        )
        for each in suspects
    ]
    captions = [f"{each['label']}: {each['p_label']:.2f}" for each in suspects]
    files = [PurePosixPath(each["path"]).name for each in suspects]
    page = folder / PAGE
    content = {"dataset": dataset, "table": table, "errors": errors, "agreement": agreement, "manifest": MANIFEST}
    write_page(page, render("label_audit.html", shown=list(zip(images, captions, files, strict=True)), **content))
    return page


def write_manifest(
    table: pd.DataFrame, dataset: PreparedDataset, samples: list[Sample], config: DatasetConfig, folder: Path
) -> str:
    """Write `labels.csv` into `folder`, one line for each image of the data set, suspects first, and return the
    folder from which its paths count. Images from archives are unpacked beside it.

    Columns: path, label, likely, p_label (P(label) out of fold, empty where unknown), suspect, split, group, weight and
    target as the data has them. Raises OSError.
    """
    located = {(sample.source, sample.path): sample for sample in samples}
    used = dataset.table[["path", "source", "label", "subject", "shipped_split", "weight"]].copy()
    chosen = [located[key] for key in zip(used["source"], used["path"], strict=True)]
    files = [sample.locator.path for sample in chosen if isinstance(sample.locator, FileLocator)]
    if len(files) == len(chosen):
        root = os.path.commonpath([os.path.dirname(file) for file in files])
        paths = [os.path.relpath(file, root) for file in files]
    else:
        root = str(folder.resolve())
        paths = [_unpacked(sample, folder, Limits.of(config).bytes) for sample in chosen]
    names = np.array(dataset.class_names, dtype=object)
    lines = pd.DataFrame({"path": paths, "label": names[used["label"].to_numpy()]})
    judged = table.set_index("row")[["likely", "p_label", "suspect"]]
    lines = lines.join(judged).assign(
        split=used["shipped_split"].to_numpy(), group=used["subject"].to_numpy(), weight=used["weight"].to_numpy()
    )
    if "target" in dataset.table:
        lines["target"] = dataset.table["target"].to_numpy()
    rest = np.setdiff1d(np.arange(len(lines)), judged.index)
    lines.loc[[*judged.index, *rest]].to_csv(folder / MANIFEST, index=False)
    return root


def _unpacked(sample: Sample, folder: Path, limit: int) -> str:
    """Write an archive's image below `folder`, its path made harmless; the path from there."""
    parts = [part for part in PurePosixPath(sample.path).parts if part not in ("..", "/")]
    path = Path(IMAGES, sample.source, *parts)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(sample.locator.read(limit))
    return str(path)
