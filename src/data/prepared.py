"""From a data set's config to images that can be trusted: listed, decoded once, grouped, split, memory-mapped.

The pixels and their table are made once for everything that names the same images; the split is computed when they
are loaded, so that all folds and ratios share one array.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import PIL
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..config import DatasetConfig, project_path
from ..detection.faces import BLAZEFACE
from ..errors import DataError
from .auxiliary import AuxiliaryImages, auxiliary_images
from .building import build
from .duplicates import asks_for_crops, features_of, finds_crops
from .locators import READ_ERRORS, with_streamed_bytes
from .samples import AUXILIARY_LABEL, SPLITS, Limits, Sample
from .sources import Listing, list_samples, listing_signature
from .sources.synthetic import DRAWN_FOR_CUTTING
from .splits import assign_splits
from .store import LOCAL_FEATURES, DamagedStoreError, Store, disk_errors, locked, open_store, store_folder, writing

PREPARATION_VERSION = 3
"""Raise it with any change to the stored pixels, groups or columns; a test ties it to them."""

ReportProgress = Callable[[int, int], None]
_NO_OPENCV = "crops and mirror images are not looked for without OpenCV: pip install opencv-python-headless"
_UNGUARDED = (
    "a script that prepares data is run again by each process that decodes; put what it does "
    'under `if __name__ == "__main__":`'
)
_MAX_NAME_BYTES = 180
_MIN_SHOWN = 200  # images; fewer are done before a bar could be read


@dataclass(frozen=True)
class PreparedDataset:
    """Images ready to train on. Row i of `table` describes `images[i]`; those behind them belong to `auxiliary`.

    `images` is a read-only memory map, uint8 (n, size, size, 3). `table` has path, label (index into `class_names`),
    group, split ("train", "validation", "test" or "unused"), source, shipped_split, subject, weight, width, height,
    format, sha256, phash, dhash, conflict, statistics, the factors of synthetic faces, and where the source has them,
    targets. `rejected` has path, label, verdict, detail, source and sha256 of the images that are not used. `digest`
    names pixels, labels and groups.
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
        """Features by which crops of each row's image are found (`duplicates.FEATURES`), read from disk."""
        if self.features_file is None:
            return features_of(self.table)
        return pd.read_parquet(self.features_file).iloc[: len(self.table)]

    def rows(self, split: str) -> NDArray[np.int64]:
        """Return the row numbers of a split, ascending."""
        return np.flatnonzero((self.table["split"] == split).to_numpy())

    @property
    def enlargement(self) -> float:
        """Median ratio of the prepared side to the longer side of the image: above 1 where it was enlarged."""
        return float((self.images.shape[1] / self.table[["width", "height"]].max(axis=1)).median())

    def labels(self, split: str) -> NDArray[np.float32]:
        """Return the labels of a split's rows, 0.0 or 1.0."""
        return self.table["label"].to_numpy(dtype=np.float32)[self.rows(split)]

    @property
    def paths(self) -> list[str]:
        """Paths of all images of the array, those of auxiliary classes last."""
        neither = [] if self.auxiliary is None else self.auxiliary.table["path"].tolist()
        return [*self.table["path"].tolist(), *neither]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Training target of each row, 0 to 1: the column `target` where the source gives one, else the label."""
        labels = self.table["label"].astype("float32")
        return self.table.get("target", labels).fillna(labels).to_numpy(dtype=np.float32, copy=True)


def prepare(config: DatasetConfig, *, report_progress: ReportProgress | None = None) -> PreparedDataset:
    """Return the prepared data set: from the cache, or made now and kept there, while other processes wait for it.

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
                    build(partial, images.listing, config, report)
                store = open_store(folder)
    assert store is not None, folder  # noqa: S101  (it was just written)
    return _split(store, config)


