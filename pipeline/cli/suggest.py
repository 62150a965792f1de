"""`hamcache suggest` and `hamcache suggest-demo`: the images to label next, and what choosing them is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hamcache.configs.defaults import STRATEGIES, SUGGESTED
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import interruptible, progress_bar, say, show_frame, warn

Chosen = Annotated[int, typer.Option("--count", "-n", min=1, max=100_000, help="Images to choose at a time.")]
SHOWN = ("rank", "image_id", "group", "predicted", "probability", "margin", "distance")


def suggest(
    networks: bundles.Networks,
    workspace: bundles.FullWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    pool: Annotated[
        str,
        typer.Option(help="Unlabelled images: a folder, a CSV (path; group where it is known), or any data set."),
    ],
    count: Chosen = SUGGESTED,
    strategy: Annotated[
        str,
        options.word(
            STRATEGIES,
            "margin (the head is unsure), badge (unsure and unlike each other), coverage (unlike all that is labelled) "
            "or random.",
        ),
    ] = STRATEGIES[0],
    seed: options.Seed = None,
    column: options.Columns = None,
    dataset_name: options.DatasetName = None,
    workers: options.Workers = None,
    out: Annotated[Path | None, options.out("The CSV (default: in WORKSPACE/suggestions); a PNG beside.")] = None,
    limit: options.Limit = 50,
) -> None:
    """Suggest which unlabelled images to label next, so that the run, trained again with them, gains most.

    The features are extracted as the run's were; a second call decodes nothing. Images that the run knows are left out,
    and of each group (lesion) one is chosen at most. The CSV has an empty column `label`: filled in, it is a data set.
    `suggest-demo` shows what the strategies are worth on the run's own labels.
    """
    from hamcache.pipeline.runs.records import load_run

    found = load_run(run, workspace)
    found.require_trust(networks["trust"])  # mistakes are told before torch is imported
    from hamcache.data.dataset import DatasetWords
    from hamcache.pipeline.use.suggest.suggestions import Wish, open_pool
    from hamcache.pipeline.use.suggest.suggestions import suggest as suggest_images

    opened = open_pool(DatasetWords(pool, options.pairs(column), dataset_name), workspace)
    from hamcache.data.files import write_csv
    from hamcache.pipeline.use.predict.predictor import Predictor

    predictor = Predictor(found, workspace, **networks)
    wish = Wish(count, strategy, seed or 0)
    with progress_bar("extracting", None, "images") as advance_to:
        made = suggest_images(predictor, opened, wish, workers=workers, on_progress=advance_to)
    from hamcache.pipeline.show.plots.choice import plot_suggestions  # imports matplotlib

    target = out or made.default_path(workspace)
    write_csv(target, made.frame)
    title = f"{len(made.frame):,} of {made.images:,} images of {made.pool} to label next ({strategy}), for {found.id}"
    sheets = plot_suggestions(made.frame, target.with_suffix(".png"), title)
    caption = "margin: between the two most probable classes; distance: to the nearest training image, from 0 to 2"
    show_frame(title, made.frame.head(limit)[list(SHOWN)], caption)
    if len(made.frame) > limit:
        say(f"... and {len(made.frame) - limit:,} more: --limit shows them, the file has all.")
    for note in [] if found.metadata is None else found.metadata.notes(opened.table.frame):
        warn(note)
    if made.left_out:
        warn(f"Left out: {', '.join(f'{reason} {count:,}' for reason, count in made.left_out.items())}.")
    say(f"Wrote {target} and {', '.join(sheet.name for sheet in sheets)}")


def suggest_demo(
    workspace: bundles.FullWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    strategies: Annotated[
        str | None, typer.Option(metavar="A,B", help=f"Of {', '.join(STRATEGIES)}, separated by commas (default: all).")
    ] = None,
    start: Annotated[int, typer.Option(min=2, help="Labelled images in the beginning, at random.")] = SUGGESTED,
    count: Chosen = SUGGESTED,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="How often images are chosen.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Seeds that each score is the mean of.")] = 5,
    test: options.Test = False,
    out: Annotated[Path | None, options.out("The scores (default: in WORKSPACE/suggestions); a PNG beside.")] = None,
) -> None:
    """Show what choosing images to label is worth: on a run's own train images, labelled a portion at a time.

    All begin with the same random images; the head of the run's configuration is trained after each portion, and judged
    on the same validation images.
    """
    from hamcache.pipeline.runs.records import load_run

    found = load_run(run, workspace)
    from hamcache.data.files import write_csv
    from hamcache.pipeline.inspect.choice_trial import Trial, trial_path, try_choices

    asked = tuple(options.listed(strategies)) or STRATEGIES
    trial = Trial(asked, start, count, rounds, repeats, test)
    with interruptible("Nothing was kept."), progress_bar("training", None, "heads") as advance_to:
        scores = try_choices(found.config, workspace, trial, on_progress=advance_to)
    from hamcache.pipeline.show.plots.choice import plot_trial  # imports matplotlib

    target = out or trial_path(found, trial, workspace)
    write_csv(target, scores.frame)
    about: dict[str, Any] = found.provenance.get("summary", {})
    title = f"{about.get('dataset')}: {about.get('head')} on {about.get('features')}, mean of {repeats} seeds, 95 %"
    plot_trial(scores, target.with_suffix(".png"), title)
    show_frame(
        f"{title}: {scores.metric} on {trial.part} by the number of labels",
        scores.frame,
        f"gain: over random choice with the same seed; rarest: labelled images of the rarest class. "
        f"With every label of the pool: {scores.whole:.3f}.",
    )
    show_frame(f"{scores.metric} above random choice, averaged over the rounds", scores.gains)
    say(f"Wrote {target} and {target.with_suffix('.png').name}")
