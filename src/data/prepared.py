"""From a data set's config to images that can be trusted: listed, decoded once, grouped, split, memory-mapped.

The pixels and their table are made once for everything that names the same images; the split is computed when they
are loaded, so that all folds and ratios share one array.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..config import DatasetConfig, project_path
from ..errors import DataError
from .auxiliary import AuxiliaryImages, auxiliary_images
from .building import build
from .listed_images import ListedImages
from .locators import READ_ERRORS, with_streamed_bytes
from .long_columns import BLOCK, memory_given_back
from .lookalikes import asks_for_crops, features_of, finds_crops
from .samples import NEITHER, SPLITS, Limits
from .splits import assign_splits
from .store import (
    LOCAL_FEATURES,
    DamagedStoreError,
    Store,
    locked,
    open_store,
    readable_disk_errors,
    store_folder,
    writing,
)

ReportProgress = Callable[[int, int], None]
_NO_OPENCV = "crops and mirror images are not looked for without OpenCV: pip install opencv-python-headless"
_DIGESTED = ["pixel_digest", "label"]
_UNGUARDED = (
    "a script that prepares data is run again by each process that decodes; put what it does "
    'under `if __name__ == "__main__":`'
)
_MIN_SHOWN = 200  # images; fewer are done before a bar could be read


@dataclass(frozen=True)
class PreparedDataset:
    """Images ready to train on. Row i of `table` describes `images[i]`; those behind them belong to `auxiliary`.

    `images` is a read-only memory map, uint8 (n, size, size, 3). `table` has path, label (index into `class_names`),
    group, split ("train", "validation", "test" or "unused"), source, shipped_split, subject, weight, width, height,
    format, sha256, phash, dhash, conflict, statistics, the factors of synthetic faces, and where the source has them,
    targets. `rejected` has path, label,
    verdict, detail, source and sha256 of the images that are not used. `digest` names pixels, labels and groups.
    """

    images: NDArray[np.uint8]
    table: pd.DataFrame
    rejected: pd.DataFrame
    class_names: tuple[str, str]
    digest: str
    split_digests: dict[str, str]
    name: str
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Folders or labels that are neither class, with the number of their images."""
    crossing_groups: int = 0
    """Groups of near-duplicates of which the source ships images in several of its splits."""
    dropped_crossing: int = 0
    """Images that are not used because of that."""
    features_file: Path | None = None
    auxiliary: AuxiliaryImages | None = None

    @property
    def features(self) -> pd.DataFrame:
        """What finds the crops of each row's image (`lookalikes.FEATURES`), read from disk; empty where unknown."""
        if self.features_file is None:
            return features_of(self.table)
        return pd.read_parquet(self.features_file).iloc[: len(self.table)]

    def rows(self, split: str) -> NDArray[np.int64]:
        """The row numbers of a split, ascending."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    @property
    def enlargement(self) -> float:
        """By how much at least half of the images were enlarged: the prepared side over their longer one."""
        return float((self.images.shape[1] / self.table[["width", "height"]].max(axis=1)).median())

    def labels(self, split: str) -> NDArray[np.float32]:
        """The labels of a split's rows, 0.0 or 1.0."""
        return self.table["label"].to_numpy(dtype=np.float32)[self.rows(split)]

    @property
    def paths(self) -> list[str]:
        """The paths of all images of the array, those of neither class behind the rows."""
        neither = [] if self.auxiliary is None else self.auxiliary.table["path"].tolist()
        return [*self.table["path"].tolist(), *neither]

    @property
    def targets(self) -> NDArray[np.float32]:
        """What each row is trained towards, 0 to 1: the column `target` where the source gives one, else the label."""
        labels = self.table["label"].astype("float32")
        return self.table.get("target", labels).fillna(labels).to_numpy(dtype=np.float32, copy=True)


