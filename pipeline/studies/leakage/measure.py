"""Leakage, demonstrated: how much better a head looks when other photographs of the test lesions are in train.

Photographs of one lesion resemble each other. A random split of *images* puts some of them into train and others into
the test set, and a head then recognises lesions instead of diagnosing them. `demonstrate` measures by how much each
head is flattered, on one and the same test set (see `leaky_parts.Draw`): the honest and the leaky train part
have as many images of as many lesions of each class, and only the leaky one has lesions of the test set among them.
Beside that it tells what the two kinds of split report in practice, each on the test set that it makes itself.

Lesions of the experiment's own test set take no part, so the demonstration opens nothing.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from hamcache.configs.defaults import LEAKAGE_REPEATS
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import DamagedError, LeakageError
from hamcache.pipeline.evaluate.intervals import LEVEL, RESAMPLES
from hamcache.pipeline.experiment.fitting import fit_folds
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import fit_head
from hamcache.pipeline.experiment.preparation import identify
from hamcache.pipeline.runs.provenance import versions
from hamcache.pipeline.studies.experiments import Experiment
from hamcache.pipeline.studies.leakage.gaps import Images, compare, mean_scores, scores_by_seed
from hamcache.pipeline.studies.leakage.leaky_parts import ARMS, Draw, Parts, draw, open_images
from hamcache.pipeline.studies.leakage.outcome import LeakageDemo, read_demo, save_demo
from hamcache.pipeline.studies.opened import open_experiments, training_bytes
from hamcache.pipeline.studies.parallel import in_processes, workers_that_fit

METRICS = ("mcc", "balanced_accuracy", "weighted_f1", "accuracy")
_SCORING = 1  # part of the fingerprint: another way of scoring makes other demonstrations

Probas = dict[tuple[str, int, str], np.ndarray]
"""(head, number of the draw, arm) -> probabilities of the test images."""


def demonstrate(
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    seeds: int = LEAKAGE_REPEATS,
    workers: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LeakageDemo:
    """Train each head on honest and on leaky parts of a data set and compare; a finished demonstration is found.

    Args:
        experiments: One a head, on the same features, which are cached (`studies.experiments.plan`).
        workspace: Holds `features/` and gets `leakage/<data set>-<digest>/`.
        seeds: Number of times that everything is drawn and trained.
        workers: Trainings at a time; None: one per core, limited by free memory.
        on_progress: Takes the number of trainings done, and of all.

    Raises:
        LeakageError: The data set has no groups of several images, or too few groups of a class; no head could be
            trained.
        hamcache.cache.errors.MissingFeaturesError: The cache lacks features; names the command that makes them.
    """
    if seeds < 1:
        raise LeakageError(f"Expected 1 seed or more, but got {seeds}. Ask for at least one.")
    config = experiments[0].config
    opened = open_experiments([experiment.config for experiment in experiments], workspace)
    inputs, split = opened.inputs, opened.splits_of(config)[0]
    pool = open_images(inputs.table, set(split.ids("test")), set(inputs.left_out))
    fraction = config.split.validation_fraction
    draws = [draw(pool, config.seed + number, validation_fraction=fraction) for number in range(seeds)]
    metrics = list(dict.fromkeys((config.objective, *METRICS)))

    def place(heads: Sequence[Experiment]) -> tuple[str, Path]:
        """A sha256 over all that decides the numbers of these heads, and the folder that they go to."""
        content = [
            _SCORING,
            [identify(experiment.config, inputs, [split])["fingerprint"] for experiment in heads],
            [metrics, RESAMPLES],
            inputs.bytes_fingerprint(list(pool.frame["image_id"])),
            [{arm: {name: part.ids for name, part in parts.items()} for arm, parts in d.arms.items()} for d in draws],
        ]
        fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
        return fingerprint, workspace.leakage / f"{inputs.table.name}-{fingerprint[:8]}"

    fingerprint, folder = place(experiments)
    if (folder / "leakage.json").is_file():
        with suppress(DamagedError):  # made anew in its place
            demo = read_demo(folder)
            if demo.summary.get("fingerprint") == fingerprint:
                return replace(demo, reused=True)
    started = perf_counter()
    probas, failed, warnings = _train(experiments, inputs, pool, draws, workers, on_progress)
    trained = perf_counter()
    worked = [experiment for experiment in experiments if experiment.head not in failed]
    heads = [experiment.head for experiment in worked]
    sets = _sets(draws, probas, heads)
    scores = mean_scores(sets, metrics, classes=inputs.table.classes)
    lesions = pool.frame["group"].nunique()
    fingerprint, folder = place(worked)
    summary = {
        "fingerprint": fingerprint,
        "dataset": inputs.table.name,
        "features": experiments[0].features,
        "blocks": [block.model_dump(mode="json") for block in config.features.blocks],
        "heads": {experiment.head: experiment.config.head.params for experiment in worked},
        "metric": config.objective,
        "seeds": [each.seed for each in draws],
        "resamples": RESAMPLES,
        "level": LEVEL,
        "images": len(pool),
        "lesions": lesions,
        "not_used": len(inputs.table) - len(pool),
        "draws": [each.sizes for each in draws],
        "by_seed": scores_by_seed(sets, metrics),
        "failed": failed,
        "warnings": warnings,
        "seconds": {"train": round(trained - started, 1), "score": round(perf_counter() - trained, 1)},
        "versions": versions(),
    }
    return save_demo(compare(scores, heads, metrics, lesions), summary, folder)


@dataclass(frozen=True, eq=False)
class _Task:
    """One training: a head, and the parts of one arm of the draw with this number."""

    config: ExperimentConfig
    head: str
    number: int
    arm: str
    parts: Parts


def _train(
    experiments: Sequence[Experiment],
    inputs: Inputs,
    pool: ImageTable,
    draws: Sequence[Draw],
    workers: int | None,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[Probas, dict[str, str], list[str]]:
    """The probabilities of all test images, the heads that failed with the reason, and warnings."""
    blocks = inputs.load(experiments[0].config.features, list(pool.frame["image_id"]))
    tasks = [
        _Task(experiment.config.model_copy(update={"seed": each.seed}), experiment.head, number, arm, parts)
        for experiment in reversed(experiments)
        for number, each in enumerate(draws)
        for arm, parts in each.arms.items()
    ]
    width = sum(block.dim for block in blocks) * max(block.n_views for block in blocks)
    need = training_bytes(max(len(task.parts["train"]) for task in tasks), width)
    results = in_processes(partial(_fit, inputs=inputs), tasks, workers or workers_that_fit(need, len(tasks)))
    probas: Probas = {}
    failed: dict[str, str] = {}
    warnings: set[str] = set()
    for done, (position, result) in enumerate(results, start=1):
        task = tasks[position]
        if isinstance(result, Exception):
            failed.setdefault(task.head, f"{type(result).__name__}: {' '.join(str(result).split())}")
        else:
            probas[task.head, task.number, task.arm], lines = result
            warnings |= {f"{task.head}: {line}" for line in lines}
        if on_progress:
            on_progress(done, len(tasks))
    if {experiment.head for experiment in experiments} <= set(failed):
        head, reason = next(iter(failed.items()))
        raise LeakageError(f"Expected at least one of {len(failed)} heads to be trained, but {head}: {reason}")
    return probas, failed, sorted(warnings)


def _fit(task: _Task, *, inputs: Inputs) -> tuple[np.ndarray, list[str]]:
    """Probabilities of the task's test images, by the pipeline's own training, and its warnings."""
    lines: list[str] = []
    fitted, _ = fit_folds(task.config, inputs, [task.parts], fit_head, log=lines.append, predict=["test"])
    return fitted[0].proba["test"], [line for line in lines if line.startswith("warning")]


def _sets(draws: Sequence[Draw], probas: Probas, heads: Sequence[str]) -> list[Images]:
    """The test images of each draw: all, those with a sibling, the others, and those of the practised splits."""
    sets = []
    for number, each in enumerate(draws):
        of = {
            arm: {f"{head}/{name}": probas[head, number, arm] for head in heads}
            for arm, name in zip(ARMS, ("honest", "leaky", "honest", "leaky"), strict=True)
        }
        test, careful = each.arms["honest"]["test"], each.arms["careful"]["test"]
        every = Images(each.seed, "all", test.y, test.groups, of["honest"] | of["leaky"])
        sets += [every, every.only("sibling", each.has_sibling), every.only("no sibling", ~each.has_sibling)]
        sets.append(Images(each.seed, "own", careful.y, careful.groups, of["careful"]))
        sets.append(Images(each.seed, "own", test.y, test.groups, of["careless"]))
    return sets
