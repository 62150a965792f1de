"""The leaderboard: every run's score with its interval, and how far it is behind the best run on the same images."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hamcache.heads.errors import MetricError
from hamcache.heads.metrics import Metric, get_metric
from hamcache.heads.scored import scored
from hamcache.pipeline.errors import PipelineError, RunError
from hamcache.pipeline.evaluate.compare import compare_runs, leaderboard
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.web.labels import HEADLINE

MOST_RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class Row:
    """One run in the leaderboard.

    Attributes:
        run: The run.
        anchor: Address of its details: the same each time the page is built.
        about: `head, features, dataset, policy, seed`.
        cohort: Position of its cohort in `Board.cohorts`.
        value, low, high: The chosen metric and its interval.
        objective: The metric on validation, by which runs are ordered.
        scores: All scores of the part.
        seconds: Of fitting.
        gap, gap_low, gap_high, p: The score less that of the cohort's best run, with Holm's correction; None for the
            best itself.
    """

    run: Run
    anchor: str
    about: dict[str, Any]
    cohort: int
    value: float
    low: float
    high: float
    objective: float
    scores: dict[str, float]
    seconds: float
    gap: float | None = None
    gap_low: float | None = None
    gap_high: float | None = None
    p: float | None = None

    @property
    def name(self) -> str:
        """Head and features in words."""
        return f"{self.about['head']} on {self.about['features']}"


@dataclass(frozen=True, eq=False)
class Cohort:
    """Runs that were scored on the same images, so that their scores can be compared.

    Attributes:
        dataset, policy, seed: Of its runs.
        images, lesions: Number of each in the part.
        classes: Their names, in code order.
        majority: The most frequent class of train.
        chance: Scores of always predicting it.
        best: The best run by validation.
        runs: How many there are.
    """

    dataset: str
    policy: str
    seed: int
    images: int
    lesions: int
    classes: tuple[str, ...]
    majority: str
    chance: dict[str, float]
    best: Row
    runs: int

    @property
    def name(self) -> str:
        """Display name of the cohort."""
        return f"{self.dataset}, {self.policy}, seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Board:
    """All runs, the best by validation first, and what of them can be compared.

    Attributes:
        metric: Metric that they are ordered by.
        part: Where the scores come from.
        rows: One a run; where there are several data sets, those of the one with most runs come first.
        cohorts: The largest first.
        left_out: Runs that are not in it, and why.
    """

    metric: Metric
    part: str
    rows: list[Row]
    cohorts: list[Cohort]
    left_out: dict[str, str]

    @property
    def columns(self) -> list[str]:
        """Names of the scores beside the chosen metric."""
        return [name for name in HEADLINE if name != self.metric.name]

    def of(self, run_id: str) -> Row | None:
        """The row of a run, if it is here."""
        return next((row for row in self.rows if row.run.id == run_id), None)

    def in_cohort(self, cohort: Cohort) -> list[Row]:
        """The rows of one cohort, best first."""
        number = self.cohorts.index(cohort)
        return [row for row in self.rows if row.cohort == number]


def anchor(run_id: str) -> str:
    """Address of a run's details on the page, of plain letters whatever its name is."""
    return f"run-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def make_board(
    runs: Sequence[Run],
    metric: str,
    part: str = "validation",
    *,
    resamples: int = RESAMPLES,
    on_run: Callable[[int], None] | None = None,
) -> Board:
    """Score the runs, cohort by cohort.

    A run that cannot be read, was not scored on this part, or does not know this metric costs only itself.

    Args:
        runs: Any.
        metric: Metric that they are ordered by.
        part: `validation` or `test`.
        resamples: Resamples of the bootstraps.
        on_run: Takes the number of runs done.

    Raises:
        MetricError: None of them knows the metric.
        RunError: None of them can be shown; says why.
    """
    left_out: dict[str, str] = {}
    unknown: list[MetricError] = []
    cohorts: dict[str, list[Run]] = {}
    for run in runs:
        try:
            _check(run, metric, part)
            cohorts.setdefault(_images_key(run, part), []).append(run)
        except (PipelineError, OSError, ValueError, TypeError, KeyError) as error:
            left_out[run.id] = " ".join(str(error).split())
            unknown += [error] if isinstance(error, MetricError) else []
    if runs and len(unknown) == len(runs):
        raise unknown[0]
    if not cohorts:
        reasons = "; ".join(dict.fromkeys(left_out.values())) or "there is none"
        raise RunError(f"Expected a run with {metric} on {part}, got none of {len(runs)}: {reasons}")
    ordered = sorted(cohorts.values(), key=lambda some: (-len(some), some[0].id))
    known = next(get_metric(metric, some[0].classes) for some in ordered)
    rows: list[Row] = []
    found: list[Cohort] = []
    for number, some in enumerate(ordered):
        own = _rows(some, known, part, number, enough_resamples(resamples, len(some)))
        found.append(_cohort(own, part))
        rows += own
        if on_run:
            on_run(len(rows))
    datasets = list(dict.fromkeys(cohort.dataset for cohort in found))
    rows = sorted(_best_first(rows, known), key=lambda row: datasets.index(found[row.cohort].dataset))
    return Board(known, part, rows, found, left_out)


