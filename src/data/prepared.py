"""From a data set's config to pictures that can be trusted: listed, decoded once, grouped, split, memory-mapped.

The pixels and their table are made once for everything that names the same pictures; the split is computed when they
are loaded, so that all folds and ratios share one array.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..config import DatasetConfig, project_path
from ..detection.detectors import BLAZEFACE
from ..errors import DataError
from .auxiliary import AuxiliaryPictures, auxiliary_pictures
from .building import build
from .locators import READ_ERRORS, with_streamed_bytes
from .long_columns import BLOCK, memory_given_back
from .lookalikes import asks_for_crops, features_of, finds_crops
from .packed_samples import PackedSamples
from .samples import NEITHER, SPLITS, Fit, Limits, Sample
from .sources import Listing, list_samples, listing_signature
from .sources.synthetic import DRAWN_FOR_CUTTING
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
PREPARATION_VERSION = 2
"""Raise it with any change to the stored pixels, groups or columns; a test ties it to them."""

_NO_OPENCV = "crops and mirror images are not looked for without OpenCV: pip install opencv-python-headless"
_DIGESTED = ["pixel_digest", "label"]
_UNGUARDED = (
    "a script that prepares data is run again by each process that decodes; put what it does "
    'under `if __name__ == "__main__":`'
)
_MIN_SHOWN = 200  # pictures; fewer are done before a bar could be read


@dataclass(frozen=True)
class PreparedDataset:
    """Pictures ready to train on. Row i of `table` describes `images[i]`; those behind them belong to `auxiliary`.

    `images` is a read-only memory map, uint8 (n, size, size, 3). `table` has path, label (index into `class_names`),
    group, split ("train", "validation", "test" or "unused"), source, shipped_split, subject, weight, width, height,
    format, sha256, phash, dhash, conflict, statistics, the factors of synthetic faces, and where the source has them,
    targets. `rejected` has path, label,
    verdict, detail, source and sha256 of the pictures that are not used. `digest` names pixels, labels and groups.
    """

    images: NDArray[np.uint8]
    table: pd.DataFrame
    rejected: pd.DataFrame
    class_names: tuple[str, str]
    digest: str
    split_digests: dict[str, str]
    name: str
    ignored: Mapping[str, int] = field(default_factory=dict)
    """Folders or labels that are neither class, with the number of their pictures."""
    crossing_groups: int = 0
    """Groups of near-duplicates of which the source ships pictures in several of its splits."""
    dropped_crossing: int = 0
    """Pictures that are not used because of that."""
    features_file: Path | None = None
    auxiliary: AuxiliaryPictures | None = None

    @property
    def features(self) -> pd.DataFrame:
        """What finds the crops of each row's picture (`lookalikes.FEATURES`), read from disk; empty where unknown."""
        if self.features_file is None:
            return features_of(self.table)
        return pd.read_parquet(self.features_file).iloc[: len(self.table)]

    def rows(self, split: str) -> NDArray[np.int64]:
        """The row numbers of a split, ascending."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    @property
    def enlargement(self) -> float:
        """By how much at least half of the pictures were enlarged: the prepared side over their longer one."""
        return float((self.images.shape[1] / self.table[["width", "height"]].max(axis=1)).median())

    def labels(self, split: str) -> NDArray[np.float32]:
        """The labels of a split's rows, 0.0 or 1.0."""
        return self.table["label"].to_numpy(dtype=np.float32)[self.rows(split)]

    def outline(self) -> PreparedDataset:
        """The same without pictures, and of its table the labels and splits alone: small enough for another process."""
        images = np.zeros((0, *self.images.shape[1:]), np.uint8)
        return replace(self, images=images, table=self.table[["label", "split"]], rejected=self.rejected[:0])

    @property
    def targets(self) -> NDArray[np.float32]:
        """What each row is trained towards, 0 to 1: the column `target` where the source gives one, else the label."""
        labels = self.table["label"].astype("float32")
        return self.table.get("target", labels).fillna(labels).to_numpy(dtype=np.float32, copy=True)


