"""Run a study: rows in the order of their needs, choices on validation, the seeds of what was chosen, and the test set
once, at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hamcache.data.documents import parse_json, read_file
from hamcache.data.files import write_json
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import HeadError
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import ConfigError, PipelineError, RunError, StudyError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.runs.run_index import find_run
from hamcache.pipeline.studies.curves import Curve
from hamcache.pipeline.studies.experiments import Experiment, Outcome, run_all
from hamcache.pipeline.studies.study.row_experiments import RowExperiments, differences, networks_named
from hamcache.pipeline.studies.study.study_config import RowConfig
from hamcache.pipeline.studies.study.study_labels import label_points
from hamcache.pipeline.studies.study.study_watcher import StudyWatcher

if TYPE_CHECKING:
    from hamcache.pipeline.studies.sweeps.results import Sweep

OPENED = "opened.json"


@dataclass(frozen=True, eq=False)
class RowResult:
    """Outcome of a row.

    Attributes:
        row: The row.
        config: The experiment that was chosen; None where the row failed.
        outcomes: Its runs, one a seed; the first is that of the seed that choices are made with.
        tried: The experiments of which it was chosen.
        of: The row that a `best_of` is.
        choice: Number of the candidate that was chosen, from 0.
        sweep: The sweep that it is the best of.
        failures: The reason of each experiment that failed.
    """

    row: RowConfig
    config: ExperimentConfig | None = None
    outcomes: tuple[Outcome, ...] = ()
    tried: tuple[Run, ...] = ()
    of: str | None = None
    choice: int = 0
    sweep: Sweep | None = None
    failures: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The row's name."""
        return self.row.name

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs among the outcomes, which are all that have one."""
        return tuple(outcome.run for outcome in self.outcomes if outcome.run is not None)

    def mean(self, metric: str, part: str, count: int | None = None) -> float:
        """Mean score of its first runs; NaN where one lacks it."""
        return float(np.mean([run.metrics[part].get(metric, np.nan) for run in self.runs[:count]]))


@dataclass(frozen=True, eq=False)
class StudyResult:
    """A study that was run.

    Attributes:
        experiments: What was asked for.
        rows: What became of each row, in the order of the study.
        opened: When the test set was opened; None: it is closed.
        curve: Scores on validation by the number of labels, where the study asks for it.
    """

    experiments: RowExperiments
    rows: tuple[RowResult, ...]
    opened: str | None = None
    curve: Curve | None = None

    @property
    def finished(self) -> list[RowResult]:
        """The rows that have a run."""
        return [row for row in self.rows if row.runs]

    @property
    def failed(self) -> list[RowResult]:
        """The rows without one."""
        return [row for row in self.rows if not row.runs]

    @property
    def objective(self) -> str:
        """The metric that choices were made by."""
        return self.experiments.first.objective

    @property
    def parts(self) -> list[str]:
        """The parts that are scored."""
        return ["validation", "test"] if self.opened else ["validation"]

    def runs(self) -> list[Run]:
        """All runs of all rows, each once."""
        runs = [run for row in self.rows for run in (*row.runs, *row.tried)]
        return list({run.id: run for run in runs}.values())


def study_folder(experiments: RowExperiments, workspace: Workspace) -> Path:
    """The folder of a study on its data set."""
    label = experiments.first.dataset_words.label
    return workspace.studies / f"{experiments.study.name}-{label}"


def run_study(
    experiments: RowExperiments,
    workspace: Workspace,
    *,
    test: bool = False,
    workers: int | None = None,
    watcher: StudyWatcher | None = None,
) -> StudyResult:
    """Run the rows of a study; every experiment that is finished is found, not run again.

    Args:
        experiments: What `load_study` gave.
        workspace: Holds `features/`, `runs/` and `sweeps/`.
        test: Open the test set of all rows, once they are all finished. From then on the study cannot change.
        workers: Heads at a time; None: one per core, limited by free memory.
        watcher: Is told of all that happens.

    Raises:
        MissingFeaturesError: The cache lacks features; names the commands that make them.
        StudyError: No row could be finished; or the test set was opened for other rows, or not all are finished.
    """
    memory = study_folder(experiments, workspace) / OPENED
    opened = _opened(memory, experiments)
    running = _Running(experiments, workspace, workers, watcher or StudyWatcher())
    result = StudyResult(experiments, running.all_rows())
    if not result.finished:
        first = result.failed[0]
        raise StudyError(
            f"Expected at least one row to be finished, but all {len(result.rows)} failed; {first.name!r}: "
            f"{first.failures[0]}. Correct what the message says, and give the same command again."
        )
    if not test and opened is None:
        return replace(result, curve=running.curve())
    if failed := result.failed:
        raise StudyError(
            f"Expected all rows to be finished before the test set is opened, but {len(failed)} failed "
            f"({', '.join(row.name for row in failed)}): {failed[0].failures[0]}. Correct them or leave them out."
        )
    if opened is None:
        opened = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(memory, {"study": experiments.study.digest, "opened": opened})
    return StudyResult(experiments, running.opened_rows(result.rows), opened, running.curve())


def _opened(memory: Path, experiments: RowExperiments) -> str | None:
    """Time at which the test set was opened for these rows; None: it was not."""
    if not memory.exists():
        return None
    name = experiments.study.name
    try:
        content = parse_json(read_file(memory).decode("utf-8"))
        digest, opened = str(content["study"]), str(content["opened"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"Expected to read in {memory} for which rows the test set was opened, but it is damaged ({error}). "
            "Give the study another name."
        ) from error
    if digest != experiments.study.digest:
        raise StudyError(
            f"Expected study {name!r} as it was when its test set was opened ({opened}), got other rows or settings: "
            "test scores must choose nothing any more. Give the changed study another name."
        )
    return opened


@dataclass(eq=False)
class _Running:
    """A study under way."""

    experiments: RowExperiments
    workspace: Workspace
    workers: int | None
    watcher: StudyWatcher
    results: dict[str, RowResult] = field(default_factory=dict)

    def all_rows(self) -> tuple[RowResult, ...]:
        """Run the rows, those together that need no other that is not finished; networks when all else is done."""
        waiting, foreseen = list(self.experiments.study.rows), self.experiments.provisional
        while waiting:
            able = [row for row in waiting if all(need in self.results for need in row.needs)]
            ready = [row for row in able if foreseen[row.name].net is None] or able
            waiting = [row for row in waiting if row not in ready]
            self._chosen([row for row in ready if not row.best_of])
            for row in ready:
                if row.best_of:
                    self.results[row.name] = self._best_of(row)
        return tuple(self.results[row.name] for row in self.experiments.study.rows)

    def opened_rows(self, rows: Sequence[RowResult]) -> tuple[RowResult, ...]:
        """The rows with their runs on the test set."""
        closed = {each.experiment.config.digest: (row.name, each) for row in rows for each in row.outcomes}
        asked = [(f"{name}, test set", each.experiment.config) for name, each in closed.values()]
        outcomes = self._attempt(asked, test=True)
        if reasons := [outcome.reason for outcome in outcomes if outcome.run is None]:
            raise StudyError(
                f"Expected the test scores of {len(outcomes)} runs, but {len(reasons)} failed: {reasons[0]}. "
                "Give the same command again."
            )
        opened = dict(zip(closed, outcomes, strict=True))
        return tuple(
            replace(row, outcomes=tuple(opened[each.experiment.config.digest] for each in row.outcomes)) for row in rows
        )

    def curve(self) -> Curve | None:
        """Some rows with fewer labels, scored on validation; None where the study does not ask for it."""
        if (labels := self.experiments.study.labels) is None:
            return None
        points = label_points(labels, self._configs())
        asked = [(f"{point.features}, {point.amount}, seed {point.seed}", point.experiment.config) for point in points]
        return Curve(points, self._attempt(asked))

    def _chosen(self, rows: Sequence[RowConfig]) -> None:
        """Choose the experiment of each of some rows, and run it with all seeds."""
        able: dict[str, list[ExperimentConfig]] = {}
        sweeps: dict[str, Sweep] = {}
        for row in rows:
            if broken := [need for need in row.needs if not self.results[need].runs]:
                self.results[row.name] = RowResult(row, failures=(f"row {broken[0]!r} failed",))
                continue
            try:
                if row.sweep is not None:
                    sweeps[row.name] = self._swept(row)
                    able[row.name] = [sweeps[row.name].best_config]
                else:
                    able[row.name] = self.experiments.candidates(row, self._configs())
            except (PipelineError, HeadError) as error:
                self.results[row.name] = RowResult(row, failures=(f"{type(error).__name__}: {error}",))
        asked = [(name, number, config) for name, configs in able.items() for number, config in enumerate(configs)]
        outcomes = self._attempt(
            [(self._words(name, number), self._named(name, config, 0)) for name, number, config in asked]
        )
        for row in rows:
            if row.name not in able:
                continue
            own = [outcome for (name, *_), outcome in zip(asked, outcomes, strict=True) if name == row.name]
            self.results[row.name] = _best(row, able[row.name], own, sweeps.get(row.name))
        further = [
            (row.name, f"seed {seed}", self._named(row.name, config.model_copy(update={"seed": seed}), number))
            for row in rows
            if (config := self.results[row.name].config) is not None
            for number, seed in enumerate(self.experiments.seeds(row))
            if number
        ]
        outcomes = self._attempt([(f"{name}, {words}", config) for name, words, config in further])
        for (name, *_), outcome in zip(further, outcomes, strict=True):
            result = self.results[name]
            if outcome.run is not None:
                self.results[name] = replace(result, outcomes=(*result.outcomes, outcome))
            else:
                self.results[name] = replace(result, failures=(*result.failures, outcome.reason))

    def _words(self, name: str, number: int) -> str:
        """A row and its candidate."""
        return ", ".join(filter(None, (name, differences(self.experiments.study.row(name).candidates, number))))

    def _configs(self) -> dict[str, ExperimentConfig]:
        return {name: result.config for name, result in self.results.items() if result.config is not None}

    def _named(self, name: str, config: ExperimentConfig, number: int) -> ExperimentConfig:
        """The experiment with the networks of other rows called by their runs of the same seed."""
        ids = {}
        for need in self.experiments.study.row(name).networks:
            runs = self.results[need].runs
            if number >= len(runs):
                raise ConfigError(
                    f"row {name!r}: expected no more repeats than row {need!r} has, whose networks give its features, "
                    f"got more than {len(runs)}; set repeats"
                )
            # The features are called by the run that came first: opening the test set makes another.
            fingerprint = str(runs[number].provenance["fingerprint"])
            ids[need] = (find_run(self.workspace, fingerprint, first=True) or runs[number]).id
        return networks_named(config, ids)

    def _best_of(self, row: RowConfig) -> RowResult:
        rows = [self.results[name] for name in row.best_of if self.results[name].runs]
        if not rows:
            return RowResult(row, failures=(f"row {row.best_of[0]!r} failed",))
        metric, count = METRICS[self.experiments.first.objective], min(len(result.runs) for result in rows)
        best = max(rows, key=lambda result: metric.gain(result.mean(metric.name, "validation", count)))
        tried = tuple({run.id: run for result in rows for run in result.tried}.values())
        return replace(best, row=row, of=best.name, tried=tried, failures=())

    def _swept(self, row: RowConfig) -> Sweep:
        """The sweep of a row, run to its end."""
        from hamcache.pipeline.studies.sweeps.sweep_config import structures

        settings = self.experiments.sweep(row)
        self.watcher.prepare(list(structures(settings)))
        from hamcache.pipeline.studies.study.row_sweeps import swept  # imports Ray

        return swept(row.name, settings, self.workspace, self.workers, self.watcher.said)

    def _attempt(self, asked: Sequence[tuple[str, ExperimentConfig]], *, test: bool = False) -> list[Outcome]:
        """Run experiments, each with the words of the row that asks for it: heads in parallel, nets one by one."""
        if not asked:
            return []
        self.watcher.prepare([config for _, config in asked])
        rows: dict[str, list[str]] = {}
        for name, config in asked:
            rows.setdefault(config.digest, []).append(name)
        configs = {config.digest: config for _, config in asked}

        def ended(outcome: Outcome) -> None:
            outcomes[outcome.experiment.config.digest] = outcome
            for name in rows[outcome.experiment.config.digest]:
                self.watcher.ended(name, outcome)

        outcomes: dict[str, Outcome] = {}
        heads = [_experiment(config) for config in configs.values() if config.net is None]
        if heads:
            run_all(
                heads,
                self.workspace,
                test=test,
                workers=self.workers,
                apart=True,
                must_finish=False,
                on_outcome=ended,
            )
        for config in configs.values():
            if config.net is not None:
                ended(self._net(config, test))
        return [outcomes[config.digest] for _, config in asked]

    def _net(self, config: ExperimentConfig, test: bool) -> Outcome:
        watcher = self.watcher
        try:
            run = run_experiment(config, self.workspace, test=test, on_progress=watcher.said, on_batch=watcher.batch)
        except (HeadError, RunError) as error:
            return Outcome(_experiment(config), None, error)
        return Outcome(_experiment(config), run)


def _experiment(config: ExperimentConfig) -> Experiment:
    features = "+".join(block.backbone for block in config.features.blocks)
    return Experiment(config.model_name, features if config.net is None else "images", config)


def _best(
    row: RowConfig, configs: Sequence[ExperimentConfig], outcomes: Sequence[Outcome], sweep: Sweep | None
) -> RowResult:
    """The best of a row's candidates on validation; of equal ones the first."""
    tried = {number: outcome.run for number, outcome in enumerate(outcomes) if outcome.run is not None}
    failures = tuple(outcome.reason for outcome in outcomes if outcome.run is None)
    if not tried:
        return RowResult(row, sweep=sweep, failures=failures)
    metric = METRICS[configs[0].objective]
    gains = {number: metric.gain(run.metrics["validation"][metric.name]) for number, run in tried.items()}
    choice = max(gains, key=lambda number: (gains[number], -number))
    runs = tuple(tried.values())
    return RowResult(row, configs[choice], (outcomes[choice],), runs, None, choice, sweep, failures)
