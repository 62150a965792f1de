"""The results of a lab: its runs, their scores beside each other, and predictors made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hamcache.configs.defaults import SCORES
from hamcache.data.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from hamcache.pipeline.evaluate.compare import Comparison
    from hamcache.pipeline.runs.records import Run
    from hamcache.pipeline.use.predict.predictor import Predictor


class LabResults:
    """The part of a `Lab` that looks at what its experiments gave.

    Attributes:
        workspace: Where the runs lie.
    """

    workspace: Workspace

    def run(self, run: str) -> Run:
        """The run with this id, or with an id that begins like this."""
        from hamcache.pipeline.runs.records import load_run

        return load_run(run, self.workspace)

    def predictor(self, run: Run | str, **options: Any) -> Predictor:
        """A finished run, ready to be asked about images: `lab.predictor(run).predict(["photos/*.jpg"])`.

        Takes the options of `use.predict.predictor.Predictor`.
        """
        from hamcache.pipeline.use.predict.predictor import Predictor

        (loaded,) = self._loaded([run])
        return Predictor(loaded, self.workspace, **options)

    def leaderboard(self, *runs: Run | str, metrics: Sequence[str] = SCORES, part: str = "validation") -> pd.DataFrame:
        """Scores of runs, the best first, with an interval of the first metric; last the majority-class baseline."""
        from hamcache.pipeline.evaluate.compare import leaderboard

        return leaderboard(self._loaded(runs), metrics, part)

    def compare(
        self, *runs: Run | str, metric: str = "mcc", part: str | None = None, reference: Run | str | None = None
    ) -> Comparison:
        """Differences between runs on the same images, by a paired bootstrap over lesions (see `compare_runs`)."""
        from hamcache.pipeline.evaluate.compare import compare_runs

        base = None if reference is None else self._loaded([reference])[0].id
        return compare_runs(self._loaded(runs), metric, part, reference=base)

    def _loaded(self, runs: Sequence[Run | str]) -> list[Run]:
        return [self.run(run) if isinstance(run, str) else run for run in runs]
