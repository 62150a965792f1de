"""Predictions as a table for people, as CSV with one row an image, and as JSON with all that was said."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.evaluate.conformal import PredictionSets
from hamcache.pipeline.use.predict.predictor import Prediction, Predictor
from hamcache.pipeline.use.predict.seen import Neighbour

COLUMNS = ("image", "class", "probabilities", "set", "unlike", "nearest training images")
SHOWN = 0.01
"""Classes below this probability are left out of the table for people (never of CSV and JSON)."""
LONGEST = 48
"""Characters of a name in that table."""


def predictions_frame(predictions: Sequence[Prediction], classes: Sequence[str]) -> pd.DataFrame:
    """One row an image: `image, label, probability, coverage, prediction_set, unlike, unlike_p, p_<class>...,
    neighbour_<k>, neighbour_<k>_label, neighbour_<k>_similarity..., error`.

    The classes of a set are separated by spaces, the most probable first. What is not known is empty.
    """
    most = max((len(prediction.neighbours) for prediction in predictions), default=0)
    rows = [_row(prediction, classes, most) for prediction in predictions]
    frame = pd.DataFrame(rows, columns=_columns(classes, most))
    return frame.astype({"unlike": "boolean"})


def as_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """`predictions_frame` as CSV; numbers are written so that reading gives the same bits back."""
    buffer = io.StringIO()
    predictions_frame(predictions, classes).to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue()


def as_json(
    predictor: Predictor, predictions: Sequence[Prediction], sets: PredictionSets, raw: bool, notes: Sequence[str]
) -> str:
    """The run, how its probabilities and sets came about, and every prediction as it is."""
    content = {
        "run": predictor.run.id,
        "classes": list(predictor.classes),
        "calibrated": not raw,
        "temperature": predictor.temperature.value,
        "sets": {
            "coverage": sets.coverage,
            "score": sets.score,
            "class_conditional": sets.class_conditional,
            "validation_images": len(predictor.run.part("validation")),
        },
        "notes": list(notes),
        "disclaimer": DISCLAIMER,
        "predictions": [asdict(prediction) for prediction in predictions],
    }
    # Escaped to ASCII: a file's name may hold bytes that are no UTF-8.
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def rows_for_people(predictions: Sequence[Prediction], neighbours: int = 2) -> list[tuple[str, ...]]:
    """Rows of `COLUMNS`; files are called by their names alone where these differ."""
    names = [Path(prediction.image).name or prediction.image for prediction in predictions]
    if len(set(names)) < len(names):
        names = [prediction.image for prediction in predictions]
    rows: list[tuple[str, ...]] = []
    for name, prediction in zip(names, predictions, strict=True):
        if prediction.error is not None:
            rows.append((_short(name), "-", printable(prediction.error), "-", "-", "-"))
            continue
        ordered = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
        likely = [f"{label} {p:.3f}" for label, p in ordered if p >= SHOWN] or [f"{ordered[0][0]} {ordered[0][1]:.3f}"]
        near = [_neighbour_words(neighbour) for neighbour in prediction.neighbours[:neighbours]]
        row = (
            _short(name),
            str(prediction.label),
            ", ".join(likely),
            ", ".join(prediction.prediction_set),
            _unlike_words(prediction),
            ", ".join(near) or "-",
        )
        rows.append(tuple(printable(cell) for cell in row))
    return rows


def promise(sets: PredictionSets, raw: bool) -> str:
    """Meaning of the probabilities and the sets of a table."""
    whom = "images of each class" if sets.class_conditional else "images"
    kind = "the head's own probabilities" if raw else "calibrated probabilities"
    return f"{kind}; in {100 * sets.coverage:g} % of {whom} like those of validation, the set holds the true class"


def summary(predictions: Sequence[Prediction], seconds: float) -> str:
    """One line: how many images, how many could not be used, how many are like nothing known, and how fast."""
    bad = sum(prediction.error is not None for prediction in predictions)
    strange = sum(bool(prediction.unlike) for prediction in predictions)
    words = [counted(len(predictions))]
    if bad:
        words.append(f"{bad:,} could not be used")
    if strange:
        words.append(f"{strange:,} unlike the training images (their probabilities mean little)")
    words.append(f"{seconds:.1f} s")
    if len(predictions) > bad and seconds > 0:
        words.append(f"{(len(predictions) - bad) / seconds:.1f} images/s")
    return ", ".join(words)


def counted(images: int) -> str:
    """`1 image`, `2 images`."""
    return f"{images:,} {'image' if images == 1 else 'images'}"


def printable(text: str) -> str:
    """A name fit for a terminal: what is no printable character (an escape sequence, a broken byte) becomes a mark."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _short(name: str) -> str:
    """A printable name of at most `LONGEST` characters, what is left out in the middle."""
    shown = printable(name)
    half = LONGEST // 2
    return shown if len(shown) <= LONGEST else f"{shown[: half - 1]}…{shown[-half:]}"


def _unlike_words(prediction: Prediction) -> str:
    if prediction.unlike is None:
        return "-"
    return f"{'UNLIKE' if prediction.unlike else 'no'} (p {prediction.unlike_p:.3f})"


def _neighbour_words(neighbour: Neighbour) -> str:
    return f"{neighbour.image_id} {neighbour.label} {neighbour.similarity:.2f}"


def _columns(classes: Sequence[str], neighbours: int) -> list[str]:
    near = [
        f"neighbour_{number}{what}" for number in range(1, neighbours + 1) for what in ("", "_label", "_similarity")
    ]
    first = ["image", "label", "probability", "coverage", "prediction_set", "unlike", "unlike_p"]
    return [*first, *(f"p_{label}" for label in classes), *near, "error"]


def _row(prediction: Prediction, classes: Sequence[str], neighbours: int) -> list[Any]:
    neighbour_cells: list[Any] = [v for n in prediction.neighbours for v in (n.image_id, n.label, n.similarity)]
    top = None if prediction.label is None else prediction.probabilities[prediction.label]
    return [
        prediction.image.encode("utf-8", "backslashreplace").decode("utf-8"),
        prediction.label,
        top,
        prediction.coverage,
        " ".join(prediction.prediction_set),
        prediction.unlike,
        prediction.unlike_p,
        *(prediction.probabilities.get(label) for label in classes),
        *neighbour_cells,
        *[None] * (3 * neighbours - len(neighbour_cells)),
        prediction.error,
    ]