def enough_resamples(resamples: int, runs: int) -> int:
    """So many resamples that Holm's correction for this many runs leaves p-values below 0.05 possible.

    The least p-value of a bootstrap is 2 / (resamples + 1), and the correction multiplies it by the number of others.
    """
    return max(resamples, min(80 * (runs - 1), MOST_RESAMPLES))


def _check(run: Run, metric: str, part: str) -> None:
    """Read all that the page needs of a run, so that what is broken shows here."""
    get_metric(metric, run.classes)
    for name in (part, "train", "validation"):
        run.part(name)
        scored(run.labels(name), run.probabilities(name))
    for name in (part, "validation"):
        if metric not in run.metrics[name]:
            raise RunError(f"run {run.id} has no {metric} on {name}")
    _ = run.config, run.history


def _images_key(run: Run, part: str) -> str:
    """The same for runs whose part has the same images, labels, lesions and classes."""
    rows = run.part(part)[["image_id", "label", "group"]].to_numpy().tolist()
    return hashlib.sha256(repr((run.classes, rows)).encode()).hexdigest()


def _best_first(rows: list[Row], metric: Metric) -> list[Row]:
    return sorted(rows, key=lambda row: (-metric.gain(row.objective), row.run.id))


def _rows(runs: list[Run], metric: Metric, part: str, number: int, resamples: int) -> list[Row]:
    """The rows of one cohort, best first."""
    order = {run.id: run.metrics["validation"].get(metric.name, np.nan) for run in runs}
    best = max(runs, key=lambda run: metric.gain(order[run.id]))
    gaps: dict[str, dict[str, float]] = {}
    if len(runs) > 1:
        found = compare_runs(runs, metric.name, part, reference=best.id, resamples=resamples)
        pairs = found.pairs.rename(columns={"difference": "gap", "low": "gap_low", "high": "gap_high", "p_holm": "p_"})
        for pair in pairs.to_dict("records"):
            gaps[pair["run"]] = {key: pair[key] for key in ("gap", "gap_low", "gap_high")} | {"p": pair["p_"]}
        intervals = {row["run"]: (row["low"], row["high"]) for row in found.scores.to_dict("records")}
    else:
        (scores,) = leaderboard(runs, [metric.name], part, resamples=resamples).head(1).to_dict("records")
        intervals = {best.id: (scores["low"], scores["high"])}
    rows = []
    for run in runs:
        low, high = intervals[run.id]
        rows.append(
            Row(
                run=run,
                anchor=anchor(run.id),
                about=_about(run),
                cohort=number,
                value=run.metrics[part][metric.name],
                low=low,
                high=high,
                objective=order[run.id],
                scores=run.metrics[part],
                seconds=_seconds(run),
                **gaps.get(run.id, {}),
            )
        )
    return _best_first(rows, metric)


def _about(run: Run) -> dict[str, Any]:
    empty = {"head": "", "features": "", "dataset": "", "policy": "", "seed": 0}
    return empty | run.provenance.get("summary", {})


def _seconds(run: Run) -> float:
    return float(run.provenance.get("seconds", {}).get("fit", np.nan))


def _cohort(rows: list[Row], part: str) -> Cohort:
    best = rows[0]
    images = best.run.part(part)
    train = np.bincount(best.run.labels("train"), minlength=len(best.run.classes))
    return Cohort(
        dataset=str(best.about["dataset"]),
        policy=str(best.about["policy"]),
        seed=int(best.about["seed"]),
        images=len(images),
        lesions=images["group"].nunique(),
        classes=best.run.classes,
        majority=best.run.classes[int(train.argmax())],
        chance=best.run.baseline(part),
        best=best,
        runs=len(rows),
    )
