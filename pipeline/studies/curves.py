"""Learning curves: scores of heads and feature sets by the number of labelled images, over seeds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ConfigError
from hamcache.pipeline.evaluate.intervals import LEVEL
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.studies.experiments import Experiment, Outcome, Template, plan

SHARES = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Amount:
    """The part of the training images that are labelled: a share of them, or so many lesions of each class."""

    share: float | None = None
    shots: int | None = None

    @property
    def settings(self) -> dict[str, float | int | None]:
        """As settings of a configuration; all of train is what it is without any."""
        return {"split.train_share": None if self.share == 1 else self.share, "split.shots": self.shots}

    def __str__(self) -> str:
        return f"{100 * self.share:g} %" if self.share is not None else f"{self.shots} a class"


@dataclass(frozen=True)
class Point:
    """One experiment of a curve; `features` as they were asked for."""

    amount: Amount
    seed: int
    features: str
    experiment: Experiment


def plan_curve(
    features: Sequence[str],
    heads: Sequence[str],
    amounts: Sequence[Amount],
    template: Template = Template(),  # noqa: B008 (frozen)
    *,
    seeds: int = 3,
    augmentation: str = "none",
    views: int = 1,
) -> list[Point]:
    """Every head on every feature set with every amount of labels, and so many seeds from the template's on.

    With a seed, fewer labels are part of more; the test part is the same for all.

    Raises:
        UnknownHeadError, ConfigError: See `studies.experiments.plan`; an amount that is listed twice.
    """
    if not amounts or len(set(amounts)) < len(amounts):
        raise ConfigError(f"labels: expected amounts that differ, got {', '.join(map(str, amounts)) or 'none'}")
    (first, *_) = plan(features, heads, template, augmentation=augmentation, views=views)
    points = []
    for amount in amounts:
        for seed in range(first.config.seed, first.config.seed + seeds):
            settings = {**template.settings, **amount.settings, "seed": seed}
            of_seed = replace(template, settings=settings)
            planned = plan(features, heads, of_seed, augmentation=augmentation, views=views)
            words = f"{amount}, seed {seed}"
            points += [
                Point(amount, seed, each.features, replace(each, features=f"{each.features}, {words}"))
                for each in planned
            ]
    return points


@dataclass(frozen=True)
class Curve:
    """The scores of a plan.

    Attributes:
        points: What `plan_curve` gave.
        outcomes: What `run_all` made of each.
    """

    points: Sequence[Point]
    outcomes: Sequence[Outcome]

    @property
    def metric(self) -> str:
        """The experiments' objective."""
        return self.points[0].experiment.config.objective

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.points[0].experiment.config.dataset_words.label

    @cached_property
    def parts(self) -> list[str]:
        """The parts that are scored; `test` where every run opened it."""
        return ["validation", "test"] if all("test" in run.metrics for run in self._runs.values()) else ["validation"]

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row a finished run: `head, features, labels, seed, images, part, score, run`."""
        rows = [
            (
                point.experiment.head,
                point.features,
                str(point.amount),
                point.seed,
                run.provenance["images"]["train"],
                part,
                run.metrics[part][self.metric],
                run.id,
            )
            for number, point in enumerate(self.points)
            if (run := self._runs.get(number)) is not None
            for part in self.parts
        ]
        return pd.DataFrame(rows, columns=["head", "features", "labels", "seed", "images", "part", "score", "run"])

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a head, feature set, amount of labels and part, in the order of the plan.

        `head, features, labels, images, seeds, part, metric, score, low, high`: means over the seeds, and the 95 %
        interval of the mean (Student's t), which one seed has not. Seeds draw the labelled images, validation and head.
        """
        keys = ["part", "head", "features", "labels"]
        grouped = self.scores.groupby(keys, sort=False)
        table = grouped.agg(images=("images", "mean"), seeds=("seed", "size"), score=("score", "mean")).reset_index()
        spread = grouped["score"].std(ddof=1).to_numpy()
        count = table["seeds"].to_numpy()
        reach = stats.t.ppf((1 + LEVEL) / 2, np.maximum(count - 1, 1)) * spread / np.sqrt(count)
        table = table.assign(metric=self.metric, low=table["score"] - reach, high=table["score"] + reach)
        table["images"] = table["images"].round().astype(int)
        return table[["head", "features", "labels", "images", "seeds", "part", "metric", "score", "low", "high"]]

    def chance(self, part: str) -> float:
        """Mean score of the majority class over the runs with most labels."""
        last = self.points[-1].amount
        runs = [run for number, run in self._runs.items() if self.points[number].amount == last]
        return float(np.mean([run.baseline(part)[self.metric] for run in runs])) if runs else float("nan")

    def default_path(self, workspace: Workspace) -> Path:
        """The CSV in the workspace; the same experiments always get the same one."""
        digests = sorted(point.experiment.config.digest for point in self.points)
        return workspace.curves / f"{self.dataset}-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:6]}.csv"

    @cached_property
    def _runs(self) -> dict[int, Run]:
        return {number: outcome.run for number, outcome in enumerate(self.outcomes) if outcome.run is not None}
