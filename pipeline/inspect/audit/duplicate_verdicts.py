"""Verdicts on pairs by their pixels, and a measure of how far they can be trusted on this data set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from hamcache.heads.threads import one_thread
from hamcache.pipeline.inspect.audit.duplicate_search import Candidates, Neighbourhood
from hamcache.pipeline.inspect.audit.pixel_alignment import BLOCK, Alignment, align, joined
from hamcache.pipeline.inspect.audit.textures import Thumbnails
from hamcache.pipeline.studies.parallel import in_processes, workers_that_fit

SAME_PICTURE, SAME_LESION, LOOK_ALIKE = "same picture", "same lesion, likely", "look-alike"
VERDICTS = {SAME_PICTURE: 0.85, SAME_LESION: 0.4, LOOK_ALIKE: 0.3}
"""The least score of each verdict (see `inspect.audit.pixel_alignment.Alignment`).

Measured on real HAM10000 images of 200x150 pixels: copies that were compressed again, mirrored, turned, cropped by up
to a fifth or brightened score 0.86 to 0.99 (5 % quantiles); of the pairs of photographs of one lesion about 70 % score
0.4 or more; of 300 random pairs of two lesions none more than 0.22. Of the candidates there, pairs of different lesions
by their ids, 52 score 0.4 or more, and by eye all but one doubtful pair show one lesion; of the 23 between 0.3 and 0.4
about a quarter do.
"""
CONFIRMED = (SAME_PICTURE, SAME_LESION)
_ABOVE_STRANGERS = {SAME_PICTURE: 0.3, SAME_LESION: 0.1, LOOK_ALIKE: 0.0}
_TASK = 8 * BLOCK  # pairs
_BYTES = 1_000_000_000  # of a process, most of it PyTorch
_FEWEST = 20  # confirmed pairs of one group that a quantile is taken of


def least_scores(strangers: np.ndarray) -> dict[str, float]:
    """The least score of each verdict on this data set, by the scores of random pairs of two groups.

    Where images are so smooth that random ones agree more than those of HAM10000 do, more is asked for.
    """
    usual = strangers_score(strangers)
    return {verdict: max(least, min(usual + _ABOVE_STRANGERS[verdict], 1.0)) for verdict, least in VERDICTS.items()}


def strangers_score(strangers: np.ndarray) -> float:
    """Score that at most one of a hundred random pairs exceeds: in a small data set some of them may be copies."""
    return float(np.quantile(strangers, 0.99, method="lower")) if len(strangers) else 0.0


def verdicts(score: np.ndarray, least: Mapping[str, float] = VERDICTS) -> np.ndarray:
    """The verdict of each score, "" below all of them; object `[n]`."""
    names = np.full(len(score), "", dtype=object)
    for verdict in reversed(VERDICTS):
        names[score >= least[verdict]] = verdict
    return names


def align_all(
    thumbnails: Thumbnails,
    pairs: np.ndarray,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
    *,
    least: float = 0.0,
) -> Alignment:
    """`align`, in processes; the result does not depend on their number.

    Args:
        thumbnails: The images.
        pairs: int `[n, 2]`: numbers of thumbnails.
        workers: Processes at a time; None: one a core, as far as memory reaches.
        on_progress: Called with the number of pairs done.
        least: Score that matters, see `align`.
    """
    order = np.lexsort(pairs.T)  # pairs with one second image follow each other
    ordered = pairs[order]
    tasks = [ordered[start : start + _TASK] for start in range(0, len(pairs), _TASK)]
    results: dict[int, Alignment] = {}
    workers = workers or workers_that_fit(_BYTES, len(tasks))
    for number, result in in_processes(partial(_align, thumbnails, least), tasks, workers):
        if isinstance(result, Exception):
            raise result
        results[number] = result
        if on_progress:
            on_progress(sum(map(len, results.values())))
    return joined([results[number] for number in sorted(results)]).take(np.argsort(order))


def _align(thumbnails: Thumbnails, least: float, pairs: np.ndarray) -> Alignment:
    with one_thread():
        return align(thumbnails, pairs, least)


@dataclass(frozen=True)
class Calibration:
    """Success of the search on pairs whose answer is known: images of one group, and random images of two.

    Attributes:
        same_pairs: Pairs of one group that were looked at.
        same_confirmed: Share of them whose pixels say so.
        same_found: Share of these that the search would have come upon, were they of two groups.
        strangers: Random pairs of two groups that were looked at.
        strangers_score: Score that at most one of a hundred of them exceeds.
    """

    same_pairs: int
    same_confirmed: float
    same_found: float
    strangers: int
    strangers_score: float


def known_pairs(groups: np.ndarray, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to `most` random pairs of images of one group, each of another group, and as many of two groups.

    Returns:
        Two arrays int64 `[n, 2]`.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(groups))
    by_group = order[np.argsort(groups[order], kind="stable")]
    sorted_groups = groups[by_group]
    first = np.flatnonzero(np.r_[True, sorted_groups[1:] != sorted_groups[:-1]])
    several = first[np.diff(np.r_[first, len(groups)]) > 1]
    chosen = rng.permutation(several)[:most]
    same = np.stack([by_group[chosen], by_group[chosen + 1]], axis=1)
    others = rng.integers(0, len(groups), (2 * most, 2))
    others = others[groups[others[:, 0]] != groups[others[:, 1]]][:most]
    return np.sort(same, axis=1), np.sort(others, axis=1)


def calibrate(
    same: np.ndarray, confirmed: np.ndarray, strangers: np.ndarray, near: Neighbourhood, candidates: Candidates
) -> Calibration:
    """Measure the search that gave these candidates.

    Args:
        same: Pairs of one group, int `[n, 2]`.
        confirmed: Whether the pixels of each say so, bool `[n]`.
        strangers: Scores of random pairs of two groups.
        near: What candidates were chosen from.
        candidates: What was chosen.
    """
    pairs = same[confirmed]
    is_found = near.would_find(pairs)
    is_found &= near.margin(pairs) >= candidates.margin.min(initial=np.inf)
    is_found &= near.cosine(pairs) >= candidates.cosine.min(initial=np.inf)
    return Calibration(
        same_pairs=len(same),
        same_confirmed=float(confirmed.mean()) if len(same) else float("nan"),
        same_found=float(is_found.mean()) if len(pairs) else float("nan"),
        strangers=len(strangers),
        strangers_score=strangers_score(strangers),
    )


def least_cosine(confirmed: np.ndarray, near: Neighbourhood) -> float:
    """Cosine that nineteen of twenty pairs of one group confirmed by pixels exceed; -1 where too few are known."""
    return float(np.quantile(near.cosine(confirmed), 0.05)) if len(confirmed) >= _FEWEST else -1.0