@memory_given_back()
def prepare(config: DatasetConfig, *, report_progress: ReportProgress | None = None) -> PreparedDataset:
    """The prepared data set: from the cache, or made now and kept there, while other processes that want it wait.

    `report_progress(done, total)` counts pictures; without it a terminal shows a bar. The user's files are only read.
    Raises DataError.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DataError(_UNGUARDED)  # else it would wait for the lock of the process that waits for it
    pictures = _Pictures(config)
    folder = store_folder(project_path(config.cache), config.name, _key(pictures))
    store = _opened(folder, pictures)
    if store is None:
        with locked(folder):
            store = _opened(folder, pictures, say_damage=True)  # another process may have made it meanwhile
            if store is None:
                if asks_for_crops(config) and not finds_crops(config):
                    Console(stderr=True).print(_NO_OPENCV, style="yellow", soft_wrap=True)
                shown = _progress_bar(config.name) if report_progress is None else nullcontext(report_progress)
                with writing(folder) as partial, shown as report:
                    build(partial, pictures.samples, pictures.listing, config, report)
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


@dataclass
class _Pictures:
    """A data set's samples, listed only once they are needed; then packed, those of neither class last."""

    config: DatasetConfig

    @property
    def samples(self) -> PackedSamples:
        return self._listed[0]

    @property
    def listing(self) -> Listing:
        """What the sources said besides the samples."""
        return self._listed[1]

    @cached_property
    def _listed(self) -> tuple[PackedSamples, Listing]:
        listing = list_samples(self.config)
        kept = sorted(_limited(listing.samples, self.config), key=lambda sample: sample.label == NEITHER)
        return PackedSamples(kept), replace(listing, samples=[])


def _limited(samples: list[Sample], config: DatasetConfig) -> list[Sample]:
    """At most `limit` samples, as many of each class as there are up to half of it, chosen by the split's seed; of
    neither class half of it at most.
    """
    if config.limit is None or len(samples) <= config.limit:
        return samples
    order = np.random.default_rng(config.split.seed).permutation(len(samples))
    labels = np.array([sample.label for sample in samples])[order]
    kept = np.concatenate([order[labels == label][: config.limit // 2] for label in (0, 1, NEITHER)])
    return [samples[row] for row in np.sort(kept)]


def _key(pictures: _Pictures) -> str:
    """A name for everything that the stored pixels and groups depend on; no picture is read for it.

    Another Pillow may decode and shrink to other pixels, so its version belongs to it; no other library makes pixels.
    """
    config = pictures.config
    distances = (config.near_duplicate_distance, config.dhash_distance, finds_crops(config))
    settings = (config.image_size, Limits.of(config), *distances, *_fit_key(config.fit))
    limit = (config.limit, config.split.seed if config.limit else None)
    digest = hashlib.blake2b(repr((settings, limit, PREPARATION_VERSION, PIL.__version__)).encode(), digest_size=8)
    signature = listing_signature(config)
    if signature is not None:
        digest.update(repr(signature).encode())
        return digest.hexdigest()
    for sample in pictures.samples:
        described = (sample.source, sample.path, sample.label, sample.shipped_split, sample.subject, sample.weight)
        target = () if sample.target is None else (sample.target,)
        shares = () if sample.shares is None else (sorted(sample.shares.items()),)
        digest.update(repr((*described, sample.locator.signature, *target, *shares)).encode())
    digest.update(repr((pictures.listing.rejections, sorted(pictures.listing.ignored.items()))).encode())
    return digest.hexdigest()


def _fit_key(fit: Fit) -> tuple[object, ...]:
    if fit == "face":
        return (fit, BLAZEFACE, DRAWN_FOR_CUTTING)
    return () if fit == "stretch" else (fit,)


def _opened(folder: Path, pictures: _Pictures, *, say_damage: bool = False) -> Store | None:
    try:
        with readable_disk_errors(folder.parent):
            store = open_store(folder, full=pictures.config.verify == "full")
    except DamagedStoreError as damage:
        if say_damage:
            line = f"warning: {folder}: {damage}; the pictures are prepared anew"
            Console(stderr=True).print(line, style="yellow", soft_wrap=True, highlight=False, markup=False)
        return None
    if store is not None and pictures.config.verify == "full" and not _same_content(store, pictures):
        return None
    return store


def _same_content(store: Store, pictures: _Pictures) -> bool:
    """Whether every file still has the SHA-256 that it had when the store was made."""
    columns = ["source", "path", "sha256"]
    stored = pd.concat([store.table[columns], store.rejected[columns]])
    known = dict(zip(zip(stored["source"], stored["path"], strict=True), stored["sha256"], strict=True))
    limit = Limits.of(pictures.config).bytes + 1
    for sample in with_streamed_bytes((sample for sample in pictures.samples if sample.locator.has_file), limit):
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
        auxiliary=auxiliary_pictures(store.table, outcome.splits),
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
