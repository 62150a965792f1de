"""`hamcache predict`: what a finished run says of new images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.pipeline.cli import options

if TYPE_CHECKING:
    from hamcache.pipeline.use.predict.predictor import Prediction

FORMATS = ("csv", "json")


def predict(
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, folders of images, patterns such as 'new/*.jpg'.", metavar="IMAGE"),
    ],
    coverage: Annotated[float, typer.Option(help="Chance that a prediction set holds the true class.")] = 0.9,
    sets: Annotated[str, typer.Option(help="lac (smallest sets) or aps (larger for hard images).")] = "lac",
    class_conditional: Annotated[
        bool, typer.Option("--class-conditional", help="Promise the coverage for each class, not only on average.")
    ] = False,
    raw: Annotated[bool, typer.Option("--raw", help="The head's own probabilities, not calibrated ones.")] = False,
    neighbours: Annotated[int, typer.Option(min=0, help="Most similar training images to name.")] = 5,
    unlike: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Flag images further from the training images than all but this share of validation.",
        ),
    ] = 0.01,
    form: Annotated[str, typer.Option("--format", help="csv or json on standard output, instead of a table.")] = "",
    out: Annotated[Path | None, typer.Option(help="Write all predictions to this file, *.csv or *.json.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of the table to print.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    weights: Annotated[list[str], typer.Option(help="BACKBONE=FILE, if the features were extracted with such.")] = [],  # noqa: B006
    recipes: Annotated[
        Path | None, typer.Option(exists=True, help="The YAML file of recipes that the features were extracted with.")
    ] = None,
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Predict images with any finished run: probabilities, a set of plausible classes, the most similar known images.

    Probabilities are the run's own, calibrated on its validation images (one temperature). The set holds the true class
    with the chance stated (split conformal prediction). An image that is unlike all training images is flagged. For
    research only: this is not a medical device.
    """
    place = options.place(workspace, features_url)
    form = _form(form, out)  # wrong usage is told before anything heavy is loaded

    from hamcache.data.files import write_text
    from hamcache.extract.defaults import DEVICES
    from hamcache.pipeline.cli.console import console, errors, progress_bar
    from hamcache.pipeline.errors import PredictionError
    from hamcache.pipeline.evaluate import DISCLAIMER
    from hamcache.pipeline.evaluate.conformal import SCORES
    from hamcache.pipeline.use.predict import prediction_tables as tables
    from hamcache.pipeline.use.predict.predictor import load_predictor

    options.one_of(sets, SCORES, "--sets")
    options.one_of(device, DEVICES, "--device")
    predictor = load_predictor(
        run,
        place,
        weights=options.pairs(weights, "--weights"),
        recipes_file=recipes,
        device=device,
    )
    fitted = predictor.sets(coverage, sets, class_conditional, raw)
    started = perf_counter()
    with progress_bar("predicting", None, "images") as advance_to:
        predictions = predictor.predict(
            images,
            coverage=coverage,
            sets=sets,
            class_conditional=class_conditional,
            raw=raw,
            neighbours=neighbours,
            unlike=unlike,
            on_progress=advance_to,
        )
    last_line = tables.summary(predictions, perf_counter() - started)
    notes = predictor.notes(fitted, unlike)
    text = ""
    if form == "csv":
        text = tables.as_csv(predictions, predictor.classes)
    elif form == "json":
        text = tables.as_json(predictor, predictions, fitted, raw, notes)
    say = partial((errors if form and out is None else console).print, highlight=False, markup=False, soft_wrap=True)
    if out is not None:
        write_text(out, text)
    if form and out is None:
        sys.stdout.write(text)
    else:
        _show(predictor.run.id, predictions[:limit], len(predictions), tables.promise(fitted, raw))
    for line in (*notes, DISCLAIMER, last_line, *([f"Wrote {out}"] if out is not None else [])):
        say(line)
    if all(prediction.error is not None for prediction in predictions):
        raise PredictionError(f"Not one of {len(predictions)} images could be predicted: {predictions[0].error}.")


def _form(form: str, out: Path | None) -> str:
    """The format of the file, or of standard output; empty for a table."""
    if out is None:
        return options.one_of(form, FORMATS, "--format") if form else ""
    found = options.one_of(out.suffix.removeprefix("."), FORMATS, "--out")
    if form and form != found:
        raise typer.BadParameter(f"expected a file named *.{form}, but got {str(out)!r}", param_hint="--out")
    return found


def _show(run: str, predictions: Sequence[Prediction], total: int, promise: str) -> None:
    from rich.markup import escape

    from hamcache.pipeline.cli.console import console, show_table
    from hamcache.pipeline.use.predict import prediction_tables as tables

    rows = [tuple(escape(cell) for cell in row) for row in tables.rows_for_people(predictions)]
    show_table(f"{tables.counted(total)} by {run}", tables.COLUMNS, rows, caption=promise)
    if total > len(predictions):
        console.print(f"... and {total - len(predictions):,} more: --limit shows them, --out keeps all.")
