"""`hamcache zoo` and `hamcache hybrids`: many heads, or many hybrids, into one leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from hamcache.configs.defaults import AUGMENTATION, VIEWS
from hamcache.pipeline.cli import bundles, options, pictures
from hamcache.pipeline.cli.console import KEPT, interruptible, progress_bar, say, show_frame, warn
from hamcache.pipeline.cli.extraction import prepare

if TYPE_CHECKING:
    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.studies.experiments import Experiment, Outcome
    from hamcache.pipeline.studies.leaderboard import Leaderboard


def zoo(
    settings: bundles.Experiments,
    running: bundles.Study,
    workspace: bundles.FullWorkspace,
    features: options.Features = None,
    heads: options.Heads = None,
    config: options.Config = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    out: Annotated[Path | None, options.out("The leaderboard (default: in WORKSPACE/zoo); a PNG beside.")] = None,
) -> None:
    """Train every head on every feature set, in parallel, into one leaderboard; finished heads are not run again.

    Without --features: those of --config; without --heads: all there are.
    """
    from hamcache.data.files import write_csv
    from hamcache.pipeline.studies.experiments import Template, plan

    template, names = Template(config, settings), options.listed(heads)
    experiments = plan(options.listed(features), names, template, augmentation=augmentation, views=views)
    outcomes = run_behind_bar(experiments, workspace, running)
    from hamcache.pipeline.show.plots.boards import plot_zoo
    from hamcache.pipeline.studies.leaderboard import Leaderboard

    board = Leaderboard(outcomes)
    target = out or board.default_path(workspace, "zoo")
    picture = target.with_suffix(".png")
    write_csv(target, board.frame)
    plot_zoo(board.by_name, board.metric, board.chance, picture, board.title)
    _show(board)
    say(f"Wrote {target} and {picture.name}")


def hybrids(
    settings: bundles.Experiments,
    running: bundles.Study,
    workspace: bundles.FullWorkspace,
    backbones: options.Backbones,
    head: options.Head = None,
    config: options.Config = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    out: Annotated[
        Path | None, options.out("The scores (default: in WORKSPACE/hybrids); the rest lies beside.")
    ] = None,
) -> None:
    """Score every subset of some backbones with one head, and show what each backbone adds to the whole."""
    from hamcache.data.files import write_csv
    from hamcache.pipeline.studies.experiments import Template, plan
    from hamcache.pipeline.studies.hybrids import subsets, what_each_adds

    names = options.listed(backbones)
    template = Template(config, settings)
    experiments = plan(subsets(names), [head or template.head], template, augmentation=augmentation, views=views)
    outcomes = run_behind_bar(experiments, workspace, running)
    import pandas as pd

    from hamcache.pipeline.show.plots.boards import plot_hybrids
    from hamcache.pipeline.studies.leaderboard import Leaderboard

    board = Leaderboard(outcomes)
    runs = {outcome.experiment.features: outcome.run for outcome in outcomes if outcome.run is not None}
    parts = ["validation", "test"] if running.test else ["validation"]
    adds = {part: what_each_adds(runs, names, board.metric, part) for part in parts}
    target = out or board.default_path(workspace, "hybrids")
    picture, beside = target.with_suffix(".png"), target.with_name(f"{target.stem}-adds.csv")
    write_csv(target, board.frame)
    write_csv(beside, pd.concat(adds.values()))
    plot_hybrids(board.by_name, adds["validation"], board.metric, board.chance, picture, board.title)
    _show(board)
    for part, frame in adds.items():
        show_frame(
            f"What each backbone adds to {'+'.join(names)}: {board.metric} on {part}",
            frame.drop(columns="part"),
            "The full hybrid's score less that without the backbone; paired bootstrap over lesions, 95 %; "
            "p_holm is corrected for the number of backbones.",
        )
    say(f"Wrote {target}, {beside.name} and {picture.name}")


def run_behind_bar(
    experiments: list[Experiment], workspace: Workspace, running: bundles.Running, *, apart: bool = False
) -> list[Outcome]:
    """Run experiments behind a bar, a line each, and draw them; `apart`: see `studies.experiments.run_all`."""
    from hamcache.pipeline.studies.experiments import run_all

    done = 0
    with interruptible(KEPT):
        prepare([experiment.config for experiment in experiments], workspace, running)
        with progress_bar("training", len(experiments), "heads") as advance_to:

            def tell(outcome: Outcome) -> None:
                nonlocal done
                done += 1
                say(line_of(outcome))
                advance_to(done, None)

            outcomes = run_all(
                experiments, workspace, on_outcome=tell, test=running.test, workers=running.workers, apart=apart
            )
        if running.plots:
            pictures.draw_pictures(pictures.runs_of(outcomes), running.workers)
    return outcomes


def line_of(outcome: Outcome) -> str:
    """One line on what became of an experiment."""
    one, run = outcome.experiment, outcome.run
    if run is None:
        return f"{one.head} on {one.features}: FAILED: {outcome.reason}"
    score = f"{one.config.objective} {run.metrics['validation'][one.config.objective]:.3f}"
    return f"{one.head} on {one.features}: {score}, " + (
        "found finished" if outcome.reused else f"{run.provenance['seconds']['total']:.1f} s"
    )


def warn_of_failures(outcomes: Sequence[Outcome]) -> int:
    """Print the experiments that failed again, after all that went well; returns their number."""
    failed = [outcome for outcome in outcomes if outcome.run is None]
    for outcome in failed:
        warn(line_of(outcome))
    return len(failed)


def _show(board: Leaderboard) -> None:
    show_frame(
        f"{board.title}: scores on validation",
        board.for_people,
        f"low, high: 95 % bootstrap interval of {board.metric} over lesions; seconds: of fitting.",
    )
    if failed := warn_of_failures(board.outcomes):
        say(f"{failed} of {len(board.outcomes)} failed; `hamcache train` runs one of them with its whole log.")
