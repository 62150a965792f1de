"""Export a run: write the ONNX file and its model card, after asking the file itself and the run the same questions."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hamcache.configs.defaults import COVERAGE
from hamcache.data.dataset import Dataset
from hamcache.data.errors import BadImageError
from hamcache.data.files import write_bytes, write_text
from hamcache.data.ham10000 import CLASS_NAMES
from hamcache.data.readers.imported import Terms
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.decode import decode_file, picture_of
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.evaluate.conformal import PredictionSets
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.runs.own_dataset import own_dataset
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.export.card_figures import part_figures
from hamcache.pipeline.use.export.model_card import model_card
from hamcache.pipeline.use.export.onnx_file import IMAGES, PROBABILITIES, SETS, add_metadata, build_model
from hamcache.pipeline.use.export.run_module import Portable, changed_by, precision_of
from hamcache.pipeline.use.predict.predictor import Predictor, Question
from hamcache.pipeline.use.share.feature_archive import terms_of

MODEL, CARD = "model.onnx", "model_card.md"
CHECKED = 16
"""Images that the file and the run are both asked about."""
WORST = 1e-2
"""Larger differences of a probability are an error, where run and file compute in the same precision: more than
rounding, less than a decision tree's leaf (a number on a threshold may fall to its other side)."""


@dataclass(frozen=True)
class Parity:
    """Comparison of the file with the run, on some images.

    Attributes:
        images: Number of images.
        of: Their kind, in words.
        largest: Largest difference of a probability.
        mean: Mean difference.
        same_class: Images that both give the same class.
        same_set: Images that both give the same set.
    """

    images: int
    of: str
    largest: float
    mean: float
    same_class: int
    same_set: int

    def __str__(self) -> str:
        return (
            f"on {self.images} {self.of} its probabilities differ from the run's by {self.largest:.1e} at most, "
            f"{self.mean:.1e} on average; {self.same_class} have the same class, {self.same_set} the same set"
        )


@dataclass(frozen=True)
class Exported:
    """Files of an export.

    Attributes:
        model: The ONNX file.
        card: The model card.
        parity: Comparison of the file with the run.
    """

    model: Path
    card: Path
    parity: Parity


@dataclass(frozen=True)
class ExportSettings:
    """Choices of an export.

    Attributes:
        coverage: Chance that a set holds the true class.
        score: See `evaluate.conformal.fit_sets`.
        class_conditional: The same.
        terms: Licence and citation of the data, where they are not known.
        checked: Number of images for the comparison.
        resamples: Resamples of the intervals in the card.
    """

    coverage: float = COVERAGE
    score: str = "lac"
    class_conditional: bool = False
    terms: Terms = Terms()  # noqa: RUF009 (frozen)
    checked: int = CHECKED
    resamples: int = RESAMPLES


