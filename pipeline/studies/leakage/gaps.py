"""Scores of many sets of images under the same resamples of lesions, averaged over seeds (for `measure`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hamcache.heads.metrics import get_metric
from hamcache.heads.scored import Scored, scored
from hamcache.pipeline.evaluate.intervals import RESAMPLES, difference, group_weights, holm
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
    bounds = np.cumsum([0, *(len(images.y) for images in filled)])
    plain = [{key: scored(images.y, proba) for key, proba in images.probas.items()} for images in filled]
    chosen = [get_metric(metric, classes) for metric in metrics]

    def compute(weights: np.ndarray | None) -> Scores:
        of: dict[tuple[str, str, str], list[np.ndarray]] = {}
        for images, predictors, start, end in zip(filled, plain, bounds, bounds[1:], strict=False):
            for key, one in predictors.items():
                drawn = one if weights is None else Scored(one.y, one.proba, weights[:, start:end])
                for metric in chosen:
                    values = metric.compute(drawn)
                    values[drawn.total == 0] = np.nan  # a resample that has none of these images
                    of.setdefault((images.name, key, metric.name), []).append(values)
        return {name: _mean(np.stack(values)) for name, values in of.items()}

    everything = np.concatenate([images.groups for images in filled])
    with np.errstate(invalid="ignore"):
        parts = [compute(None), *(compute(weights) for weights in group_weights(everything, resamples, seed))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(scores: Scores, heads: Sequence[str], metrics: Sequence[str], lesions: int) -> pd.DataFrame:
    """The table of a `LeakageDemo`: honest and leaky scores of each head, and their difference on the same resamples.

    Args:
        scores: Of predictors named `<head>/honest` and `<head>/leaky`.
        heads: Names of the heads.
        metrics: Names of the metrics.
        lesions: Number of lesions that were resampled.
    """
    tables = []
    for metric in metrics:
        for images in IMAGES:
            rows = []
            for head in heads:
                if (images, f"{head}/leaky", metric) not in scores:  # no image of this kind
                    continue
                pair = {arm: scores[images, f"{head}/{arm}", metric] for arm in ("honest", "leaky")}
                row: dict[str, Any] = {"metric": metric, "images": images, "head": head}
                for arm, values in pair.items():
                    found = difference(values, np.zeros_like(values), lesions)
                    row |= {arm: found.value, f"{arm}_low": found.low, f"{arm}_high": found.high}
                gap = difference(pair["leaky"], pair["honest"], lesions)
                row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high, "p": gap.p_value}
                rows.append(row)
            table = pd.DataFrame(rows)
            if rows:
                table["p_holm"] = holm(list(table["p"]))
                tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the seeds `[S, R]`, without those where the metric is undefined; NaN where it is in all."""
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.divide(np.where(known, values, 0).sum(axis=0), count, out=np.full(len(count), np.nan), where=count > 0)
