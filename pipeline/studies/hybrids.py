"""Hybrids of every subset of some backbones, and what each backbone adds to the whole."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pandas as pd

from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.evaluate.compare import compare_runs
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.runs.records import Run


def subsets(backbones: Sequence[str]) -> list[str]:
    """Every non-empty subset as a feature set, smallest first, the order of the backbones kept.

    >>> subsets(["A", "B", "C"])
    ['A', 'B', 'C', 'A+B', 'A+C', 'B+C', 'A+B+C']

    Raises:
        ConfigError: Fewer than two backbones, an empty name, or one that is listed twice.
    """
    names = [name.strip() for name in backbones]
    if len(names) < 2 or not all(names) or len(set(names)) < len(names):
        raise ConfigError(
            "backbones: expected two or more different ones, e.g. resnet34,densenet121 (one alone, or none, is no "
            f"hybrid), got {', '.join(map(repr, names)) or 'none'}"
        )
    return ["+".join(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


def what_each_adds(
    runs: Mapping[str, Run],
    backbones: Sequence[str],
    metric: str = "mcc",
    part: str = "validation",
    *,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """Leave one out: the score of the full hybrid less that of the hybrid without one backbone.

    Both are scored on the same images, so the interval is that of a paired bootstrap over lesions (see
    `evaluate.compare`). Above zero the backbone helps, for a metric where higher is better.

    Args:
        runs: Feature set (as `subsets` names it) -> run. Without the full hybrid's run there is nothing to say.
        backbones: All backbones, in the order of the names of `runs`.
        metric: What is compared.
        part: Part of the split.
        resamples: Resamples of the bootstrap.

    Returns:
        One row a backbone: `backbone, without, part, score, score_without, adds, low, high, p, p_holm`, the last
        corrected by Holm for the number of backbones.
    """
    full = runs.get("+".join(backbones))
    rest = {name: "+".join(other for other in backbones if other != name) for name in backbones}
    left_out = {name: without for name, without in rest.items() if without in runs}
    columns = ["backbone", "without", "part", "score", "score_without", "adds", "low", "high", "p", "p_holm"]
    if full is None or not left_out:
        return pd.DataFrame(columns=columns)
    others = [runs[without] for without in left_out.values()]
    comparison = compare_runs([full, *others], metric, part, reference=full.id, resamples=resamples)
    scores = dict(zip(comparison.scores["run"], comparison.scores[metric], strict=True))
    rows = []
    for backbone, pair in zip(left_out, comparison.pairs.to_dict("records"), strict=True):
        # A pair says how far the hybrid without the backbone is above the full one: the other way round.
        gap = (-pair["difference"], -pair["high"], -pair["low"])
        score, without = scores[full.id], scores[pair["run"]]
        rows.append((backbone, left_out[backbone], part, score, without, *gap, pair["p"], pair["p_holm"]))
    return pd.DataFrame(rows, columns=columns)
