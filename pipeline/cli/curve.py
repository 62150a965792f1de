"""`hamcache curve`: score by the number of labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import AUGMENTATION, VIEWS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import say, show_frame
from hamcache.pipeline.cli.zoo import run_behind_bar, warn_of_failures

if TYPE_CHECKING:
    from hamcache.pipeline.studies.curves import Amount


def curve(
    settings: bundles.Experiments,
    running: bundles.Study,
    workspace: bundles.FullWorkspace,
    features: options.Features = None,
    heads: options.Heads = None,
    shares: Annotated[
        str | None, typer.Option(help="Shares of the train lesions, separated by commas; 1 is all of them.")
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Train lesions of each class, an image each, separated by commas.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Seeds that each score is the mean of.")] = 3,
    config: options.Config = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    out: Annotated[Path | None, options.out("The scores (default: in WORKSPACE/curves); a PNG beside.")] = None,
) -> None:
    """Score heads and feature sets by the number of labelled images. Finished experiments are not run again.

    Without --shares and --shots: 0.02, 0.05, 0.1, 0.25, 0.5 and 1 of the train lesions. With a seed, few labels are
    part of more; the test set never moves.
    """
    from hamcache.data.files import write_csv
    from hamcache.pipeline.studies.curves import Curve, plan_curve
    from hamcache.pipeline.studies.experiments import Template

    template = Template(config, settings)
    points = plan_curve(
        options.listed(features),
        options.listed(heads) or [template.head],
        _amounts(shares, shots),
        template,
        seeds=repeats,
        augmentation=augmentation,
        views=views,
    )
    outcomes = run_behind_bar([point.experiment for point in points], workspace, running)
    from hamcache.pipeline.show.plots.curves import plot_curve  # imports matplotlib

    made = Curve(points, outcomes)
    target = out or made.default_path(workspace)
    write_csv(target, made.frame)
    of_interest = made.parts[-1]
    title = f"{made.dataset}, {made.metric} on {of_interest}: mean of {repeats} seeds, 95 % interval"
    rows = made.frame[made.frame["part"] == of_interest]
    plot_curve(rows, made.metric, made.chance(of_interest), target.with_suffix(".png"), title)
    for part in made.parts:
        frame = made.frame[made.frame["part"] == part].drop(columns=["part", "metric"])
        show_frame(
            f"{made.dataset}: {made.metric} on {part} by the number of labels",
            frame,
            f"Means of {repeats} seeds, which draw the labelled images, validation and the head; low, high: 95 % "
            f"interval of the mean. The majority class scores {made.chance(part):.3f}.",
        )
    if failed := warn_of_failures(outcomes):
        say(f"{failed} of {len(outcomes)} failed.")
    say(f"Wrote {target} and {target.with_suffix('.png').name}")


def _amounts(shares: str | None, shots: str | None) -> list[Amount]:
    """The amounts of labels that are asked for; wrong numbers are wrong usage."""
    from hamcache.pipeline.studies.curves import SHARES, Amount

    counts, parts = options.listed(shots), options.listed(shares)
    for text in counts:
        if not (text.isascii() and text.isdecimal() and int(text[:9]) > 0 and len(text) < 9):
            raise typer.BadParameter(f"expected whole numbers from 1 on, got {text!r:.100}", param_hint="--shots")
    for text in parts:
        if not 0 < _number(text) <= 1:
            raise typer.BadParameter(f"expected shares above 0 and up to 1, got {text!r:.100}", param_hint="--shares")
    wanted = [Amount(shots=int(count)) for count in counts] + [Amount(share=float(part)) for part in parts]
    return wanted or [Amount(share=share) for share in SHARES]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
