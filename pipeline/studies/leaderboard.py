"""The leaderboard of many experiments: scores of their runs, best first, the majority-class baseline last."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hamcache.configs.defaults import RESAMPLES, SCORES
from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.compare import leaderboard
from hamcache.pipeline.runs.records import Run, short_features

if TYPE_CHECKING:
    from hamcache.pipeline.studies.experiments import Outcome


@dataclass(frozen=True)
class Leaderboard:
    """The outcomes of a plan as one table.

    Attributes:
        outcomes: As `run_all` gave them; at least one has a run.
    """

    outcomes: Sequence[Outcome]

    @property
    def metric(self) -> str:
        """The experiments' objective, which the table is ordered by."""
        return self.outcomes[0].experiment.config.objective

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a run, best first, then the baseline: `run, head, features, <metrics>, low, high, seconds, ...`."""
        runs = [outcome.run for outcome in self.outcomes if outcome.run is not None]
        return zoo_leaderboard(runs, list(dict.fromkeys((self.metric, *SCORES))))

    @property
    def chance(self) -> float:
        """The baseline's score."""
        return float(self.frame[self.metric].iloc[-1])

    @cached_property
    def by_name(self) -> pd.DataFrame:
        """The runs without the baseline, feature sets named in few letters where those tell them apart."""
        made = [(outcome.run.id, outcome.experiment) for outcome in self.outcomes if outcome.run is not None]
        full = {run_id: experiment.features for run_id, experiment in made}
        short = {run_id: short_features(experiment.config, most=80) for run_id, experiment in made}
        names = short if len(set(short.values())) == len(set(full.values())) else full
        return self.frame.iloc[:-1].assign(features=self.frame["run"].map(names).iloc[:-1])

    @cached_property
    def for_people(self) -> pd.DataFrame:
        """The columns to be shown, the objective with its interval first, and the baseline in words."""
        first = [self.metric, "low", "high"]
        scores = [name for name in self.frame.columns if name.removeprefix("test_") in (*first, *SCORES)]
        rows = pd.concat([self.by_name, self.frame.iloc[[-1]].assign(head="majority class")])
        return rows[["head", "features", *first, *(name for name in scores if name not in first), "seconds"]]

    @property
    def title(self) -> str:
        """The heads, data set, split, seed and views that the experiments have in common."""
        experiments = [outcome.experiment for outcome in self.outcomes]
        config = experiments[0].config
        kinds = dict.fromkeys(
            f"{block.augmentation} x{block.views}"
            for each in experiments
            for block in each.config.features.blocks
            if not block.is_metadata
        )
        heads = sorted({each.head for each in experiments})
        who = heads[0] if len(heads) == 1 else f"{len(heads)} heads"
        views = f", views {', '.join(kinds)}" if kinds else ""
        return f"{who}, {self._dataset}, {config.split.words}, seed {config.seed}{views}"

    def default_path(self, workspace: Workspace, folder: str) -> Path:
        """The CSV in a folder of the workspace; the same experiments always get the same one."""
        experiments = [outcome.experiment for outcome in self.outcomes]
        digest = hashlib.sha256("".join(sorted(each.config.digest for each in experiments)).encode()).hexdigest()
        counts = f"{len({each.head for each in experiments})}x{len({each.features for each in experiments})}"
        return workspace / folder / f"{self._dataset}-{counts}-{digest[:6]}.csv"

    @property
    def _dataset(self) -> str:
        return self.outcomes[0].experiment.config.dataset_words.label


def zoo_leaderboard(runs: Sequence[Run], metrics: Sequence[str], resamples: int = RESAMPLES) -> pd.DataFrame:
    """`evaluate.compare.leaderboard` on validation; where the test set was opened, `test_<metric>`, `test_low`, ...

    The order is that of validation: the test set must not choose.
    """
    board = leaderboard(runs, metrics, "validation", resamples=resamples)
    if runs and all("test" in run.metrics for run in runs):
        on_test = leaderboard(runs, metrics, "test", resamples=resamples).set_index("run")
        columns = [*metrics, "low", "high"]
        board = board.join(on_test[columns].add_prefix("test_"), on="run")
    return board
