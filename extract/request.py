"""The request of an extraction, its progress, and its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hamcache.cache.keys import DEFAULT_STORAGE
from hamcache.cache.quarantine import BadImage
from hamcache.configs.defaults import MOST_VIEWS
from hamcache.data.table import ImageTable
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import BackboneSpec
from hamcache.extract.errors import TooManyViewsError


@dataclass(frozen=True)
class Progress:
    """Progress of a run: images done and in all, feature vectors computed so far."""

    done: int
    total: int
    vectors: int


@dataclass(frozen=True)
class ExtractionSummary:
    """Outcome of a run.

    Attributes:
        n_images: images asked for.
        n_written, n_reused: feature vectors computed now, and found in the cache.
        n_decoded: images decoded.
        quarantined: images left out, with the reason; `n_new_bad` of them found bad in this run.
        seconds: wall time from the plan to the last chunk.
        stores: folder of each store, with the views asked of it.
        changed: digest of each image whose file was not the one that the request's digests are of.
    """

    n_images: int
    n_written: int
    n_reused: int
    n_decoded: int
    quarantined: tuple[BadImage, ...]
    n_new_bad: int
    seconds: float
    stores: tuple[tuple[str, int], ...]
    changed: Mapping[str, str]

    @property
    def images_per_second(self) -> float:
        """Images decoded a second (0 when nothing had to be done)."""
        return self.n_decoded / self.seconds if self.n_decoded else 0.0

    @property
    def vectors_per_second(self) -> float:
        """Feature vectors (an image through a network once) a second."""
        return self.n_written / self.seconds if self.n_written else 0.0

    def __str__(self) -> str:
        rates = ""
        if self.n_decoded:
            rates = f", {self.images_per_second:.1f} images/s, {self.vectors_per_second:.1f} vectors/s"
        return (
            f"{self.n_images:,} images, {len(self.stores)} stores: {self.n_written:,} vectors written, "
            f"{self.n_reused:,} reused, {self.n_decoded:,} images decoded, {len(self.quarantined):,} quarantined "
            f"({self.n_new_bad:,} new), {self.seconds:.1f} s{rates}"
        )


@dataclass(frozen=True, eq=False)
class ExtractionRequest:
    """Features that the cache is to hold: every view of every image for every backbone and augmentation.

    Attributes:
        table: the images.
        digests: sha256 of each image's file (`data.digests.file_digests`).
        backbones: the networks, and the kind of features of each; one named with several kinds runs once.
        augmentations: the augmentations.
        views: views of each; an augmentation with fewer distinct views gives all it has.
        seed: seed of the draws.
        device: `cpu` or `cuda`.
        storage: `float32` or `float16`, the numbers that features are kept as.
        chunk_mib: size of a chunk of the widest features, for stores that are new; None: as the data set's others.
        source: name of the data set in the user's words, for the advice in later errors; None for the table's name.
    """

    table: ImageTable
    digests: Mapping[str, str]
    backbones: Sequence[tuple[BackboneSpec, str]]
    augmentations: Sequence[Augmentation]
    views: int = 1
    seed: int = 0
    device: str = "cpu"
    storage: str = DEFAULT_STORAGE
    chunk_mib: float | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.views <= MOST_VIEWS:
            raise TooManyViewsError(f"Expected 1 to {MOST_VIEWS:,} views, got {self.views:,}. Ask for fewer.")
