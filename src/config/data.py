"""The data set of a run: where images come from, how they are prepared and assigned to the splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, Le

from .base import ENVIRONMENT, Count, Fraction, PositiveNumber, Seed, Strict, WholeNumber, reject_password, with_role


@dataclass(frozen=True)
class SplitConfig(Strict):
    """Assignment of whole groups to training, validation and test; `fold` is kfold's alone. `seed` is apart from the
    run's seed on purpose: runs that differ in their seed are evaluated on the same images.
    """

    method: Literal["stratified", "kfold", "source", "column", "hashed"] = "stratified"
    train: Fraction = 0.70
    validation: Fraction = 0.15
    test: Fraction = 0.15
    folds: Annotated[int, Interval(ge=2, le=100)] = 5
    fold: WholeNumber = 0
    seed: Seed = 0

    def __post_init__(self) -> None:
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            raise ValueError("split: train, validation and test must add up to 1")
        if not 0 < self.validation < 1 or not 0 < self.test < 1 or not self.train:
            raise ValueError("split: train, validation and test must each be above 0")
        if self.fold >= self.folds:
            raise ValueError(
                f"split.fold={self.fold}: accepts 0 to {self.folds - 1}, one for each of the {self.folds} folds"
            )
        if self.fold and self.method != "kfold":
            raise ValueError(f"split.fold={self.fold}: split.method={self.method} has no folds; kfold has")


@dataclass(frozen=True)
class SyntheticConfig(Strict):
    """Synthetic faces: how many, from which seed, how alike the two classes are (0 apart, 1 the same)."""

    count: Annotated[int, Interval(ge=2, le=10_000_000)] = 1200
    seed: Seed = 0
    ambiguity: Fraction = 0.0


@dataclass(frozen=True)
class ManifestConfig(Strict):
    """The columns of a CSV or Parquet manifest; only the first two must be there. `root`, seen from the manifest, is
    the folder from which its paths count and which they may not leave. `target` is how far an image belongs to class
    1, from 0 to 1: what its probability is trained towards.
    """

    path: str = "path"
    label: str = "label"
    split: str = "split"
    group: str = "group"
    weight: str = "weight"
    root: str = "."
    target: str = "target"


@dataclass(frozen=True)
class VotesConfig(Strict):
    """A CSV of raters' votes: its column `name` holds the file names of images; the columns `positive` and `negative`
    count the votes for either class, and all other columns of numbers those for something else. `others` are those of
    these that the auxiliary head learns as well. Of fewer than `min_count` votes for one of its classes it learns
    nothing.
    """

    path: str | None = None
    name: str = "name"
    positive: str = "happiness"
    negative: str = "sadness"
    others: list[str] = field(default_factory=list)
    min_count: Count = 1


@dataclass(frozen=True)
class SourceConfig(Strict):
    """Source of images and names of the classes. `source` is the name under which a source is registered (see
    `data.sources.register_source`), or "combined" for several. `url` is fetched once into `downloads`, checked against
    `sha256`, and stands for `path`; with `offline` it must be there already. `group_pattern` is a regular expression on
    an image's path: what its first group finds (or all of it) names the subject whose images stay together. `weight`
    is the weight of each image. `votes` turns labels into targets. `auxiliary` names further classes, whose images
    are neither: they teach features through an auxiliary head and are never evaluated. All images of one of several
    sources that is `train_only` are trained on and none is evaluated; those that are copies of evaluated ones are left
    out.
    """

    name: str
    source: str
    path: str | None = None
    url: str | None = None
    sha256: str | None = None
    downloads: str = with_role(ENVIRONMENT, default=".cache/downloads")
    offline: bool = with_role(ENVIRONMENT, default=False)
    positive: str = "happy"
    negative: str = "sad"
    group_pattern: str | None = None
    weight: PositiveNumber = 1.0
    auxiliary: list[str] = field(default_factory=list)
    train_only: bool = False
    manifest: ManifestConfig = field(default_factory=ManifestConfig)
    votes: VotesConfig = field(default_factory=VotesConfig)
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)

    def __post_init__(self) -> None:
        reject_password("dataset.url", self.url)
        if self.source == "synthetic" and self.path:
            raise ValueError(f"path={self.path} is not read by synthetic faces; did you mean dataset=photos?")
        if self.auxiliary and self.votes.path is not None and not self.votes.others:
            raise ValueError("auxiliary classes with votes need votes.others: the columns that their head learns")


@dataclass(frozen=True)
class DatasetConfig(SourceConfig):
    """A source, or several `sources` together, and how its images are prepared: brought to a square of `image_size`
    pixels, to which `fit` stretches the whole image, crops its middle, pads it with white, or cuts out the largest
    face; an image that is a face already is stretched then, and one in which no face is found rejected.

    Two images are near-duplicates when their pHashes differ in at most `near_duplicate_distance` of 64 bits and their
    dHashes in at most `dhash_distance`; null groups only images with the same pixels. `crop_duplicates` also joins
    crops, mirror images and edited copies of one photo, which takes OpenCV. `verify=full` reads every file again
    instead of trusting size and time of change, and every prepared image. `workers` null: one process for each core.
    With `cluster` the Ray cluster at that address decodes instead, whose nodes read the images at the same paths;
    `local` is one of this machine.
    """

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    image_size: Annotated[int, Interval(ge=8, le=1024)] = 256
    fit: Literal["stretch", "crop", "pad", "face"] = "stretch"
    limit: Annotated[int, Ge(6)] | None = None
    near_duplicate_distance: Annotated[int, Interval(ge=0, le=16)] | None = 6
    dhash_distance: Annotated[int, Interval(ge=0, le=64)] = 10
    crop_duplicates: bool = True
    cross_split_duplicates: Literal["drop_from_train", "keep", "error"] = "drop_from_train"
    max_megapixels: Annotated[float, Gt(0), Le(170)] = 64.0
    max_megabytes: PositiveNumber = 128.0
    min_side: Count = 8
    verify: Literal["stat", "full"] = with_role(ENVIRONMENT, default="stat")
    workers: Count | None = with_role(ENVIRONMENT, default=None)
    cluster: str | None = with_role(ENVIRONMENT, default=None)
    cache: str = with_role(ENVIRONMENT, default=".cache/prepared")
    split: SplitConfig = field(default_factory=SplitConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_only or (self.sources and all(source.train_only for source in self.sources.values())):
            raise ValueError("train_only is for one of several dataset.sources: something must be evaluated")
        if self.source == "combined":
            self._check_combined()

    def _check_combined(self) -> None:
        """Reject what has an effect within a source only."""
        if self.group_pattern is not None:
            raise ValueError(f"group_pattern={self.group_pattern}: set it for each: dataset.sources.NAME.group_pattern")
        for key in ("positive", "negative"):
            named, usual = getattr(self, key), getattr(SourceConfig, key)
            unnamed = [name for name, source in self.sources.items() if getattr(source, key) == usual]
            if named != usual and unnamed:
                raise ValueError(f"{key}={named}: say what that is in each source: dataset.sources.{unnamed[0]}.{key}")