@contextmanager
def _progress_bar(name: str) -> Iterator[ReportProgress]:
    """Show a bar on a terminal, nothing elsewhere."""
    columns = (TextColumn(f"preparing {name}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("", total=None, visible=False)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=total > _MIN_SHOWN)


def _opened(folder: Path, images: ListedImages, *, say_damage: bool = False) -> Store | None:
    try:
        with disk_errors(folder.parent):
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
    """Return True if every file still has the SHA-256 that it had when the store was made."""
    columns = ["source", "path", "sha256"]
    stored = pd.concat([store.table[columns], store.rejected[columns]])
    known = dict(zip(zip(stored["source"], stored["path"], strict=True), stored["sha256"], strict=True))
    limit = Limits.of(images.config).bytes + 1
    for sample in with_streamed_bytes((sample for sample in images.listing.samples if sample.locator.has_file), limit):
        try:
            found = hashlib.sha256(sample.locator.read(limit)).hexdigest()
        except READ_ERRORS:
            found = ""
        if known.get((sample.source, sample.path)) != found:
            return False
    return True


def _split(store: Store, config: DatasetConfig) -> PreparedDataset:
    table = store.table[store.table["label"] != AUXILIARY_LABEL].copy(deep=False)
    train_only = {name for name, source in config.sources.items() if source.train_only}
    outcome = assign_splits(table, config.split, config.cross_split_duplicates, train_only)
    table.insert(3, "split", pd.Series(outcome.splits, dtype="str"))
    return PreparedDataset(
        images=store.pixels,
        table=table,
        rejected=store.rejected,
        class_names=(config.negative, config.positive),
        digest=store.info.digest,
        split_digests={split: split_digest(table[table["split"] == split]) for split in SPLITS},
        name=config.name,
        ignored=store.info.ignored,
        crossing_groups=outcome.crossing_groups,
        dropped_crossing=outcome.dropped,
        features_file=store.folder / LOCAL_FEATURES,
        auxiliary=auxiliary_images(store.table, outcome.splits),
    )


def split_digest(rows: pd.DataFrame) -> str:
    """Return a name for the pixels and labels of some rows, whatever their order."""
    contents = sorted(zip(rows["pixel_digest"].tolist(), rows["label"].tolist(), strict=True))
    return hashlib.sha256(repr(contents).encode()).hexdigest()[:16]


@dataclass
class ListedImages:
    """Images of a data set's sources, listed only once they are needed."""

    config: DatasetConfig

    @cached_property
    def listing(self) -> Listing:
        """At most `limit` samples, those of auxiliary classes last."""
        listing = list_samples(self.config)
        kept = _limited(listing.samples, self.config)
        return replace(listing, samples=sorted(kept, key=lambda sample: sample.label == AUXILIARY_LABEL))

    @cached_property
    def key(self) -> str:
        """Name of everything that the stored pixels and groups depend on; no image is read for it.

        Another Pillow may decode and shrink to other pixels, so its version belongs to it; no other library makes
        pixels.
        """
        config = self.config
        face = (BLAZEFACE, DRAWN_FOR_CUTTING) if config.fit == "face" else ()
        distances = (config.near_duplicate_distance, config.dhash_distance, finds_crops(config))
        settings = (config.image_size, Limits.of(config), *distances, config.fit, *face)
        limit = (config.limit, config.split.seed if config.limit else None)
        digest = hashlib.blake2b(repr((settings, limit, PREPARATION_VERSION, PIL.__version__)).encode(), digest_size=8)
        signature = listing_signature(config)
        if signature is not None:
            digest.update(repr(signature).encode())
            return digest.hexdigest()
        for sample in self.listing.samples:
            described = (sample.source, sample.path, sample.label, sample.shipped_split, sample.subject, sample.weight)
            target = () if sample.target is None else (sample.target,)
            shares = () if sample.shares is None else (sorted(sample.shares.items()),)
            digest.update(repr((*described, sample.locator.signature, *target, *shares)).encode())
        digest.update(repr((self.listing.rejections, sorted(self.listing.ignored.items()))).encode())
        return digest.hexdigest()


def _limited(samples: list[Sample], config: DatasetConfig) -> list[Sample]:
    """Return at most half of `limit` samples of each class, and of auxiliary classes, chosen by the split's seed."""
    if config.limit is None or len(samples) <= config.limit:
        return samples
    order = np.random.default_rng(config.split.seed).permutation(len(samples))
    labels = np.array([sample.label for sample in samples])[order]
    kept = np.concatenate([order[labels == label][: config.limit // 2] for label in (0, 1, AUXILIARY_LABEL)])
    return [samples[row] for row in np.sort(kept)]


def rejected_files(rejected: pd.DataFrame, config: DatasetConfig) -> Iterator[tuple[Sample, bytes]]:
    """Yield the samples of the rows of `rejected` (columns source and path) that can be read, with their bytes.

    Raises DataError if the source is not there any more.
    """
    wanted = set(zip(rejected["source"], rejected["path"], strict=True))
    for sample in list_samples(config).samples if wanted else []:
        if (sample.source, sample.path) in wanted and sample.locator.has_file:
            try:
                data = sample.locator.read(Limits.of(config).bytes)
            except READ_ERRORS:
                continue
            yield sample, data


def copy_rejected(dataset: PreparedDataset, config: DatasetConfig, folder: Path) -> int:
    """Copy each rejected file to `folder/verdict/`, named by its path in letters, digits and dots.

    Return how many could be read. Raises DataError if `folder` cannot be written.
    """
    rejected, copied = dataset.rejected, 0
    verdicts = dict(zip(zip(rejected["source"], rejected["path"], strict=True), rejected["verdict"], strict=True))
    with disk_errors(folder, "quarantine"):
        for sample, data in rejected_files(rejected, config):
            verdict = verdicts[(sample.source, sample.path)]
            name = f"{sample.source}/{sample.path}"
            plain = re.sub(r"[^\w.-]+", "_", name).encode()[-_MAX_NAME_BYTES:].decode(errors="ignore").lstrip(".")
            target = folder / verdict / plain
            if target.exists():  # another path with the same letters
                target = target.with_name(f"{hashlib.sha256(name.encode()).hexdigest()[:8]}-{plain}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            copied += 1
    return copied
