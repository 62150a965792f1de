"""Score a finished run on a labelled data set that it has never seen, and on corrupted copies of it."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from hamcache.configs.defaults import COVERAGE, RESAMPLES
from hamcache.data.dataset import Dataset
from hamcache.data.subset import stratified_subset
from hamcache.data.workspace import Workspace
from hamcache.extract.corruptions import PARAMETERS, SEVERITIES
from hamcache.pipeline.errors import DamagedError, EvaluationError
from hamcache.pipeline.evaluate.class_map import ClassMap, Pair, map_classes
from hamcache.pipeline.evaluate.evaluations import (
    RECORD,
    Evaluation,
    plain,
    plain_all,
    read_evaluation,
    save_evaluation,
)
from hamcache.pipeline.evaluate.external_scores import Answered, Judge, plain_metrics, share
from hamcache.pipeline.runs.artefacts import held, new_folder
from hamcache.pipeline.runs.provenance import versions
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.external.corrupted_copies import corrupted_copy
from hamcache.pipeline.use.external.known_images import KnownImages, known_images
from hamcache.pipeline.use.external.set_answers import SetAnswers, answer
from hamcache.pipeline.use.predict.predictor import Predictor

_SCORING = 1  # part of the fingerprint: another way of scoring makes other evaluations
FEW = 10
"""Images of a class below which a reader is cautioned."""

OnProgress = Callable[[str, int, int | None], None]
"""Takes what is asked, how many images are done, and how many there are."""


@dataclass(frozen=True)
class Evaluating:
    """Choices of an evaluation.

    Attributes:
        pairs: Classes of the run and what the data set calls them, where the names differ.
        corruptions: Corruptions whose severities the images are scored at as well (see `extract.corruptions`).
        images: At most this many images, whole lesions in the set's own mix of classes; None: all.
        test: Score images of the run's closed test part, too, instead of leaving them out.
        coverage, sets, class_conditional: Of the prediction sets (see `evaluate.conformal.fit_sets`).
        resamples: Resamples of the bootstraps.
    """

    pairs: Sequence[Pair] = ()
    corruptions: Sequence[str] = ()
    images: int | None = None
    test: bool = False
    coverage: float = COVERAGE
    sets: str = "lac"
    class_conditional: bool = False
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        unknown = [name for name in self.corruptions if name not in PARAMETERS]
        if unknown:
            raise EvaluationError(f"Expected corruptions out of {', '.join(PARAMETERS)}, got {', '.join(unknown)}.")


@dataclass(frozen=True, eq=False)
class _Plan:
    """An evaluation before anything is computed: which images, which classes, and what decides the numbers."""

    run: Run
    dataset: Dataset
    chosen: Evaluating
    known: KnownImages
    classes: ClassMap
    left_out: dict[str, int]
    unmapped: dict[str, int]
    fingerprint: str = field(default="")

    @property
    def name(self) -> str:
        """Id of the evaluation."""
        return f"{self.dataset.name}-{self.fingerprint[:8]}"

    @property
    def test_images(self) -> int:
        """Images to be scored that the run's test part has, or other photographs of its lesions."""
        return self.known.count("test", self.dataset.table.frame["image_id"])

    @property
    def part(self) -> str:
        """Part of the run that its scores stand beside: test where it was opened, else validation."""
        return "test" if "test" in self.run.metrics else "validation"


