"""`hamcache leakage-demo`: how much a split that tears lesions apart flatters each head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import AUGMENTATION, BACKBONE, LEAKAGE_HEADS, LEAKAGE_REPEATS, VIEWS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import interruptible, progress_bar, say, show_table
from hamcache.pipeline.cli.extraction import prepare

if TYPE_CHECKING:
    from hamcache.pipeline.studies.leakage.outcome import LeakageDemo


def leakage_demo(
    settings: bundles.TornExperiments,
    extracting: bundles.Extraction,
    workspace: bundles.FullWorkspace,
    features: options.Features = None,
    heads: options.Heads = None,
    repeats: Annotated[
        int, typer.Option(min=1, max=1000, help="How often everything is drawn and trained; scores are means.")
    ] = LEAKAGE_REPEATS,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    workers: options.Workers = None,
) -> None:
    """Show how much better heads look when other photographs of the test lesions are in train.

    Without --features: tf_efficientnet_lite0; without --heads: logreg, knn, random_forest and mlp.

    Each head is trained on an honest and on a leaky train part, of as many images of as many lesions of each class, and
    scored on the same test images. Only the leaky one holds other photographs of test lesions: those that a random
    split of images puts there. Lesions of the experiment's own test set take no part. A finished demonstration is
    found, not run again.
    """
    from hamcache.pipeline.studies.experiments import Template, plan
    from hamcache.pipeline.studies.leakage.measure import demonstrate

    experiments = plan(
        options.listed(features) or [BACKBONE],
        options.listed(heads) or LEAKAGE_HEADS,
        Template(settings=settings),
        augmentation=augmentation,
        views=views,
    )
    prepare([experiment.config for experiment in experiments], workspace, extracting)
    with interruptible("Nothing was kept."), progress_bar("training", None, "heads") as advance_to:
        demo = demonstrate(experiments, workspace, seeds=repeats, workers=workers, on_progress=advance_to)
    if not demo.picture.is_file():
        from hamcache.pipeline.show.plots.leakage import plot_leakage  # imports matplotlib

        plot_leakage(demo, demo.picture)
    _show(demo)


def _show(demo: LeakageDemo) -> None:
    from hamcache.pipeline.studies.leakage.outcome import in_words

    metric, count = demo.metric, len(demo.summary["seeds"])
    seeds = f"{count} seeds" if count > 1 else "1 seed"
    on_sibling, elsewhere = (demo.rows(images).set_index("head") for images in ("sibling", "no sibling"))
    rows = []
    for row in demo.rows().to_dict("records"):
        gaps = [
            _gap(frame.loc[row["head"]]) if row["head"] in frame.index else "-" for frame in (on_sibling, elsewhere)
        ]
        rows.append((row["head"], row["honest"], row["leaky"], _gap(row), row["p_holm"], *gaps))
    show_table(
        f"Leakage on {demo.summary['dataset']}, {demo.summary['features']}: {metric} on one test set",
        ("head", "honest", "leaky", "leaky less honest", "p_holm", "where a sibling is in train", "elsewhere"),
        rows,
        caption=f"Means of {seeds}; [95 % bootstrap interval over lesions]; p_holm is "
        "corrected for the number of heads.",
    )
    show_table(
        f"As practised, each kind of split on a test set of its own: {metric}",
        ("head", "split by lesion", "split by image", "difference"),
        [(row["head"], row["honest"], row["leaky"], _gap(row)) for row in demo.rows("own").to_dict("records")],
    )
    say(in_words(demo))
    found = " (found finished, not run again)" if demo.reused else f" in {sum(demo.summary['seconds'].values()):.0f} s"
    say(f"Wrote {demo.folder}: leakage.csv, leakage.json, leakage.png{found}")


def _gap(row: dict) -> str:
    return f"{row['gap']:+.3f} [{row['gap_low']:+.3f}, {row['gap_high']:+.3f}]"
