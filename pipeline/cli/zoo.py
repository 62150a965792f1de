"""`hamcache zoo` and `hamcache hybrids`: many heads, or many hybrids, into one leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.pipeline.cli import options

if TYPE_CHECKING:
    import pandas as pd

    from hamcache.data.workspace import Workspace
    from hamcache.pipeline.studies.experiments import Experiment, Outcome

METRICS = ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "accuracy")

Config = Annotated[
    str, typer.Option(help="A YAML file or a packaged configuration that gives all that the options don't.")
]
Settings = Annotated[
    list[str], typer.Option("--set", help="KEY=VALUE: any field, for every experiment.", metavar="KEY=VALUE")
]
Data = Annotated[str, typer.Option(help="As in `extract` (default: the configuration's).")]
Augmentation = Annotated[str, typer.Option(help="Of the features.")]
Views = Annotated[int, typer.Option(min=1, help="Of the features.")]
Seed = Annotated[int | None, typer.Option(min=0, help="The experiments' seed: train/validation split, heads.")]
Test = Annotated[bool, typer.Option("--test", help="Open the test set as well; the order stays that of validation.")]
Extract = Annotated[bool, typer.Option("--extract", help="First extract the features that the cache lacks.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, help="Heads at a time (default: one a core, as far as memory reaches).")
]


def zoo(
    features: Annotated[
        str, typer.Option(help="Feature sets separated by commas; + makes a hybrid.", metavar="A,B,A+B")
    ] = "",
    heads: Annotated[str, typer.Option(help="Heads separated by commas (default: all).")] = "",
    config: Config = "",
    set_: Settings = [],  # noqa: B006
    dataset: Data = "",
    augmentation: Augmentation = "none",
    views: Views = 1,
    seed: Seed = None,
    test: Test = False,
    extract: Extract = False,
    jobs: Jobs = None,
    plots: options.Plots = True,
    csv: Annotated[Path | None, typer.Option(help="The leaderboard (default: in WORKSPACE/zoo); a PNG beside.")] = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = [],  # noqa: B006
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Train every head on every feature set, in parallel, into one leaderboard; finished heads are not run again."""
    place = options.place(workspace, features_url)
    from hamcache.data.files import write_csv
    from hamcache.pipeline.cli.console import console
    from hamcache.pipeline.show.plots.boards import plot_zoo
    from hamcache.pipeline.studies.experiments import Template, plan

    experiments = plan(
        listed(features),
        listed(heads),
        Template(config or None, options.overrides(dataset, column, seed, exclude, merge_groups), set_),
        augmentation=augmentation,
        views=views,
    )
    outcomes = run_behind_bar(experiments, place, extract=extract, plots=plots, test=test, workers=jobs)
    board, chance = _leaderboard(outcomes)
    target = csv or _default_csv("zoo", experiments, place)
    write_csv(target, board)
    picture = target.with_suffix(".png")
    metric, title = experiments[0].config.objective, _title(experiments)
    plot_zoo(_by_name(board, outcomes), metric, chance, picture, title)
    _show(board, outcomes, title)
    console.print(f"Wrote {target} and {picture.name}")