@memory_given_back()
def prepare(config: DatasetConfig, *, report_progress: ReportProgress | None = None) -> PreparedDataset:
    """The prepared data set: from the cache, or made now and kept there, while other processes that want it wait.

    `report_progress(done, total)` counts images; without it a terminal shows a bar. The user's files are only read.
    Raises DataError.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DataError(_UNGUARDED)  # else it would wait for the lock of the process that waits for it
    images = ListedImages(config)
    folder = store_folder(project_path(config.cache), config.name, images.key)
    store = _opened(folder, images)
    if store is None:
        with locked(folder):
            store = _opened(folder, images, say_damage=True)  # another process may have made it meanwhile
            if store is None:
                if asks_for_crops(config) and not finds_crops(config):
                    Console(stderr=True).print(_NO_OPENCV, style="yellow", soft_wrap=True)
                shown = _progress_bar(config.name) if report_progress is None else nullcontext(report_progress)
                with writing(folder) as partial, shown as report:
                    build(partial, images.samples, images.listing, config, report)
                pa.default_memory_pool().release_unused()  # before the table is read back
                store = open_store(folder)
    assert store is not None, folder  # noqa: S101  (it was just written)
    return _split(store, config)


@contextmanager
def _progress_bar(name: str) -> Iterator[ReportProgress]:
    """A bar on a terminal, silence everywhere else."""
    columns = (TextColumn(f"preparing {name}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=total > _MIN_SHOWN)


def _opened(folder: Path, images: ListedImages, *, say_damage: bool = False) -> Store | None:
    try:
        with readable_disk_errors(folder.parent):
            store = open_store(folder, full=images.config.verify == "full")
    except DamagedStoreError as damage:
        if say_damage:
            line = f"warning: {folder}: {damage}; the images are prepared anew"
            Console(stderr=True).print(line, style="yellow", soft_wrap=True, highlight=False, markup=False)
        return None
    if store is not None and images.config.verify == "full" and not _same_content(store, images):
        return None
    return store


def _same_content(store: Store, images: ListedImages) -> bool:
    """Whether every file still has the SHA-256 that it had when the store was made."""
    columns = ["source", "path", "sha256"]
    stored = pd.concat([store.table[columns], store.rejected[columns]])
    known = dict(zip(zip(stored["source"], stored["path"], strict=True), stored["sha256"], strict=True))
    limit = Limits.of(images.config).bytes + 1
    for sample in with_streamed_bytes((sample for sample in images.samples if sample.locator.has_file), limit):
        try:
            found = hashlib.sha256(sample.locator.read(limit)).hexdigest()
        except READ_ERRORS:
            found = ""
        if known.get((sample.source, sample.path)) != found:
            return False
    return True


def _split(store: Store, config: DatasetConfig) -> PreparedDataset:
    table = store.table[store.table["label"] != NEITHER].copy(deep=False)
    train_only = {name for name, source in config.sources.items() if source.train_only}
    outcome = assign_splits(table, config.split, config.cross_split_duplicates, train_only)
    table.insert(3, "split", pd.Series(outcome.splits, dtype="str"))
    return PreparedDataset(
        images=store.pixels,
        table=table,
        rejected=store.rejected,
        class_names=(config.negative, config.positive),
        digest=store.info.digest,
        split_digests={split: split_digest(table.loc[table["split"] == split, _DIGESTED]) for split in SPLITS},
        name=config.name,
        ignored=store.info.ignored,
        crossing_groups=outcome.crossing_groups,
        dropped_crossing=outcome.dropped,
        features_file=store.folder / LOCAL_FEATURES,
        auxiliary=auxiliary_images(store.table, outcome.splits),
    )


def split_digest(rows: pd.DataFrame) -> str:
    """A name for the pixels and labels of some rows, whatever their order: that of the Python list of their pairs."""
    contents = rows[_DIGESTED].sort_values(_DIGESTED)
    digest = hashlib.sha256(b"[")
    for start in range(0, len(contents), BLOCK):
        part = contents.iloc[start : start + BLOCK]
        pairs = repr(list(zip(part["pixel_digest"], part["label"], strict=True)))[1:-1]
        digest.update(((", " if start else "") + pairs).encode())
    digest.update(b"]")
    return digest.hexdigest()[:16]
