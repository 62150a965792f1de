"""The answer of `POST /api/predict`: a run's predictions as JSON, with all sets that the page can switch to."""

from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image
from starlette.exceptions import HTTPException

from hamcache.data.documents import parse_json
from hamcache.data.errors import BadImageError, DocumentError
from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.serve.photographs import Gallery
from hamcache.pipeline.use.serve.predictors import Predictors
from hamcache.pipeline.use.serve.shelf import Shelf
from hamcache.pipeline.use.serve.uploads import MOST_FILES, Form, Upload

if TYPE_CHECKING:
    from hamcache.pipeline.use.predict.predictor import Prediction, Predictor

COVERAGES = (0.8, 0.9, 0.95)
CHOICES = tuple((coverage, conditional) for conditional in (False, True) for coverage in COVERAGES)
MOST_NEIGHBOURS = 20


def known_columns(run: Run) -> list[dict[str, Any]]:
    """The columns of metadata that a run asks for: name and words, None for a number."""
    columns = () if run.metadata is None else run.metadata.columns
    return [{"name": column.name, "words": None if column.words is None else column.known} for column in columns]


def choices(predictor: "Predictor") -> dict[str, Any]:
    """The facts of all predictions of a run: its classes, metadata, sets to choose from with notes, calibration."""
    temperature = predictor.temperature
    return {
        "run": predictor.run.id,
        "classes": [{"label": label, "name": name} for label, name in predictor.run.class_names.items()],
        "metadata": known_columns(predictor.run),
        "sets": [
            {
                "coverage": coverage,
                "class_conditional": conditional,
                "notes": predictor.notes(predictor.sets(coverage, class_conditional=conditional)),
            }
            for coverage, conditional in CHOICES
        ],
        "calibration": {
            "temperature": temperature.value,
            "images": temperature.images,
            "ece_before": temperature.ece_before,
            "ece_after": temperature.ece_after,
        },
    }


def answer(form: Form, shelf: Shelf, gallery: Gallery, predictors: Predictors) -> dict[str, Any]:
    """Predict what a form holds.

    Raises:
        HTTPException: 400 where a field is missing or has a value that it can't have.
        ArtefactNotFoundError, NoImageError, PredictionError, HeadFileError: As the names say.
    """
    if "run" not in form.fields:
        raise HTTPException(400, "Expected the id of a run in the field 'run'.")
    coverage = _number(form, "coverage", 0.9)
    conditional = form.fields.get("class_conditional", "false").lower()
    neighbours = _number(form, "neighbours", 5)
    if not 0 < coverage < 1:
        raise HTTPException(400, f"coverage: expected a number between 0 and 1, but got {coverage:g}.")
    if conditional not in ("true", "false"):
        raise HTTPException(400, f"class_conditional: expected true or false, but got {conditional!r}.")
    if not 0 <= neighbours <= MOST_NEIGHBOURS or neighbours != int(neighbours):
        raise HTTPException(400, f"neighbours: expected a whole number from 0 to {MOST_NEIGHBOURS}.")
    run, image_id = shelf.get(form.fields["run"]), form.fields.get("image_id", "")
    if bool(form.files) == bool(image_id):
        raise HTTPException(400, f"Expected 1 to {MOST_FILES} image files, or the image_id of one image, but not both.")
    path = gallery.path(run, image_id) if image_id else None
    known = _metadata(form, run)
    if known is None and path is not None and run.metadata is not None:
        known = gallery.metadata(run, image_id)
    if known is None and run.metadata is not None:
        names = ", ".join(run.metadata.names)
        raise HTTPException(400, f"Expected the field 'metadata', a JSON object of {names}; what is not known: null.")
    predictor = predictors.get(run)
    from hamcache.pipeline.use.predict.predictor import Question  # imports torch: a run is loaded by now

    question = Question(coverage, class_conditional=conditional == "true", neighbours=int(neighbours))
    started = perf_counter()

    def ask(images: Sequence[Path | Image.Image], ids: Sequence[str]) -> list["Prediction"]:
        rows = None if known is None else pd.DataFrame([known] * len(set(ids)), index=list(dict.fromkeys(ids)))
        return predictor.predict(images, question, ids=ids, metadata=rows)

    if path is not None:
        found = [_as_json(ask([path], [image_id])[0], image_id, predictor, gallery.label(run, image_id))]
    else:
        found = _of_files(form.files, predictor, ask)
    seconds = perf_counter() - started
    general = choices(predictor)
    notes = predictor.notes(predictor.sets(coverage, class_conditional=conditional == "true"))
    if known is not None and run.metadata is not None:
        notes += run.metadata.notes(pd.DataFrame([known]))
    return {
        **general,
        "disclaimer": DISCLAIMER,
        "coverage": coverage,
        "class_conditional": conditional == "true",
        "notes": notes,
        "seconds": round(seconds, 4),
        "predictions": found,
    }


def _metadata(form: Form, run: Run) -> dict[str, Any] | None:
    """The values of the field `metadata`, by column; None without that field."""
    if "metadata" not in form.fields:
        return None
    names = [] if run.metadata is None else run.metadata.names
    try:
        known = parse_json(form.fields["metadata"])
    except DocumentError as error:
        raise HTTPException(400, f"metadata: expected a JSON object, but {error}") from None
    if not isinstance(known, dict) or set(known) - set(names):
        raise HTTPException(400, f"metadata: expected a JSON object of {', '.join(names) or 'nothing, for this run'}.")
    if not all(value is None or isinstance(value, str | int | float) for value in known.values()):
        raise HTTPException(400, "metadata: expected texts and numbers, or null for what is not known.")
    return known


def _of_files(files: Sequence[Upload], predictor: "Predictor", ask: Any) -> list[dict[str, Any]]:
    """One answer a file, in order; those that are no images have their error."""
    images: list[Image.Image | BadImageError] = []
    for upload in files:
        try:
            images.append(upload.image())
        except BadImageError as error:
            images.append(error)
    good = [number for number, image in enumerate(images) if isinstance(image, Image.Image)]
    predictions = iter(ask([images[number] for number in good], [files[number].stem for number in good]))
    return [
        _as_json(next(predictions), upload.name, predictor)
        if isinstance(image, Image.Image)
        else {"image": upload.name, "error": str(image)}
        for upload, image in zip(files, images, strict=True)
    ]


def _as_json(
    prediction: "Prediction", name: str, predictor: "Predictor", true_label: str | None = None
) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": name, "error": prediction.error}
    proba = np.array([list(prediction.probabilities.values())])
    order = np.argsort(-proba[0], kind="stable")
    inside = [predictor.sets(coverage, class_conditional=conditional)(proba)[0] for coverage, conditional in CHOICES]
    return {
        "image": name,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "prediction_set": prediction.prediction_set,
        "sets": [[predictor.classes[code] for code in order if one[code]] for one in inside],
        "unlike": prediction.unlike,
        "unlike_p": prediction.unlike_p,
        "neighbours": [
            {"image_id": near.image_id, "label": near.label, "similarity": near.similarity}
            for near in prediction.neighbours
        ],
        "true_label": true_label,
        "error": None,
    }


def _number(form: Form, name: str, default: float) -> float:
    text = form.fields.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise HTTPException(400, f"{name}: expected a number, but got {text!r}.") from None