def hybrids(
    backbones: Annotated[str, typer.Option(help="Two or more, separated by commas.", metavar="A,B,C")],
    head: Annotated[str, typer.Option(help="The head of every hybrid (default: the configuration's, or logreg).")] = "",
    config: Config = "",
    set_: Settings = [],  # noqa: B006
    dataset: Data = "",
    augmentation: Augmentation = "none",
    views: Views = 1,
    seed: Seed = None,
    test: Test = False,
    extract: Extract = False,
    jobs: Jobs = None,
    plots: options.Plots = True,
    csv: Annotated[
        Path | None, typer.Option(help="The scores (default: in WORKSPACE/hybrids); the rest lies beside.")
    ] = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    column: options.Columns = [],  # noqa: B006
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Score every subset of some backbones with one head, and show what each backbone adds to the whole."""
    place = options.place(workspace, features_url)
    import pandas as pd

    from hamcache.data.files import write_csv
    from hamcache.pipeline.cli.console import console, show_table
    from hamcache.pipeline.show.plots.boards import plot_hybrids
    from hamcache.pipeline.studies.experiments import Template, plan
    from hamcache.pipeline.studies.hybrids import subsets, what_each_adds

    names = listed(backbones)
    template = Template(config or None, options.overrides(dataset, column, seed, exclude, merge_groups), set_)
    experiments = plan(
        subsets(names),
        [head or template.head],
        template,
        augmentation=augmentation,
        views=views,
    )
    outcomes = run_behind_bar(experiments, place, extract=extract, plots=plots, test=test, workers=jobs)
    board, chance = _leaderboard(outcomes)
    metric, title = experiments[0].config.objective, _title(experiments)
    runs = {outcome.experiment.features: outcome.run for outcome in outcomes if outcome.run is not None}
    adds = {part: what_each_adds(runs, names, metric, part) for part in ("validation", *["test"] * test)}
    target = csv or _default_csv("hybrids", experiments, place)
    picture, beside = target.with_suffix(".png"), target.with_name(f"{target.stem}-adds.csv")
    write_csv(target, board)
    write_csv(beside, pd.concat(adds.values()))
    plot_hybrids(_by_name(board, outcomes), adds["validation"], metric, chance, picture, title)
    _show(board, outcomes, title)
    for part, frame in adds.items():
        show_table(
            f"What each backbone adds to {'+'.join(names)}: {metric} on {part}",
            list(frame.columns.drop("part")),
            plain_rows(frame.drop(columns="part")),
            caption="The full hybrid's score less that without the backbone; paired bootstrap over lesions, 95 %; "
            "p_holm is corrected for the number of backbones.",
        )
    console.print(f"Wrote {target}, {beside.name} and {picture.name}")


def run_behind_bar(
    experiments: list[Experiment], workspace: Workspace, *, extract: bool, plots: bool, **options_of_run: Any
) -> list[Outcome]:
    """Run experiments behind a bar, a line each, and draw them; takes the options of `studies.experiments.run_all`."""
    from hamcache.pipeline.cli.console import console, progress_bar
    from hamcache.pipeline.cli.pictures import draw_pictures, runs_of
    from hamcache.pipeline.studies.experiments import run_all
    from hamcache.pipeline.studies.opened import joined

    options.announce_drawing(experiments[0].config.dataset, workspace)
    done = 0
    try:
        if extract:
            from hamcache.pipeline.cli.extraction import extract_lacking

            for config in joined([experiment.config for experiment in experiments]):
                extract_lacking(config, workspace)
        with progress_bar("training", len(experiments), "heads") as advance_to:

            def tell(outcome: Outcome) -> None:
                nonlocal done
                done += 1
                console.print(line_of(outcome), highlight=False, markup=False)
                advance_to(done, None)

            outcomes = run_all(experiments, workspace, on_outcome=tell, **options_of_run)
        if plots:
            draw_pictures(runs_of(outcomes), options_of_run.get("workers"))
        return outcomes
    except KeyboardInterrupt:
        console.print("Interrupted. Finished work is kept; the same command goes on from there.")
        raise typer.Exit(1) from None


def line_of(outcome: Outcome) -> str:
    """One line on what became of an experiment."""
    one, run = outcome.experiment, outcome.run
    if run is None:
        return f"{one.head} on {one.features}: FAILED: {outcome.reason}"
    score = f"{one.config.objective} {run.metrics['validation'][one.config.objective]:.3f}"
    return f"{one.head} on {one.features}: {score}, " + (
        "found finished" if outcome.reused else f"{run.provenance['seconds']['total']:.1f} s"
    )


def _leaderboard(outcomes: list[Outcome]) -> tuple[pd.DataFrame, float]:
    """The leaderboard, baseline row included, and the baseline's score by the objective."""
    from hamcache.pipeline.studies.experiments import zoo_leaderboard

    metric = outcomes[0].experiment.config.objective
    runs = [outcome.run for outcome in outcomes if outcome.run is not None]
    board = zoo_leaderboard(runs, list(dict.fromkeys((metric, *METRICS))))
    return board, float(board[metric].iloc[-1])


def _by_name(board: pd.DataFrame, outcomes: list[Outcome]) -> pd.DataFrame:
    """The leaderboard without the baseline, feature sets named in few letters, where those tell them apart."""
    from hamcache.pipeline.runs.records import short_features

    made = [(outcome.run.id, outcome.experiment) for outcome in outcomes if outcome.run is not None]
    full = {run_id: one.features for run_id, one in made}
    short = {run_id: short_features(one.config, most=80) for run_id, one in made}
    names = short if len(set(short.values())) == len(set(full.values())) else full
    return board.iloc[:-1].assign(features=board["run"].map(names).iloc[:-1])


def _show(board: pd.DataFrame, outcomes: list[Outcome], title: str) -> None:
    import pandas as pd

    from hamcache.pipeline.cli.console import console, errors, show_table

    metric = outcomes[0].experiment.config.objective
    scores = [name for name in board.columns if name.removeprefix("test_") in (metric, "low", "high", *METRICS)]
    shown = pd.concat([_by_name(board, outcomes), board.iloc[[-1]].assign(head="majority class")])
    shown = shown[
        ["head", "features", metric, "low", "high", *(n for n in scores if n not in (metric, "low", "high")), "seconds"]
    ]
    show_table(
        f"{title}: scores on validation",
        list(shown.columns),
        plain_rows(shown),
        caption=f"low, high: 95 % bootstrap interval of {metric} over lesions; seconds: of fitting.",
    )
    failed = [outcome for outcome in outcomes if outcome.run is None]
    for outcome in failed:
        errors.print(line_of(outcome), highlight=False, markup=False)
    if failed:
        console.print(f"{len(failed)} of {len(outcomes)} failed; `hamcache train` runs one of them with its whole log.")


def _title(experiments: list[Experiment]) -> str:
    config = experiments[0].config
    kinds = dict.fromkeys(
        f"{block.augmentation} x{block.views}" for one in experiments for block in one.config.features.blocks
    )
    heads = sorted({one.head for one in experiments})
    what = heads[0] if len(heads) == 1 else f"{len(heads)} heads"
    return f"{what}, {config.dataset_words.label}, {config.split.policy}, seed {config.seed}, views {', '.join(kinds)}"


def _default_csv(folder: str, experiments: list[Experiment], workspace: Workspace) -> Path:
    from hamcache.pipeline.studies.experiments import name_of

    return workspace / folder / f"{name_of(experiments)}.csv"


def plain_rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows for `show_table`, numpy's numbers as Python's."""
    return [tuple(v.item() if hasattr(v, "item") else v for v in row) for row in frame.itertuples(index=False)]


def listed(names: str) -> list[str]:
    """`"A, B"` as its parts; an empty part between two commas is left for the checks to find."""
    return [part.strip() for part in names.split(",")] if names.strip() else []
