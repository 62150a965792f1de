"""Metrics that heads with epochs can monitor without help; others are handed to `fit(scorers=...)`."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from hamcache.heads.base import Scorer


def _of_codes(metric: Scorer, y: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    return float(metric(y, probabilities.argmax(axis=1)))


SCORERS: dict[str, Scorer] = {
    "mcc": partial(_of_codes, metrics.matthews_corrcoef),
    "accuracy": partial(_of_codes, metrics.accuracy_score),
    "balanced_accuracy": partial(_of_codes, metrics.balanced_accuracy_score),
    "weighted_f1": partial(_of_codes, partial(metrics.f1_score, average="weighted")),
    "macro_f1": partial(_of_codes, partial(metrics.f1_score, average="macro")),
}
