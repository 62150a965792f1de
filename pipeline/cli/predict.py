"""`hamcache predict`: what a finished run says of new images."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import NEIGHBOURS, UNLIKE
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import progress_bar, say, show_table, warn

if TYPE_CHECKING:
    from hamcache.pipeline.use.predict.predictor import Prediction

FORMATS = ("csv", "json")


def predict(
    networks: bundles.Networks,
    promise: bundles.Promise,
    workspace: bundles.FullWorkspace,
    run: Annotated[str, typer.Argument(help="A run's id, the beginning of one, or its folder.", metavar="RUN")],
    images: Annotated[
        list[str], typer.Argument(help="Image files, folders of images, patterns such as 'new/*.jpg'.", metavar="IMAGE")
    ],
    metadata: options.Metadata = None,
    raw: Annotated[bool, typer.Option("--raw", help="The head's own probabilities, not calibrated ones.")] = False,
    neighbours: Annotated[
        int, typer.Option(min=0, max=1000, help="Most similar training images to name.")
    ] = NEIGHBOURS,
    unlike: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Flag images further from the training images than all but this share of validation."
        ),
    ] = UNLIKE,
    form: Annotated[
        str | None, options.word(FORMATS, "csv or json on standard output, instead of a table.", "--format")
    ] = None,
    out: Annotated[Path | None, options.out("Write all predictions to this file, *.csv or *.json.")] = None,
    limit: options.Limit = 50,
    as_json: options.AsJson = False,
) -> None:
    """Predict images with any finished run: probabilities, a set of plausible classes, the most similar known images.

    Probabilities are the run's own, calibrated on its validation images (one temperature). The set holds the true class
    with the chance stated (split conformal prediction). An image that is unlike all training images is flagged. For
    research only: this is not a medical device.
    """
    if as_json and form == "csv":
        raise typer.BadParameter("expected either --json or --format csv, got both", param_hint="--json")
    form = _form(
        "json" if as_json else form, out
    )  # wrong usage and a wrong name are told before anything heavy is loaded

    from hamcache.pipeline.runs.records import load_run

    asked = load_run(run, workspace)
    asked.require_trust(networks["trust"])
    from hamcache.pipeline.use.predict.new_metadata import read_metadata, require_metadata

    require_metadata(asked, metadata is not None)
    given = None if asked.metadata is None or metadata is None else read_metadata(metadata, asked.metadata)

    from hamcache.data.files import write_text
    from hamcache.pipeline.errors import PredictionError
    from hamcache.pipeline.evaluate import DISCLAIMER
    from hamcache.pipeline.use.predict import prediction_tables as tables
    from hamcache.pipeline.use.predict.predictor import Question, load_predictor

    predictor = load_predictor(run, workspace, **networks)
    fitted = predictor.sets(*promise, raw)
    started = perf_counter()
    with progress_bar("predicting", None, "images") as advance_to:
        question = Question(*promise, raw, neighbours, unlike)
        predictions = predictor.predict(images, question, metadata=given, on_progress=advance_to)
    last_line = tables.summary(predictions, perf_counter() - started)
    notes = predictor.notes(fitted, unlike)
    if given is not None and asked.metadata is not None:
        notes += asked.metadata.notes(given.reindex([Path(prediction.image).stem for prediction in predictions]))
    text = ""
    if form == "csv":
        text = tables.as_csv(predictions, predictor.classes)
    elif form == "json":
        text = tables.as_json(predictor, predictions, fitted, raw, notes)
    tell = warn if form and out is None else say
    if out is not None:
        write_text(out, text)
    if form and out is None:
        sys.stdout.write(text)
    else:
        _show(predictor.run.id, predictions[:limit], len(predictions), tables.promise(fitted, raw))
    for line in (*notes, DISCLAIMER, last_line, *([f"Wrote {out}"] if out is not None else [])):
        tell(line)
    if all(prediction.error is not None for prediction in predictions):
        raise PredictionError(f"Not one of {len(predictions)} images could be predicted: {predictions[0].error}.")


def _form(form: str | None, out: Path | None) -> str | None:
    """The format of the file, or of standard output; None for a table."""
    if out is None:
        return form
    written = out.suffix.removeprefix(".")
    if written not in FORMATS or form not in (None, written):
        expected = " or ".join(f"*.{name}" for name in ([form] if form else FORMATS))
        raise typer.BadParameter(f"expected a file named {expected}, got {str(out)!r}", param_hint="--out")
    return written


def _show(run: str, predictions: Sequence[Prediction], total: int, promise: str) -> None:
    from hamcache.pipeline.use.predict import prediction_tables as tables

    rows = tables.rows_for_people(predictions)
    show_table(f"{tables.counted(total)} by {run}", tables.COLUMNS, rows, caption=promise)
    if total > len(predictions):
        say(f"... and {total - len(predictions):,} more: --limit shows them, --out keeps all.")
