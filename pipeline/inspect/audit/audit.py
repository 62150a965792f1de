"""The audit of a data set: images that look the same, labels that are likely wrong, images unlike the rest."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.quarantine import Quarantine
from hamcache.data.curation import NOTHING, Curation, curate
from hamcache.data.dataset import Dataset
from hamcache.data.errors import SplitError
from hamcache.data.splits import Split, make_split
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import AuditError
from hamcache.pipeline.experiment.learning import Laps
from hamcache.pipeline.inspect.audit import findings
from hamcache.pipeline.inspect.audit.descriptors import choose_sources, describe
from hamcache.pipeline.inspect.audit.duplicate_search import choose_candidates, find_neighbours
from hamcache.pipeline.inspect.audit.duplicate_verdicts import (
    CONFIRMED,
    LOOK_ALIKE,
    SAME_LESION,
    Calibration,
    align_all,
    calibrate,
    known_pairs,
    least_cosine,
    least_scores,
)
from hamcache.pipeline.inspect.audit.label_errors import find_label_errors
from hamcache.pipeline.inspect.audit.pixel_alignment import Alignment
from hamcache.pipeline.inspect.audit.textures import read_thumbnails

_KNOWN = 300  # pairs of one group, and of two, that the search is measured with
_OUTLIERS = 48
_MOST_CANDIDATES = 50_000

Bar = Callable[[str, int | None, str], AbstractContextManager[Callable[[int, int | None], None]]]


@contextmanager
def silent(what: str, total: int | None, unit: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar that shows nothing; `cli.console.progress_bar` has the same form."""
    yield lambda done, total: None


@dataclass(frozen=True)
class AuditSettings:
    """Choices of an audit.

    Attributes:
        backbones: Whose features are compared; none: of every backbone that has plain features of all images.
        top: Nearest images of other groups that are looked at, for each image.
        cosine: The least cosine of candidates; None: what 95 % of the pairs of one group exceed whose pixels agree.
        candidates: Pairs whose pixels are compared, at most; None: two an image, 50,000 at most.
        policy: The split that pairs may straddle.
        seed: Of that split, of the folds and of all samples.
        workers: Processes; None: one a core.
    """

    backbones: tuple[str, ...] = ()
    top: int = 10
    cosine: float | None = None
    candidates: int | None = None
    policy: str = "one_per_lesion"
    seed: int = 0
    workers: int | None = None


