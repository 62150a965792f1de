"""`hamcache study`: a declared list of rows, chosen on validation, with what each of them cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.pipeline.cli import bundles, options, pictures
from hamcache.pipeline.cli.console import KEPT, interruptible, progress_bar, say, show_frame, warn
from hamcache.pipeline.cli.extraction import prepare
from hamcache.pipeline.cli.zoo import line_of, warn_of_failures
from hamcache.pipeline.studies.study.study_watcher import StudyWatcher

if TYPE_CHECKING:
    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.config.schema import ExperimentConfig
    from hamcache.pipeline.studies.experiments import Outcome
    from hamcache.pipeline.studies.study.row_experiments import RowExperiments
    from hamcache.pipeline.studies.study.study_run import StudyResult
    from hamcache.pipeline.studies.study.study_table import StudyTable

CHOSEN = "Candidates are chosen by this score, which is therefore a little too good, and the best of rows by the mean."
SECONDS = (
    "Processor seconds. extraction: all features that the row and its search read, each once; share: those of its own "
    "features, divided by the experiments that read them; training: one run; search: all that was tried, and that of "
    "rows it is based on; one more: the mean of what was tried."
)


def study(
    name: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a packaged study.")],
    settings: bundles.Experiments,
    running: bundles.Study,
    workspace: bundles.FullWorkspace,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Seeds that each score is the mean of (default: the study's).")
    ] = None,
    out: Annotated[Path | None, options.out("Folder of tables and pictures (default: in WORKSPACE/studies).")] = None,
) -> None:
    """Run the rows of a study, choose on validation, and show scores beside costs. Nothing finished is run again.

    Packaged studies: small, frozen, nets, founding. With --test the test set is opened for all rows at the end; from
    then on the study cannot change. With --extract the cost of features that were made without an account of it is
    measured on a few images.
    """
    from hamcache.pipeline.studies.study.row_experiments import load_study

    experiments = load_study(name, settings, repeats)
    result = _run(experiments, workspace, running)
    table = _table(result, workspace, running.extract)
    if running.plots:
        pictures.draw_pictures(result.runs(), running.workers)
    from hamcache.pipeline.studies.study.study_run import study_folder

    folder = out or study_folder(experiments, workspace)
    written = _write(table, folder, workspace)
    _show(table)
    say(f"Wrote {', '.join(written)} in {folder}")
    if result.failed:
        raise typer.Exit(1)


class _Screen(StudyWatcher):
    """Shows a study under way: extracts what lacks, a line an experiment, a bar for all and one for a net."""

    advance: Callable[[int, int | None], None]

    def __init__(self, workspace: Workspace, running: bundles.Running) -> None:
        self._workspace, self._running = workspace, running
        self._done, self._prepared = 0, set[str]()

    def prepare(self, configs: Sequence[ExperimentConfig]) -> None:
        """Extract the features that the cache lacks, if that is asked for; those of one choice once."""
        asked = {config.features.model_dump_json() + config.split.model_dump_json(): config for config in configs}
        new = [config for key, config in asked.items() if key not in self._prepared]
        if new:
            prepare(new, self._workspace, self._running)
            self._prepared |= asked.keys()

    def ended(self, row: str, outcome: Outcome) -> None:
        """A line."""
        self._done += 1
        say(f"{row}: {line_of(outcome)}")
        self.advance(self._done, None)

    def said(self, line: str) -> None:
        """A line of a net's or a sweep's log."""
        say(line)


def _run(experiments: RowExperiments, workspace: Workspace, running: bundles.Running) -> StudyResult:
    from hamcache.pipeline.studies.study.study_run import run_study

    screen, count = _Screen(workspace, running), experiments.count(running.test)
    with interruptible(KEPT):
        screen.prepare(experiments.foreseen())
        with progress_bar("experiments", count, "experiments") as screen.advance:
            return run_study(experiments, workspace, test=running.test, workers=running.workers, watcher=screen)


def _table(result: StudyResult, workspace: Workspace, extract: bool) -> StudyTable:
    """The table of a study; a cost that is not on record is measured, or told to be unknown."""
    from hamcache.pipeline.studies.study.study_costs import costs_of, measure
    from hamcache.pipeline.studies.study.study_table import StudyTable

    costs = costs_of(result, workspace)
    if costs.unknown and extract:
        costs = measure(costs, lambda store: say(f"measuring what {store} costs, on a few images"))
    if costs.unknown:
        names = ", ".join(costs.names[folder] for folder in costs.unknown)
        warn(f"What the extraction of {names} cost is not on record; --extract measures it on a few images.")
    return StudyTable(costs)


def _write(table: StudyTable, folder: Path, workspace: Workspace) -> list[str]:
    """Write the tables and pictures of a study; returns their names."""
    from hamcache.data.files import write_csv, write_json
    from hamcache.pipeline.show.plots.study import draw_study

    write_json(folder / "study.json", table.record())
    write_csv(folder / "study.csv", table.frame)
    write_csv(folder / "comparisons.csv", table.pairs)
    names = ["study.json", "study.csv", "comparisons.csv"]
    if len(table.curve):
        write_csv(folder / "labels.csv", table.curve)
        names.append("labels.csv")
    return [*names, *draw_study(table, folder, workspace)]


def _show(table: StudyTable) -> None:
    from hamcache.pipeline.studies.study.study_table import columns_for_people, costs_for_people

    result = table.result
    study, first = result.experiments.study, result.experiments.first
    for part in result.parts:
        show_frame(
            f"Study {study.name}, {first.dataset_words.label}, {first.split.words}: scores on {part}",
            columns_for_people(table, part),
            f"{table.objective} with its 95 % bootstrap interval over lesions (seed {first.seed}), mean and standard "
            f"deviation over seeds; p_holm: difference to {study.base!r}, paired, Holm's correction. "
            + (CHOSEN if part == "validation" else "Nothing was chosen by these scores."),
        )
    show_frame("What it cost", costs_for_people(table), SECONDS)
    _, adds = table.adds
    if len(adds):
        show_frame("What each backbone adds to the hybrid, on validation", adds.drop(columns="part"))
    if len(table.curve):
        shown = table.curve.rename(columns={"features": "row"})
        show_frame(
            "Fewer labels: scores on validation",
            shown[["row", "labels", "images", "seeds", "score", "low", "high"]],
            "Means over seeds with their 95 % interval; each row as it was chosen on all labels.",
        )
    if result.curve is not None:
        warn_of_failures(result.curve.outcomes)
    for row in result.rows:
        for failure in row.failures:
            warn(f"{row.name}: FAILED: {failure}")
