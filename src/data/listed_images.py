"""The samples that a data set's config names, and a key for all that preparing them depends on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import PIL

from ..config import DatasetConfig
from ..detection.faces import BLAZEFACE
from .lookalikes import finds_crops
from .packed_samples import PackedSamples
from .samples import NEITHER, Fit, Limits, Sample
from .sources import Listing, list_samples, listing_signature
from .sources.synthetic import DRAWN_FOR_CUTTING

PREPARATION_VERSION = 2
"""Raise it with any change to the stored pixels, groups or columns; a test ties it to them."""


@dataclass
class ListedImages:
    """A data set's samples, listed only once they are needed; then packed, those of neither class last."""

    config: DatasetConfig

    @property
    def samples(self) -> PackedSamples:
        """At most `limit` of them."""
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

    @cached_property
    def key(self) -> str:
        """A name for everything that the stored pixels and groups depend on; no image is read for it.

        Another Pillow may decode and shrink to other pixels, so its version belongs to it; no other library makes
        pixels.
        """
        config = self.config
        distances = (config.near_duplicate_distance, config.dhash_distance, finds_crops(config))
        settings = (config.image_size, Limits.of(config), *distances, *_fit_key(config.fit))
        limit = (config.limit, config.split.seed if config.limit else None)
        digest = hashlib.blake2b(repr((settings, limit, PREPARATION_VERSION, PIL.__version__)).encode(), digest_size=8)
        signature = listing_signature(config)
        if signature is not None:
            digest.update(repr(signature).encode())
            return digest.hexdigest()
        for sample in self.samples:
            described = (sample.source, sample.path, sample.label, sample.shipped_split, sample.subject, sample.weight)
            target = () if sample.target is None else (sample.target,)
            shares = () if sample.shares is None else (sorted(sample.shares.items()),)
            digest.update(repr((*described, sample.locator.signature, *target, *shares)).encode())
        digest.update(repr((self.listing.rejections, sorted(self.listing.ignored.items()))).encode())
        return digest.hexdigest()


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


def _fit_key(fit: Fit) -> tuple[object, ...]:
    if fit == "face":
        return (fit, BLAZEFACE, DRAWN_FOR_CUTTING)
    return () if fit == "stretch" else (fit,)
