"""Runs side by side: intervals for each, paired differences between them, and a refusal where that means nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from hamcache.data.errors import some_of
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.errors import ComparisonError, RunError
from hamcache.pipeline.evaluate.intervals import PERCENTILES, RESAMPLES, bootstrap, difference, holm, resampled_scores
from hamcache.pipeline.runs.records import Run


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs scored on the same images.

    Attributes:
        metric: Name of the metric.
        part: Part of the split they are compared on.
        scores: One row a run, best first: `run, head, features, <metric>, low, high`.
        pairs: One row a pair: `run, other, difference, low, high, p, p_holm`; the difference is the first's score less
            the other's, `p_holm` is corrected for the number of pairs.
        images: Number of images.
        groups: Number of lesions, which were resampled.
    """

    metric: str
    part: str
    scores: pd.DataFrame
    pairs: pd.DataFrame
    images: int
    groups: int


def compare_runs(
    runs: Sequence[Run],
    metric: str = "mcc",
    part: str | None = None,
    *,
    reference: str | None = None,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare runs by a paired bootstrap over lesions, with Holm's correction for the number of pairs.

    Args:
        runs: Two or more.
        metric: Name of a metric, also of one class (`sensitivity_mel`).
        part: Part of the split; None takes the test set where every run has opened it, else validation.
        reference: Id of the run that all others are compared with; None compares all pairs.
        resamples: Resamples of the bootstrap.

    Raises:
        ComparisonError: The runs were not scored on the same images, labels, lesions and classes; says in what they
            differ.
    """
    if len(runs) < 2 or len({run.id for run in runs}) < len(runs):
        raise ComparisonError(
            f"Expected two or more different runs, got {', '.join(run.id for run in runs) or 'none'}."
        )
    if reference is not None and reference not in {run.id for run in runs}:
        raise ComparisonError(f"Expected the reference among the runs compared, got {reference!r}.")
    if part is None:
        part = "test" if all("test" in run.metrics for run in runs) else "validation"
    first = runs[0]
    for run in runs[1:]:
        check_same_images(first, run, part)
    y, _, groups = first.answers(part)
    probas = [run.probabilities(part) for run in runs]
    values = resampled_scores(y, probas, groups, metric, classes=first.classes, resamples=resamples)
    n_groups = len(set(groups))
    lows, highs = np.nanpercentile(values[:, 1:], PERCENTILES, axis=1)
    scores = pd.DataFrame({**_about(runs), metric: values[:, 0], "low": lows, "high": highs})
    rows = []
    for i, j in _pairs(runs, reference):
        gap = difference(values[i], values[j], n_groups)
        rows.append((runs[i].id, runs[j].id, gap.value, gap.low, gap.high, gap.p_value))
    pairs = pd.DataFrame(rows, columns=["run", "other", "difference", "low", "high", "p"])
    pairs["p_holm"] = holm(list(pairs["p"]))
    return Comparison(metric, part, _best_first(scores, metric, first), pairs, len(y), n_groups)


def leaderboard(
    runs: Sequence[Run],
    metrics: Sequence[str] = ("mcc", "weighted_f1", "balanced_accuracy", "accuracy"),
    part: str = "validation",
    *,
    resamples: int = RESAMPLES,
) -> pd.DataFrame:
    """One row a run, best by the first metric first, with that metric's interval; the majority baseline comes last.

    Unlike `compare_runs` it accepts runs on different images (each has its own interval, and they are not compared).

    Returns:
        `run, head, features, <metrics>, low, high, seconds`; the last row is named `majority baseline`.
    """
    if not runs:
        return pd.DataFrame(columns=["run", "head", "features", *metrics, "low", "high", "seconds"])
    rows = []
    for run in runs:
        (drawn,) = bootstrap(*run.answers(part), metrics[:1], classes=run.classes, resamples=resamples)
        rows.append(
            {name: run.metrics[part].get(name, np.nan) for name in metrics}
            | {"low": drawn.low, "high": drawn.high, "seconds": run.provenance["seconds"]["fit"]}
        )
    table = _best_first(pd.DataFrame({**_about(runs), **pd.DataFrame(rows)}), metrics[0], runs[0])
    chance = runs[0].baseline(part)
    last = {"run": "majority baseline", "head": "", "features": "", **{m: chance.get(m, np.nan) for m in metrics}}
    return pd.concat([table, pd.DataFrame([last])], ignore_index=True)


def check_same_images(a: Run, b: Run, part: str) -> None:
    """Refuse two runs whose part differs in classes, images, labels or lesions.

    Raises:
        ComparisonError: Says in what, and by how many images.
    """
    if a.classes != b.classes:
        differing = set(a.classes) ^ set(b.classes)
        reason = f"only one has {some_of(sorted(differing), 3)}" if differing else "they stand in another order"
        raise ComparisonError(
            f"{_names(a, b)} the same classes, got different ones: {reason}. Train both on the same data set."
        )
    try:
        ours, theirs = (run.part(part).set_index("image_id") for run in (a, b))
    except RunError as error:
        raise ComparisonError(f"{_names(a, b)} the {part} set: {error}") from error
    sides = [(a, ours, sorted(set(ours.index) - set(theirs.index)))]
    sides += [(b, theirs, sorted(set(theirs.index) - set(ours.index)))]
    lacking = [
        f"{len(ids)} of {len(rows)} images are only in {run.id} ({some_of(ids, 3)})" for run, rows, ids in sides if ids
    ]
    if lacking:
        raise ComparisonError(
            f"{_names(a, b)} the same {part} set, got different ones: {'; '.join(lacking)}. "
            f"{_reason(a, b)}Train both with the same data set, split policy and seed."
        )
    for column, word in (("label", "labels"), ("group", "lesions")):
        differing_ids = list(ours.index[ours[column] != theirs[column].reindex(ours.index)])
        if differing_ids:
            raise ComparisonError(
                f"{_names(a, b)} the same {word}, got different {word} for {len(differing_ids)} of {len(ours)} {part} "
                f"images ({some_of(differing_ids, 3)}): the data set was changed in between. Train both again."
            )


def _reason(a: Run, b: Run) -> str:
    """Differences of the two configurations that explain different images, as far as they can be told."""
    ours, theirs = a.provenance.get("summary", {}), b.provenance.get("summary", {})
    fields = [
        f"{name} {ours.get(name)} and {theirs.get(name)}"
        for name in ("dataset", "policy", "seed")
        if ours.get(name) != theirs.get(name)
    ]
    return f"They were run with {', '.join(fields)}. " if fields else ""


def _pairs(runs: Sequence[Run], reference: str | None) -> list[tuple[int, int]]:
    if reference is None:
        return list(combinations(range(len(runs)), 2))
    base = [run.id for run in runs].index(reference)
    return [(i, base) for i in range(len(runs)) if i != base]


def _about(runs: Sequence[Run]) -> dict[str, list[str]]:
    summaries = [run.provenance.get("summary", {}) for run in runs]
    return {
        "run": [run.id for run in runs],
        "head": [about.get("head", "") for about in summaries],
        "features": [about.get("features", "") for about in summaries],
    }


def _best_first(table: pd.DataFrame, metric: str, run: Run) -> pd.DataFrame:
    ascending = not get_metric(metric, run.classes).higher_is_better
    return table.sort_values(metric, ascending=ascending, ignore_index=True)


def _names(a: Run, b: Run) -> str:
    return f"Expected runs {a.id} and {b.id} to have"
