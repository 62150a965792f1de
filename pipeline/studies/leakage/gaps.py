"""Scores of many sets of images under the same resamples of lesions, averaged over seeds (for `measure`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from hamcache.heads.metrics import get_metric
from hamcache.heads.scored import scored
from hamcache.pipeline.evaluate.intervals import RESAMPLES, difference, group_weights, holm, interval
from hamcache.pipeline.studies.leakage.outcome import IMAGES


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one seed that several predictors were asked about.

    Attributes:
        seed: The seed.
        name: Images of the same name, of several seeds, are averaged over.
        y: int64 `[n]`, codes.
        groups: `[n]`, lesions.
        probas: Predictor -> float64 `[n, C]`.
    """

    seed: int
    name: str
    y: np.ndarray
    groups: np.ndarray
    probas: Mapping[str, np.ndarray]

    def only(self, name: str, rows: np.ndarray) -> "Images":
        """Some of the images (bool `[n]`), under another name."""
        probas = {predictor: proba[rows] for predictor, proba in self.probas.items()}
        return Images(self.seed, name, self.y[rows], self.groups[rows], probas)


Scores = dict[tuple[str, str, str], np.ndarray]
"""(name of the images, predictor, metric) -> float64 `[1 + R]`: the score, then that of each resample."""


def mean_scores(
    sets: Sequence[Images],
    metrics: Sequence[str],
    *,
    classes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Scores:
    """The mean score over the sets of one name, with its resamples.

    A resample draws lesions of all sets at once, so a lesion that is in the test sets of several seeds counts as often
    in each: seeds are not taken for independent data, and any two results can be subtracted. Sets without an image are
    left out.

    Args:
        sets: Images with probabilities.
        metrics: Names of metrics.
        classes: Class names, for metrics of one class.
        resamples: How many resamples are drawn.
        seed: Seed of the resamples.
    """
    filled = [images for images in sets if len(images.y)]
    groups = np.concatenate([images.groups for images in filled])
    starts = np.cumsum([len(images.y) for images in filled])[:-1]
    chosen = [get_metric(metric, classes) for metric in metrics]

    def compute(weights: np.ndarray) -> Scores:
        of: dict[tuple[str, str, str], list[np.ndarray]] = {}
        for images, drawn in zip(filled, np.split(weights, starts, axis=1), strict=True):
            for predictor, proba in images.probas.items():
                rows = scored(images.y, proba, drawn)
                for metric in chosen:
                    values = metric.compute(rows)
                    values[rows.total == 0] = np.nan  # a resample that has none of these images
                    of.setdefault((images.name, predictor, metric.name), []).append(values)
        return {name: _mean(np.stack(values)) for name, values in of.items()}

    with np.errstate(invalid="ignore"):
        parts = [compute(np.ones((1, len(groups)))), *map(compute, group_weights(groups, resamples, seed))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def scores_by_seed(sets: Sequence[Images], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of each seed, by images, head and arm; those that are not defined are None."""
    rows = []
    for images in (images for images in sets if len(images.y)):
        for predictor, proba in images.probas.items():
            head, arm = predictor.split("/")
            scores = {metric: get_metric(metric)(images.y, proba) for metric in metrics}
            values = {metric: None if np.isnan(value) else round(value, 6) for metric, value in scores.items()}
            rows.append({"seed": images.seed, "images": images.name, "head": head, "arm": arm, **values})
    return rows


def compare(scores: Scores, heads: Sequence[str], metrics: Sequence[str], lesions: int) -> pd.DataFrame:
    """The table of a `LeakageDemo`: honest and leaky scores of each head, and their difference on the same resamples.

    Args:
        scores: Of predictors named `<head>/honest` and `<head>/leaky`.
        heads: Names of the heads.
        metrics: Names of the metrics.
        lesions: Number of lesions that were resampled.
    """
    rows: list[dict[str, Any]] = []
    for metric, images, head in product(metrics, IMAGES, heads):
        if (images, f"{head}/leaky", metric) in scores:  # there are images of this kind
            honest, leaky = (scores[images, f"{head}/{arm}", metric] for arm in ("honest", "leaky"))
            row: dict[str, Any] = {"metric": metric, "images": images, "head": head}
            gap = difference(leaky, honest, lesions)
            shown = {"honest": interval(honest, lesions), "leaky": interval(leaky, lesions), "gap": gap}
            for name, found in shown.items():
                row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
            rows.append(row | {"p": gap.p_value})
    table = pd.DataFrame(rows)
    table["p_holm"] = table.groupby(["metric", "images"])["p"].transform(lambda p: holm(list(p)))
    return table


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the seeds `[S, R]`, without those where the metric is undefined; NaN where it is in all."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.divide(np.where(known, values, 0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
