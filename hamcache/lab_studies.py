"""Many experiments at once: a lab's zoo, sweeps and studies."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamcache.data.workspace import Workspace

if TYPE_CHECKING:
    from hamcache.pipeline.runs.records import Run
    from hamcache.pipeline.studies.study.study_table import StudyTable
    from hamcache.pipeline.studies.sweeps.results import Sweep


class LabStudies:
    """The part of a `Lab` that runs more than one experiment.

    Attributes:
        workspace: Where everything lies.
        plots: Draw the pictures of each run.
    """

    workspace: Workspace
    plots: bool

    @abstractmethod
    def _chosen(
        self, seed: int | None, features: str | None = None, augmentation: str = "none", views: int = 1
    ) -> dict[str, Any]:
        """The arguments as settings, by the fields of the configuration."""

    def zoo(
        self,
        features: Sequence[str],
        heads: Sequence[str] = (),
        augmentation: str = "none",
        views: int = 1,
        *,
        config: str | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Run]:
        """Train every head (default: all there are) on every set of features, in parallel.

        Args:
            features: Sets of features, each as in `train`.
            heads: Names of heads.
            augmentation: Augmentation whose views are read.
            views: How many of each image.
            config: A YAML file, or the name of a packaged configuration, that gives all that the rest doesn't.
            seed: Seed of the split and of the heads.
            settings: Any fields of the configuration, for every head.
            options: Further arguments of `studies.experiments.run_all` (`test`, `workers`, ...).

        Returns:
            The runs: all heads on the first set of features, then on the next.

        Raises:
            Exception: What the first experiment that failed raised, after all have run; the finished ones are kept.
        """
        from hamcache.pipeline.cli.pictures import draw_pictures, runs_of
        from hamcache.pipeline.studies.experiments import Template, plan, run_all

        template = Template(config, {**self._chosen(seed), **(settings or {})})
        experiments = plan(features, heads, template, augmentation=augmentation, views=views)
        outcomes = run_all(experiments, self.workspace, **options)
        if self.plots:
            draw_pictures(runs_of(outcomes), options.get("workers"))
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return runs_of(outcomes)

    def sweep(
        self,
        features: str | None = None,
        augmentation: str = "none",
        views: int = 1,
        *,
        config: str | Path = "mlp",
        space: Mapping[str, Any] | None = None,
        samples: int | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Sweep:
        """Search the open values of an experiment by many short trials, judged on validation only.

        A sweep that was run is found, and one that was broken off, or gets more samples, goes on.

        Args:
            features: As in `train` (default: what the sweep's configuration says, which may search them).
            augmentation: Augmentation whose views are read.
            views: How many of each image.
            config: A YAML file, or the name of a packaged sweep.
            space: What is searched, instead of the configuration's space: `{"head.lr": {"loguniform": [1e-4, 1e-2]}}`.
            samples: Trials in all.
            seed: Seed of the search, and of the experiments in it.
            settings: Any fields of the experiment; what is set is not searched.
            options: Further arguments of `studies.sweeps.tuning.run_sweep` (`workers`, `watcher`, ...).
        """
        from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config
        from hamcache.pipeline.studies.sweeps.tuning import run_sweep

        fixed = {**self._chosen(seed, features, augmentation, views), **(settings or {})}
        changes = {"space": space, "samples": samples, "seed": seed}
        wanted = load_sweep_config(config, fixed, changes=changes)
        return run_sweep(wanted, self.workspace, **options)

    def finalize(self, sweep: Sweep) -> Run:
        """Train a sweep's best trial again as a run, and score it on the test set: once, at the very end."""
        from hamcache.pipeline.studies.sweeps.tuning import finalize

        return self._drawn(finalize(sweep, self.workspace))

    def study(
        self,
        study: str | Path,
        *,
        repeats: int | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> StudyTable:
        """Run the rows of a study on this data set; what is finished is found.

        >>> lab.study("small").frame[["name", "validation_mcc_mean", "one_more"]]  # doctest: +SKIP

        Args:
            study: A YAML file, or the name of a packaged study.
            repeats: Seeds that each score is the mean of (default: the study's).
            seed: The first of them.
            settings: Any fields of the experiments, for every row.
            options: Further arguments of `studies.study.study_run.run_study` (`test`, `workers`, `watcher`).

        Raises:
            MissingFeaturesError: The cache lacks features; names the commands that make them.
        """
        from hamcache.pipeline.studies.study.row_experiments import load_study
        from hamcache.pipeline.studies.study.study_costs import costs_of
        from hamcache.pipeline.studies.study.study_run import run_study
        from hamcache.pipeline.studies.study.study_table import StudyTable

        experiments = load_study(study, {**self._chosen(seed), **(settings or {})}, repeats)
        return StudyTable(costs_of(run_study(experiments, self.workspace, **options), self.workspace))

    def _drawn(self, run: Run) -> Run:
        from hamcache.pipeline.cli.pictures import draw_pictures

        if self.plots:
            draw_pictures([run])
        return run