def export_run(
    predictor: Predictor,
    workspace: Workspace,
    out: Path | None = None,
    settings: ExportSettings = ExportSettings(),
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Exported:
    """Write a run as one ONNX file, from raw pixels to calibrated probabilities, and its model card.

    The same run gives the same bytes. Nothing is written before the file has been compared with the run.

    Args:
        predictor: The run, loaded with `device="cpu"`.
        workspace: Holds the data set, if it is a synthetic or downloaded one; default place of the files.
        out: `NAME.onnx` (the card is then `NAME.md`), or a folder (`model.onnx`, `model_card.md`); default:
            `workspace/exports/<run id>`.
        settings: Choices.
        force: Write over files that are there.
        say: Takes a line as each stage begins.

    Raises:
        ExportError: The run has parts that no graph can hold, files are in the way, or the file differs from the run.
    """
    model_path, card_path = targets(predictor.run, workspace, out, force=force)
    sets = predictor.sets(settings.coverage, settings.score, settings.class_conditional)
    say("Building the graph ...")
    model = build_model(Portable(predictor, sets), len(predictor.classes))
    say("Comparing it with the run ...")
    content = model.SerializeToString(deterministic=True)
    pictures, of = check_images(predictor.run, workspace, settings.checked)
    parity = compared(content, predictor, sets, pictures, of)
    if precision_of(predictor) == "fp32" and parity.largest > WORST:
        raise ExportError(
            f"Expected a file that says what run {predictor.run.id} says, got one that differs: {parity}."
        )
    say("Writing the card ...")
    terms = _terms(predictor.run, workspace, settings.terms)
    parts = [part for part in ("validation", "test") if part in predictor.run.metrics]
    figures = [part_figures(predictor, part, settings.resamples) for part in parts]
    card = model_card(predictor, sets, figures, terms, str(parity), model_path.name, len(content))
    add_metadata(model, _metadata(predictor, sets, terms, card), f"{predictor.run.id}. {DISCLAIMER}")
    write_bytes(model_path, model.SerializeToString(deterministic=True))
    write_text(card_path, card)
    return Exported(model_path, card_path, parity)


def check_inputs(run: Run) -> None:
    """Find out before networks are loaded that a run predicts from what no file of images has or can draw.

    Raises:
        ExportError: It was trained on metadata, or its views are drawn at random; names what helps.
    """
    if run.metadata is not None:
        features = "+".join(block.backbone for block in run.config.features.blocks if not block.is_metadata)
        advice = f"Train one without: --features {features}." if features else "Ask it with `hamcache predict`."
        raise ExportError(
            f"Expected a run of images alone, got {run.id}, which takes {', '.join(run.metadata.names)}: "
            f"the exported file gets an image and nothing else. {advice}"
        )
    views = run.config.features.views
    if run.config.net is not None:
        names, change = [run.config.net.params["predict_augmentation"]], "net.predict_augmentation=none"
    elif views.predict == "plain":
        return
    else:
        names, change = [block.augmentation for block in run.config.features.blocks], "features.views.predict=plain"
    for name in names:
        if name not in run.config.augmentations:  # one that the cache alone knew: told when the networks are built
            continue
        if not (augmentation := run.config.augmentations.get(name)).starts_plain:
            raise ExportError(
                "Expected a run that predicts from whole images or their symmetries, but its views "
                f"{changed_by(augmentation)}. Train one that does: `hamcache train "
                f"--config {run.folder / 'config.yaml'} --set {change} --extract`."
            )


def targets(run: Run, workspace: Workspace, out: Path | None, *, force: bool = False) -> tuple[Path, Path]:
    """Paths of the model and of the card.

    Raises:
        ExportError: One of them is there, and `force` was not said.
    """
    if out is not None and out.suffix == ".onnx" and not out.is_dir():
        model, card = out, out.with_suffix(".md")
    else:
        folder = workspace / "exports" / run.id if out is None else out
        if folder.exists() and not folder.is_dir():
            raise ExportError(f"Expected --out to be a folder or a file named *.onnx, got another file: {folder}.")
        model, card = folder / MODEL, folder / CARD
    existing = [str(path) for path in (model, card) if path.exists()]
    if existing and not force:
        raise ExportError(f"{' and '.join(existing)} is there already: choose another --out, or say --force.")
    return model, card


def check_images(run: Run, workspace: Workspace, count: int) -> tuple[list[Image.Image], str]:
    """Images to compare with: validation images, evenly spaced; where they are not here, pictures of smooth noise."""
    ids = list(run.part("validation")["image_id"])
    wanted = ids[:: max(1, len(ids) // count)][:count]
    dataset = own_dataset(run, workspace)
    rows = [] if isinstance(dataset, str) else dataset.table.frame[["image_id", "path"]].to_numpy().tolist()
    paths = dict(rows)
    images = []
    for image_id in wanted:
        try:
            images.append(picture_of(decode_file(paths[image_id])))
        except (KeyError, BadImageError):
            continue
    if images:
        return images, "validation images"
    rng = np.random.default_rng(0)
    sizes = [(200, 150), (450, 600), (97, 64)]
    small = [rng.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(count)]
    drawn = [Image.fromarray(p).resize(sizes[n % 3], Image.Resampling.BICUBIC) for n, p in enumerate(small)]
    return drawn, "pictures of noise (the data set's images are not here)"


def compared(
    content: bytes, predictor: Predictor, sets: PredictionSets, images: Sequence[Image.Image], of: str
) -> Parity:
    """Ask the ONNX file and the run about the same images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    answers: list[Any] = [session.run([PROBABILITIES, SETS], {IMAGES: np.asarray(image)[None]}) for image in images]
    ours, inside = (np.concatenate(parts) for parts in zip(*answers, strict=True))
    question = Question(sets.coverage, sets.score, sets.class_conditional, neighbours=0)
    predictions = predictor.predict(images, question)
    theirs = np.array([list(prediction.probabilities.values()) for prediction in predictions])
    expected = np.array([[c in p.prediction_set for c in predictor.classes] for p in predictions])
    return Parity(
        images=len(images),
        of=of,
        largest=float(np.abs(ours - theirs).max()),
        mean=float(np.abs(ours - theirs).mean()),
        same_class=int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum()),
        same_set=int((inside == expected).all(axis=1).sum()),
    )


def _metadata(predictor: Predictor, sets: PredictionSets, terms: Terms, card: str) -> dict[str, str]:
    run = predictor.run
    return {
        "run": run.id,
        "classes": json.dumps(list(run.classes)),
        "class_names": json.dumps({label: CLASS_NAMES.get(label, label) for label in run.classes}),
        "input": "images: uint8 [n, height, width, 3], RGB, upright, at least 8 pixels a side; resized in the graph",
        "outputs": "probabilities: float32 [n, classes], calibrated; prediction_set: bool [n, classes]",
        "temperature": repr(predictor.temperature.value),
        "coverage": repr(sets.coverage),
        "class_conditional": json.dumps(sets.class_conditional),
        "dataset": run.provenance["summary"]["dataset"],
        "data_licence": terms.licence or "not stated",
        "data_citation": terms.citation or "not stated",
        "fingerprint": run.provenance["fingerprint"],
        "disclaimer": DISCLAIMER,
        "model_card": card,
    }


def _terms(run: Run, workspace: Workspace, given: Terms) -> Terms:
    """Licence and citation of the data: those given, else what is known of it."""
    dataset = own_dataset(run, workspace)
    if isinstance(dataset, str):  # its labels still tell whether it is HAM10000
        dataset = Dataset(run.config.dataset_words, ImageTable("", run.predictions, run.classes))
    return terms_of(dataset, given)
