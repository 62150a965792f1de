"""Importance of the searched keys for a sweep's scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from hamcache.heads.metrics import get_metric
from hamcache.pipeline.studies.sweeps.results import FAILED, Sweep
from hamcache.pipeline.studies.sweeps.space import Dimension, Point, label

FEWEST = 8
"""Trials below which nothing is said."""
UNUSED = "not in use"


def importances(sweep: Sweep) -> pd.DataFrame:
    """`key, importance`, the most important first; without rows where there are too few trials, or all score alike.

    Functional ANOVA (Hutter, Hoos, Leyton-Brown, ICML 2014; Optuna's): the share of the scores' variance that a key
    explains by itself, in a random forest fitted to the trials. Trials that were stopped early count with the score
    they had. A key that was not in use has one value more, which says so.
    """
    trials = sweep.trials[sweep.trials["state"] != FAILED]
    scores = trials[sweep.objective].to_numpy(np.float64)
    keys = {
        key: dimension
        for key, dimension in sweep.settings.space.items()
        if dimension.values() is None or len(dimension.values() or []) > 1
    }
    if len(trials) < FEWEST or np.ptp(scores) == 0 or not keys:
        return pd.DataFrame({"key": [], "importance": []})
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if get_metric(sweep.objective).higher_is_better else "minimize")
    kinds = {key: _distribution(dimension) for key, dimension in keys.items()}
    for (_, row), score in zip(trials.iterrows(), scores, strict=True):
        point = sweep.point(row)
        values = {key: _value(dimension, key, point) for key, dimension in keys.items()}
        study.add_trial(optuna.trial.create_trial(params=values, distributions=kinds, value=float(score)))
    shares = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return pd.DataFrame({"key": list(shares), "importance": list(shares.values())})


def _distribution(dimension: Dimension) -> BaseDistribution:
    if dimension.is_choice:
        options = [label(option) for option in dimension.values() or []]
        return CategoricalDistribution([*options, *([UNUSED] if dimension.when else [])])
    low, high = _ends(dimension)
    return FloatDistribution(low - (high - low) / 4 if dimension.when else low, high)


def _value(dimension: Dimension, key: str, point: Point) -> Any:
    if dimension.is_choice:
        return label(point[key]) if key in point else UNUSED
    if key in point:
        return math.log(point[key]) if dimension.loguniform else float(point[key])
    low, high = _ends(dimension)
    return low - (high - low) / 4


def _ends(dimension: Dimension) -> tuple[float, float]:
    low, high = dimension.ends
    return (math.log(low), math.log(high)) if dimension.loguniform else (float(low), float(high))