def evaluate_run(
    run: Run,
    dataset: Dataset,
    workspace: Workspace,
    chosen: Evaluating = Evaluating(),
    *,
    networks: dict[str, Any] | None = None,
    workers: int | None = None,
    force: bool = False,
    on_progress: OnProgress | None = None,
) -> Evaluation:
    """Score a run on another data set; a finished evaluation of the same is found.

    Images that the run was trained or calibrated on are left out and counted, as are those of its closed test part and
    those whose label no class of the run stands for. The run's scores stand beside those of its own test part if it has
    opened it, else of validation, of the same classes.

    Args:
        run: A finished run.
        dataset: Labelled images.
        workspace: Holds the run's features, gets those of the data set, and `evaluations/<id>/`.
        chosen: Choices.
        networks: Options of `use.predict.predictor.Predictor`.
        workers: Threads of the extraction.
        force: Evaluate even if the same evaluation is there.
        on_progress: Told how far it is.

    Raises:
        EvaluationError: No image is left, or no class fits.
        PredictionError: A network or recipe here is not that of the run.
    """
    began = perf_counter()
    plan = _plan(run.checked(), dataset, workspace, chosen)
    folder = workspace.evaluations / plan.name

    def found() -> Evaluation | None:
        if not force and (folder / RECORD).is_file():
            with suppress(DamagedError):  # made anew in its place
                evaluation = read_evaluation(folder).checked()
                if evaluation.record["fingerprint"] == plan.fingerprint:
                    return replace(evaluation, reused=True)
        return None

    if (evaluation := found()) is not None:
        return evaluation
    workspace.evaluations.mkdir(parents=True, exist_ok=True)
    with held(folder, on_wait=lambda: None):
        if (evaluation := found()) is not None:
            return evaluation
        with new_folder(workspace.evaluations) as partial:
            predictor = Predictor(run, workspace, **(networks or {}))
            record, predictions = _Evaluator(plan, predictor, workers, on_progress, partial).result()
            seconds = round(perf_counter() - began, 1)
            record |= {"seconds": seconds, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
            return save_evaluation(partial, plan.name, record, predictions)


def _plan(run: Run, dataset: Dataset, workspace: Workspace, chosen: Evaluating) -> _Plan:
    frame = dataset.table.frame
    labels = [label for label in dataset.table.classes if (frame["label"] == label).any()]
    classes = map_classes(run.classes, labels, chosen.pairs)
    known = known_images(run, dataset, workspace)
    parts = frame["image_id"].map(dict(known.parts)).fillna("")
    closed = ["train", "validation"] + (["test"] if not (chosen.test or "test" in run.metrics) else [])
    mapped = frame["label"].isin(list(classes.codes))
    kept = frame[~parts.isin(closed) & mapped]
    left_out = {part: int((parts == part).sum()) for part in closed if (parts == part).any()}
    unmapped = frame.loc[~parts.isin(closed) & ~mapped, "label"].value_counts().to_dict()
    if unmapped:
        left_out["class unknown to the run"] = int(sum(unmapped.values()))
    if kept.empty:
        reasons = ", ".join(f"{reason}: {count:,}" for reason, count in left_out.items())
        advice = " --test opens the test set." if "test" in left_out else " Name a data set that it has not seen."
        raise EvaluationError(
            f"Expected images of {dataset.name} that run {run.id} was not trained or calibrated on, got none "
            f"({reasons}).{advice}"
        )
    table = dataset.table.subset(list(kept["image_id"]))
    if chosen.images is not None and chosen.images < len(table):
        table = stratified_subset(table, max(chosen.images, table.frame["label"].nunique()))
        left_out["not drawn"] = len(kept) - len(table)
    part = dataset.of(table)
    plan = _Plan(run, part, chosen, known, classes, left_out, {str(k): int(v) for k, v in unmapped.items()})
    content = [
        _SCORING,
        [run.id, run.provenance["fingerprint"], sorted(run.metrics)],
        [table.name, table.fingerprint, sorted(part.digests.items())],
        [list(classes.classes), classes.columns.tolist(), sorted(classes.codes.items()), left_out],
        {name: PARAMETERS[name] for name in chosen.corruptions},
        [chosen.coverage, chosen.sets, chosen.class_conditional, chosen.resamples],
        *([] if run.metadata is None else [run.metadata.digest(table.frame["image_id"], table.frame)]),
    ]
    return replace(plan, fingerprint=hashlib.sha256(json.dumps(content).encode()).hexdigest())


class _Evaluator:
    """One evaluation under way."""

    def __init__(
        self, plan: _Plan, predictor: Predictor, workers: int | None, on_progress: OnProgress | None, folder: Path
    ) -> None:
        self.plan, self.predictor, self.workers, self.folder = plan, predictor, workers, folder
        self.tell = on_progress or (lambda what, done, total: None)
        run, chosen = plan.run, plan.chosen
        sets = predictor.sets(chosen.coverage, chosen.sets, chosen.class_conditional)
        thresholds = {float(name): value for name, value in run.provenance.get("thresholds", {}).items()}
        self.judge = Judge(
            plan.classes, predictor.temperature, sets, run.provenance.get("positive"), thresholds, chosen.resamples
        )
        self.tables: list[pd.DataFrame] = []

    def result(self) -> tuple[dict[str, Any], pd.DataFrame]:
        """The record, without its time, and the predictions."""
        plan, run = self.plan, self.plan.run
        answers, theirs = self._ask(plan.dataset, None, 0)
        ours, absent = self._own(theirs)
        scores, own, gaps = self.judge.compared(theirs, ours, plan.known.same_names)
        coverage = self.judge.coverage(theirs)
        frame = self.tables[0]
        given = plan.classes.merged(theirs.proba).argmax(axis=1)
        record = {
            "fingerprint": plan.fingerprint,
            "run": run.id,
            "dataset": plan.dataset.name,
            "objective": run.config.objective,
            "part": plan.part,
            "test_images": plan.test_images,
            "classes": list(plan.classes.classes),
            "run_classes": list(run.classes),
            "columns": plan.classes.columns.tolist(),
            "labels": {label: plan.classes.classes[code] for label, code in plan.classes.codes.items()},
            "only_in_run": {plan.classes.classes[code]: int((given == code).sum()) for code in plan.classes.absent},
            "only_in_set": plan.unmapped,
            "images": len(frame),
            "lesions": int(frame["group"].nunique()),
            "images_of": {plan.classes.classes[c]: int(n) for c, n in enumerate(np.bincount(theirs.y)) if n},
            "left_out": plan.left_out | ({"unreadable": len(answers.errors)} if answers.errors else {}),
            "errors": answers.errors,
            "scores": plain_all(scores),
            "own": plain_all(own),
            "difference": plain_all(gaps),
            "own_images": len(ours.y),
            "own_left_out": absent,
            "paired": plan.known.same_names,
            "temperature": self.predictor.temperature.value,
            "calibrated": plain_all(self.judge.calibrated(theirs)),
            "own_calibrated": plain_all(self.judge.calibrated(ours)),
            "coverage": {
                "promised": plan.chosen.coverage,
                "sets": plan.chosen.sets,
                "class_conditional": plan.chosen.class_conditional,
                "share": plain(coverage["share"]),
                "size": plain(coverage["size"]),
                "by_class": coverage["by_class"],
                "own": plain(share(self.judge.covered(ours), ours.groups, plan.chosen.resamples)),
            },
            **self._likeness(answers, theirs),
            "corrupted": self._corrupted(answers, theirs),
            "resamples": plan.chosen.resamples,
            "versions": versions(),
        }
        record["notes"] = self._notes(theirs)
        return record, pd.concat(self.tables, ignore_index=True)

    def _ask(self, dataset: Dataset, corruption: str | None, severity: int) -> tuple[SetAnswers, Answered]:
        what = f"{corruption} {severity}" if corruption else "asking"
        answers = answer(self.predictor, dataset, self.workers, lambda done, total: self.tell(what, done, total))
        frame = dataset.table.frame.set_index("image_id").loc[answers.ids].reset_index()
        codes = frame["label"].map(dict(self.plan.classes.codes)).to_numpy(np.int64)
        answered = Answered(codes, answers.proba, frame["group"].to_numpy(dtype=object))
        inside = self.judge.inside(answered)
        table = frame[["image_id", "group"]].assign(
            label=[self.plan.classes.classes[code] for code in codes],
            corruption=corruption or "",
            severity=severity,
            **{f"p_{name}": answers.proba[:, code] for code, name in enumerate(self.plan.run.classes)},
            prediction_set=[
                " ".join(name for name, there in zip(self.plan.run.classes, row, strict=True) if there)
                for row in inside
            ],
            unlike_p=np.nan if answers.unlike_p is None else answers.unlike_p,
            nearest="" if answers.nearest is None else answers.nearest,
            nearest_similarity=np.nan if answers.similarity is None else answers.similarity,
        )
        self.tables.append(table)
        return answers, answered

    def _own(self, theirs: Answered) -> tuple[Answered, int]:
        """The run's own images of the classes that the data set has, and the number of those that were left out."""
        y, proba, groups = self.plan.run.answers(self.plan.part)
        ours = Answered(self.plan.classes.columns[y], proba, groups)
        there = np.isin(ours.y, theirs.y)
        return ours[there], int((~there).sum())

    def _likeness(self, answers: SetAnswers, theirs: Answered) -> dict[str, Any]:
        """Distances of the images from the training images."""
        flagged = self._flagged(answers)
        if flagged is None or answers.unlike_p is None or answers.similarity is None:
            return {"unlike": None}
        return {
            "unlike": plain(share(flagged, theirs.groups, self.plan.chosen.resamples)),
            "unlike_at": self.predictor.unlike_at(),
            "median_unlike_p": float(np.median(answers.unlike_p)),
            "median_similarity": float(np.nanmedian(answers.similarity)),
        }

    def _flagged(self, answers: SetAnswers) -> np.ndarray | None:
        return None if answers.unlike_p is None else answers.unlike_p <= self.predictor.unlike_at()

    def _corrupted(self, answers: SetAnswers, theirs: Answered) -> list[dict[str, Any]]:
        """Scores at each severity of each corruption; first those of the images as they are."""
        if not self.plan.chosen.corruptions:
            return []
        rows = [self._at(None, 0, answers, theirs)]
        for corruption in self.plan.chosen.corruptions:
            for severity in SEVERITIES:
                with corrupted_copy(self.plan.dataset, corruption, severity, self.folder) as copy:
                    rows.append(self._at(corruption, severity, *self._ask(copy, corruption, severity)))
        return rows

    def _at(self, corruption: str | None, severity: int, answers: SetAnswers, images: Answered) -> dict[str, Any]:
        resamples, flagged = self.plan.chosen.resamples, self._flagged(answers)
        return {
            "corruption": corruption,
            "severity": severity,
            "parameter": None if corruption is None else PARAMETERS[corruption][severity - 1],
            "scores": plain_all(self.judge.scores(images, plain_metrics(self.plan.run.config.objective))),
            "calibrated": plain_all(self.judge.calibrated(images)),
            "coverage": plain(share(self.judge.covered(images), images.groups, resamples)),
            "unlike": None if flagged is None else plain(share(flagged, images.groups, resamples)),
        }

    def _notes(self, theirs: Answered) -> list[str]:
        """Cautions for a reader of the scores."""
        plan, notes = self.plan, []
        known = {part: plan.left_out.get(part, 0) for part in ("train", "validation", "test")}
        if known["train"] or known["validation"]:
            notes.append(
                f"{known['train']:,} images that the run was trained on and {known['validation']:,} that it was "
                "calibrated on were left out: the same files, or lesions of the same name."
            )
        if known["test"]:
            notes.append(f"{known['test']:,} images of the run's closed test set were left out: --test opens it.")
        elif plan.test_images:
            notes.append(
                f"{plan.test_images:,} images are of the run's test set, or show its lesions: these scores must not be "
                "used to choose anything."
            )
        if plan.part == "validation":
            notes.append(
                "The run has not opened its test set: its own scores are those of validation, on which temperature and "
                "prediction sets were fitted."
            )
        if plan.known.note:
            notes.append(plan.known.note)
        if plan.run.metadata is not None:
            notes += plan.run.metadata.notes(plan.dataset.table.frame)
        for label, count in plan.unmapped.items():
            notes.append(f"{label}: {count:,} images were left out, for no class of the run stands for it (--map).")
        if plan.classes.absent:
            names = ", ".join(plan.classes.classes[code] for code in plan.classes.absent)
            notes.append(
                f"No image of {names}: these classes are left out of means; images given to them are mistakes."
            )
        few = [plan.classes.classes[c] for c, n in enumerate(np.bincount(theirs.y)) if 0 < n < FEW]
        if few:
            notes.append(f"Fewer than {FEW} images of {', '.join(few)}: their scores mean little.")
        sets = self.predictor.sets(plan.chosen.coverage, plan.chosen.sets, plan.chosen.class_conditional)
        return [*notes, *self.predictor.notes(sets)]