@dataclass(frozen=True, eq=False)
class Audit:
    """Findings of an audit; see `inspect.audit.findings` for the tables.

    Attributes:
        table: The images that were looked at.
        candidates: Number of pairs whose pixels were compared.
        least_cosine: Of the candidates.
        least_score: Of each verdict.
        calibration: How far the search can be trusted on this data set.
        pairs, duplicates, labels, outliers: The findings.
        exclusions, merges: The proposals.
        label_mcc: Matthews correlation of the predictions that labels were compared with.
        notes: What could not be done, and why.
        sources: The features that were compared.
        seconds: By step.
        settings: As given.
        split: Fingerprint of the split, "" for none.
    """

    table: ImageTable
    candidates: int
    least_cosine: float
    least_score: dict[str, float]
    calibration: Calibration
    pairs: pd.DataFrame
    duplicates: pd.DataFrame
    labels: pd.DataFrame
    outliers: pd.DataFrame
    exclusions: pd.DataFrame
    merges: pd.DataFrame
    label_mcc: float
    notes: list[str]
    sources: list[str]
    seconds: dict[str, float]
    settings: AuditSettings
    split: str

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of findings and proposals."""
        confirmed = self.pairs[self.pairs["verdict"].isin(CONFIRMED)]
        return {
            **{verdict: int((self.pairs["verdict"] == verdict).sum()) for verdict in (*CONFIRMED, LOOK_ALIKE)},
            "conflicting labels": int(confirmed["conflict"].sum()),
            "straddle the split": int(confirmed["straddles"].sum()),
            "files with the same bytes": len(self.duplicates),
            "of these in different groups": int(self.duplicates["across_groups"].sum()),
            "likely label errors": len(self.labels),
            "unlike the rest": int(self.outliers["unlike"].sum()),
            "proposed exclusions": len(self.exclusions),
            "proposed merges": len(self.merges),
        }


def audit(
    dataset: Dataset,
    workspace: Workspace,
    settings: AuditSettings = AuditSettings(),
    *,
    curation: Curation = NOTHING,
    bar: Bar = silent,
) -> Audit:
    """Audit a data set by its cached features and its images.

    Never more than a block of similarities is in memory; thumbnails are kept of the images of candidates (9 KB each).

    Args:
        dataset: The images.
        workspace: Holds `features/`.
        settings: How.
        curation: What is left out and merged already: it is not found again, and the proposals begin with it.
        bar: Shows progress.

    Raises:
        MissingFeaturesError: The cache has no features of the plain images; names the command that makes them.
        AuditError: There are fewer than two groups.
    """
    clock = Laps()
    catalogue = Catalogue(workspace.features)
    table, digests = dataset.table, dataset.digests
    bad = Quarantine(catalogue.root, table.name).among(digests)
    notes = [f"{len(bad)} quarantined images were left out"] if bad else []
    seen = curate(table, curation)
    seen = seen.subset([i for i in seen.frame["image_id"] if i not in bad])
    frame, ids = seen.frame, list(seen.frame["image_id"])
    groups = pd.factorize(frame["group"])[0].astype(np.int64)
    if len(np.unique(groups)) < 2:
        raise AuditError(f"expected images of two groups or more in {table.name!r}, got {len(np.unique(groups))}")
    sources = choose_sources(catalogue, table.name, ids, settings.backbones, dataset.words.dataset)
    with bar("reading features", sum(source.views for source in sources), "views") as advance:
        rows = describe(sources, ids, digests, lambda done: advance(done, None))
    clock.lap("read")
    with bar("comparing", len(rows), "images") as advance:
        near = find_neighbours(rows, groups, settings.top, settings.seed, lambda done: advance(done, None))
    clock.lap("neighbours")

    pixels = _Pixels(list(frame["path"]), settings.workers, bar)
    same, strangers = known_pairs(groups, _KNOWN, settings.seed)
    known, unknown = np.split(pixels.align(np.concatenate([same, strangers]), "measuring").score, [len(same)])
    least_score = least_scores(unknown)
    confirmed = known >= least_score[SAME_LESION]
    least = settings.cosine if settings.cosine is not None else least_cosine(same[confirmed], near)
    most = settings.candidates if settings.candidates is not None else min(2 * len(rows), _MOST_CANDIDATES)
    candidates = choose_candidates(near, most, least)
    alignment = pixels.align(candidates.pairs, "looking", least_score[LOOK_ALIKE])
    if pixels.unreadable:
        notes.append(f"{len(pixels.unreadable)} images can't be read, so nothing was said about their pairs")
    clock.lap("pixels")

    split = _split(table, settings, curation, notes)
    pairs = findings.pairs_table(frame, candidates, alignment, split, least_score)
    duplicates = findings.duplicates_table(frame, digests)
    merges = findings.propose_merges(seen, pairs, duplicates, curation)
    exclusions = findings.propose_exclusions(seen, pairs, duplicates, curation)
    with bar("predicting labels", None, "folds") as advance:
        errors = find_label_errors(
            rows, seen.labels(), findings.merged_groups(seen, merges), seen.classes, settings.seed, advance
        )
    if errors.judged < len(rows):
        notes.append(f"labels of {len(rows) - errors.judged} images were not judged: their classes have one group only")
    clock.lap("labels")
    labels = findings.labels_table(frame, errors, seen.classes)
    outliers = findings.outliers_table(frame, near.level, _OUTLIERS)
    return Audit(
        table=seen,
        candidates=len(candidates),
        least_cosine=least,
        least_score=least_score,
        calibration=calibrate(same, confirmed, unknown, near, candidates),
        pairs=pairs,
        duplicates=duplicates,
        labels=labels,
        outliers=outliers,
        exclusions=exclusions,
        merges=merges,
        label_mcc=errors.mcc,
        notes=notes,
        sources=[source.words for source in sources],
        seconds={name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        settings=settings,
        split="" if split is None else split.fingerprint,
    )


class _Pixels:
    """Aligns pairs of images, decoding each that is needed once."""

    def __init__(self, paths: Sequence[str], workers: int | None, bar: Bar) -> None:
        self.unreadable: set[int] = set()
        self._paths, self._workers, self._bar = paths, workers, bar
        self._thumbnails = read_thumbnails([])
        self._number = np.full(len(paths), -1)  # of each image's thumbnail

    def align(self, pairs: np.ndarray, what: str, least: float = 0.0) -> Alignment:
        needed = np.unique(pairs)
        new = needed[self._number[needed] < 0]
        with self._bar("decoding", len(new), "images") as advance:
            paths = [self._paths[n] for n in new]
            thumbnails = read_thumbnails(paths, lambda done: advance(done, None), threads=self._workers)
        self.unreadable |= {int(new[n]) for n in thumbnails.bad}
        self._number[new] = len(self._thumbnails) + np.arange(len(new))
        self._thumbnails = self._thumbnails.followed_by(thumbnails)
        with self._bar(f"{what} at pixels", len(pairs), "pairs") as advance:
            numbers = self._number[pairs]
            return align_all(self._thumbnails, numbers, self._workers, lambda done: advance(done, None), least=least)


def _split(table: ImageTable, settings: AuditSettings, curation: Curation, notes: list[str]) -> Split | None:
    try:
        return make_split(table, settings.policy, seed=settings.seed, curation=curation)
    except SplitError as error:
        notes.append(f"there is no split that pairs could straddle: {error}")
        return None
