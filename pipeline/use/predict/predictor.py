"""Load a finished run and ask it about new images."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hamcache.cache.storage import Root
from hamcache.configs.defaults import COVERAGE, NEIGHBOURS, UNLIKE
from hamcache.data.workspace import Workspace
from hamcache.extract.precision import has_bf16, resolve_device
from hamcache.extract.recipes import recipes_of
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.evaluate.calibration import Temperature, fit_temperature
from hamcache.pipeline.evaluate.conformal import PredictionSets, fewest_images, fit_sets
from hamcache.pipeline.runs.records import Run, load_run
from hamcache.pipeline.runs.tuned import tuned_weights
from hamcache.pipeline.use.predict.image_sources import Source, find_sources
from hamcache.pipeline.use.predict.machine import Machine
from hamcache.pipeline.use.predict.new_metadata import require_metadata, rows_of_images
from hamcache.pipeline.use.predict.scoring import Model, Scored, model_of
from hamcache.pipeline.use.predict.seen import Neighbour, TrainingImages, training_images

AT_A_TIME = 1024
"""Images whose features are in memory at a time."""


@dataclass(frozen=True)
class Question:
    """The sets and comparisons that predictions are asked for with.

    Attributes:
        coverage: The chance that a prediction set holds the true class.
        sets: `lac` or `aps` (see `evaluate.conformal.fit_sets`).
        class_conditional: Let the chance hold for each class.
        raw: Give the head's own probabilities instead of calibrated ones.
        neighbours: Number of the most similar training images to name.
        unlike: An image is flagged where the share of validation images as far away is at most this; in a small
            validation part, where none is.

    Raises:
        PredictionError: A number of neighbours or a share that does not exist.
    """

    coverage: float = COVERAGE
    sets: str = "lac"
    class_conditional: bool = False
    raw: bool = False
    neighbours: int = NEIGHBOURS
    unlike: float = UNLIKE

    def __post_init__(self) -> None:
        if self.neighbours < 0:
            raise PredictionError(f"Expected 0 neighbours or more, got {self.neighbours}.")
        if not 0 <= self.unlike <= 1:
            raise PredictionError(f"Expected the share `unlike` to be from 0 to 1, got {self.unlike:g}.")


@dataclass(frozen=True)
class Prediction:
    """Answer of a run about one image.

    Attributes:
        image: The image's file, or what it is called.
        label: The most probable class; None where the image could not be used.
        probabilities: Class -> probability, in the order of the classes.
        prediction_set: Classes that together hold the true one with the chance `coverage`, the most probable first.
        coverage: That chance.
        unlike: True if the image is unlike the training images; None where they are not available.
        unlike_p: The share of validation images that are at least as far from the training images.
        neighbours: The most similar training images.
        error: Why the image could not be used; None where it could.
    """

    image: str
    label: str | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    prediction_set: tuple[str, ...] = ()
    coverage: float = COVERAGE
    unlike: bool | None = None
    unlike_p: float | None = None
    neighbours: tuple[Neighbour, ...] = ()
    error: str | None = None


def load_predictor(run: str | Path, workspace: Workspace, **options: object) -> "Predictor":
    """The predictor of the run with this id (or a beginning of it) in a workspace, or of the run in this folder.

    Takes the options of `Predictor`.
    """
    return Predictor(load_run(run, workspace), workspace, **options)  # type: ignore[arg-type]


class Predictor:
    """A finished run, ready to be asked about images.

    Its probabilities are those that the run itself would have given: same networks, views and arithmetic. They are then
    calibrated on the run's validation predictions, which prediction sets come from, too.

    Args:
        run: Any finished run.
        workspace: Where `features/` may lie; with the stores that the run was trained on, neighbours and the flag
            `unlike` are available.
        weights: File of weights for some backbones, by name, if they were extracted with such.
        recipes_file: Augmentation recipes beside the workspace's, for steps that are code of your own.
        device: `auto`, `cpu` or `cuda`.
        trust: Types in heads of one's own that may be loaded (see `Run.trusted`).

    Raises:
        PredictionError: A network or recipe here is not that of the run.
        DamagedError: A file of the run is not the one that was written.
        HeadFileError: The run's head cannot be read.
    """

    def __init__(
        self,
        run: Run,
        workspace: Workspace,
        *,
        weights: Mapping[str, str] | None = None,
        recipes_file: Path | None = None,
        device: str = "auto",
        trust: Collection[str] = (),
    ) -> None:
        self.run, self.workspace = run.checked(), workspace
        self.classes = run.classes
        self.device = resolve_device(device)
        tuned = tuned_weights((block.backbone for block in run.config.features.blocks), workspace)
        recipes = recipes_of(workspace, recipes_file).over(run.config.augmentations)
        machine = Machine({**tuned, **(weights or {})}, recipes, self.device)
        self.model: Model = model_of(run, Root(workspace.features), machine, trust)
        self._y, self._proba, groups = run.answers("validation")
        self.temperature: Temperature = fit_temperature(self._proba, self._y, groups)
        self._sets = lru_cache(maxsize=16)(self._fit_sets)

    @cached_property
    def seen(self) -> TrainingImages | str:
        """The training images in feature space, or a sentence that says why they are not available."""
        if not self.model.sources and self.run.config.net is None:
            return "the run has learned from metadata alone"
        if not self.model.sources:
            return "a net trained from images keeps no features of them, and the cache has none that can be made here"
        return training_images(self.run, self.model.sources)

    def unlike_at(self, unlike: float = UNLIKE) -> float:
        """The p-value at and below which an image is flagged: `unlike`, or the least that there is."""
        return max(unlike, self.seen.least_p()) if isinstance(self.seen, TrainingImages) else unlike

    def sets(
        self, coverage: float = COVERAGE, score: str = "lac", class_conditional: bool = False, raw: bool = False
    ) -> PredictionSets:
        """The prediction sets fitted on validation (see `evaluate.conformal.fit_sets`)."""
        return self._sets(coverage, score, class_conditional, raw)

    def notes(self, sets: PredictionSets, unlike: float = UNLIKE) -> list[str]:
        """Cautions for a reader of the predictions: what is not available, and what validation is too small for."""
        notes = []
        if any(source.spec.precision == "bf16" for source in self.model.sources) and not has_bf16(self.device):
            notes.append("The features were made in bf16, which is not native here: the last digits may differ.")
        if isinstance(self.seen, str):
            notes.append(f"Nearest training images and the flag `unlike` are not available: {self.seen}.")
        elif self.run.config.net is not None:
            name = self.model.sources[0].spec.name
            notes.append(f"Training images are looked up by the features of {name}, not by what the net itself sees.")
        if isinstance(self.seen, TrainingImages) and self.unlike_at(unlike) > unlike:
            n = len(self.seen.held_out)
            notes.append(f"Unlike means further from the training images than all {n} validation images.")
        short = [label for label, endless in zip(self.classes, sets.unlimited, strict=True) if endless]
        if short:
            notes.append(
                f"In every set, for want of validation images (a coverage of {sets.coverage:g} takes "
                f"{fewest_images(sets.coverage)}{' a class' if sets.class_conditional else ''}): {', '.join(short)}."
            )
        return notes

    def predict(
        self,
        images: Iterable[str | Path | Image.Image],
        question: Question = Question(),
        *,
        ids: Sequence[str] | None = None,
        metadata: pd.DataFrame | None = None,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> list[Prediction]:
        """Predict images; one that can't be used costs only itself (its `error` says why).

        Args:
            images: Files, folders, patterns such as `photos/*.jpg`, or opened Pillow images.
            question: The sets and comparisons that are asked for.
            ids: Their image ids, by which views of random recipes are drawn (default: a file's name without suffix).
            metadata: For a run that was trained on metadata: a row an image, by image id (see `new_metadata`).
            on_progress: Takes how many images are done, and how many there are.

        Returns:
            One prediction an image, in the order given.

        Raises:
            PredictionError: A coverage or a kind of sets that does not exist.
            MetadataAbsentError: The run needs metadata, and there is none, or none of these images.
            MetadataError: A value is none of its column.
        """
        fitted = self.sets(question.coverage, question.sets, question.class_conditional, question.raw)
        require_metadata(self.run, metadata is not None)
        sources = find_sources(images, ids)
        rows = None if metadata is None else rows_of_images(metadata, [source.image_id for source in sources])
        predictions: list[Prediction] = []
        for start in range(0, len(sources), AT_A_TIME):
            portion = sources[start : start + AT_A_TIME]
            report = None if on_progress is None else _shifted(on_progress, start, len(sources))
            known = None if rows is None else rows.iloc[start : start + AT_A_TIME]
            predictions += self._predictions(portion, self.model(portion, report, known), fitted, question)
        return predictions

    def _predictions(
        self,
        sources: Sequence[Source],
        scored: Scored,
        sets: PredictionSets,
        question: Question,
    ) -> list[Prediction]:
        predictions = [
            Prediction(source.name, coverage=sets.coverage, error=scored.errors.get(number))
            for number, source in enumerate(sources)
        ]
        rows = [number for number in range(len(sources)) if number not in scored.errors]
        if not rows:
            return predictions
        proba = scored.proba[rows] if question.raw else self.temperature(scored.proba[rows])
        inside = sets(proba)
        near: Sequence[tuple[Neighbour, ...]] = [()] * len(rows)
        p_values: Sequence[float | None] = [None] * len(rows)
        least = self.unlike_at(question.unlike)
        if isinstance(self.seen, TrainingImages):
            near, p = self.seen.look_up(scored.blocks, question.neighbours)
            p_values = p.tolist()
        for row, number in enumerate(rows):
            order = np.argsort(-proba[row], kind="stable")
            p_value = p_values[row]
            predictions[number] = Prediction(
                image=sources[number].name,
                label=self.classes[order[0]],
                probabilities={label: float(p) for label, p in zip(self.classes, proba[row], strict=True)},
                prediction_set=tuple(self.classes[code] for code in order if inside[row, code]),
                coverage=sets.coverage,
                unlike=None if p_value is None else p_value <= least,
                unlike_p=p_value,
                neighbours=near[row],
            )
        return predictions

    def _fit_sets(self, coverage: float, score: str, class_conditional: bool, raw: bool) -> PredictionSets:
        proba = self._proba if raw else self.temperature(self._proba)
        return fit_sets(proba, self._y, coverage, score, class_conditional)


def _shifted(on_progress: Callable[[int, int], None], start: int, total: int) -> Callable[[int], None]:
    return lambda done: on_progress(start + done, total)
