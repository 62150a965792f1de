"""Leakage, demonstrated: how much better a head looks when other photographs of the test lesions are in train.

Photographs of one lesion resemble each other. A random split of *images* puts some of them into train and others into
the test set, and a head then recognises lesions instead of diagnosing them. `leakage_demo` measures by how much each
head is flattered, on one and the same test set (see `leaky_parts.Draw`): the honest and the leaky train part
have as many images of as many lesions of each class, and only the leaky one has lesions of the test set among them.
Beside that it tells what the two kinds of split report in practice, each on the test set that it makes itself.

Lesions of the experiment's own test set take no part, so the demonstration opens nothing.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import LeakageError
from hamcache.pipeline.evaluate.intervals import LEVEL, RESAMPLES
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.experiment.learning import fit_head
from hamcache.pipeline.experiment.runner import fit_folds, identify, make_splits
from hamcache.pipeline.runs.provenance import versions
from hamcache.pipeline.studies.experiments import COPIES, Experiment, all_features, plan
from hamcache.pipeline.studies.leakage.gaps import Images, compare, mean_scores
from hamcache.pipeline.studies.leakage.leaky_parts import Draw, Parts, draw, open_images
from hamcache.pipeline.studies.leakage.outcome import LeakageDemo, load_demo, save_demo
from hamcache.pipeline.studies.parallel import in_processes, jobs_that_fit

HEADS = ("logreg", "knn", "random_forest", "mlp")
FEATURES = "tf_efficientnet_lite0"
SEEDS = 5
METRICS = ("mcc", "balanced_accuracy", "weighted_f1", "accuracy")
_SCORING = 1  # part of the fingerprint: another way of scoring makes other demonstrations


def leakage_demo(
    features: str = FEATURES,
    heads: Sequence[str] = HEADS,
    *,
    dataset: str = "",
    augmentation: str = "none",
    views: int = 1,
    seeds: int = SEEDS,
    workspace: Workspace,
    extract: bool = False,
    overrides: Iterable[str] = (),
    settings: Iterable[str] = (),
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LeakageDemo:
    """Train each head on honest and on leaky parts of a data set and compare; a finished demonstration is found.

    Args:
        features: Cached backbones, `A` or `A+B`.
        heads: Names of heads.
        dataset: As in `hamcache extract`; empty: the synthetic data set.
        augmentation, views: Of the features.
        seeds: How many times everything is drawn and trained.
        workspace: Holds `features/` and gets `leakage/<data set>-<digest>/`.
        extract: First extract the features that the cache lacks.
        overrides: `key=value` settings of the experiment that come before features and head.
        settings: Those that come after them, e.g. `head.class_weight=none`; each head must know them.
        jobs: Trainings at a time; None: one a core, as far as memory reaches.
        on_progress: Takes the number of trainings done, and of all.

    Raises:
        LeakageError: The data set has no groups of several images, or too few groups of a class; no head could be
            trained.
        hamcache.cache.errors.MissingFeaturesError: The cache lacks features; names the command that makes them.
        ConfigError, UnknownHeadError: What the names say.
    """
    of_data = [f"dataset={json.dumps(dataset)}"] * bool(dataset)
    experiments = plan(
        [features],
        heads,
        augmentation=augmentation,
        views=views,
        overrides=[*of_data, *overrides],
        settings=settings,
    )
    if extract:
        from hamcache.pipeline.experiment.extraction import extract_for  # imports timm

        extract_for(all_features(experiments), workspace)
    return demonstrate(experiments, workspace, seeds=seeds, jobs=jobs, on_progress=on_progress)


def demonstrate(
    experiments: Sequence[Experiment],
    workspace: Workspace,
    *,
    seeds: int = SEEDS,
    jobs: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> LeakageDemo:
    """`leakage_demo` for heads on the same features that are planned already (`experiments.plan`); extracts nothing.

    Args:
        experiments: One a head.
        workspace, seeds, jobs, on_progress: As in `leakage_demo`.

    Raises:
        LeakageError, hamcache.cache.errors.MissingFeaturesError: As `leakage_demo`.
    """
    if seeds < 1:
        raise LeakageError(f"expected 1 seed or more, but got {seeds}.")
    inputs = open_inputs(all_features(experiments), workspace)
    return _Demonstration(experiments, inputs, seeds, workspace).run(jobs, on_progress)


@dataclass(frozen=True, eq=False)
class _Task:
    """One training: a head, a seed's parts, and where it belongs."""

    config: ExperimentConfig
    head: str
    number: int
    arm: str
    parts: Parts


class _Demonstration:
    """Draws, trains, scores and saves."""

    def __init__(self, experiments: Sequence[Experiment], inputs: Inputs, seeds: int, workspace: Workspace) -> None:
        self.experiments, self.inputs, self.workspace = list(experiments), inputs, workspace
        self.config = experiments[0].config
        (self.split, *_) = make_splits(self.config, inputs.table)
        self.seeds = [self.config.seed + number for number in range(seeds)]
        self.pool = open_images(inputs.table, set(self.split.ids("test")), set(inputs.left_out))
        share = self.config.split.validation_fraction
        self.draws = [draw(self.pool, seed, validation_fraction=share) for seed in self.seeds]
        self.metrics = list(dict.fromkeys((self.config.objective, *METRICS)))

    def run(self, jobs: int | None, on_progress: Callable[[int, int], None] | None) -> LeakageDemo:
        found = self._find(self.experiments)
        if found is not None:
            return found
        started = perf_counter()
        probas, failed, warnings = self._train(jobs, on_progress)
        worked = [one for one in self.experiments if one.head not in failed]
        if not worked:
            head, reason = next(iter(failed.items()))
            raise LeakageError(f"expected at least one of {len(failed)} heads to be trained, but {head}: {reason}")
        trained = perf_counter()
        sets = _sets(self.draws, probas, [one.head for one in worked])
        scores = mean_scores(sets, self.metrics, classes=self.inputs.table.classes)
        lesions = self.pool.frame["group"].nunique()
        table = compare(scores, [one.head for one in worked], self.metrics, lesions)
        fingerprint = self._fingerprint(worked)
        summary = {
            "fingerprint": fingerprint,
            "dataset": self.inputs.table.name,
            "features": worked[0].features,
            "blocks": [block.model_dump(mode="json") for block in self.config.features.blocks],
            "heads": {one.head: one.config.head.params for one in worked},
            "metric": self.config.objective,
            "seeds": self.seeds,
            "resamples": RESAMPLES,
            "level": LEVEL,
            "images": len(self.pool),
            "lesions": lesions,
            "not_used": len(self.inputs.table) - len(self.pool),
            "draws": [_sizes(one) for one in self.draws],
            "by_seed": _by_seed(sets, self.metrics),
            "failed": failed,
            "warnings": warnings,
            "seconds": {"train": round(trained - started, 1), "score": round(perf_counter() - trained, 1)},
            "versions": versions(),
        }
        return save_demo(table, summary, self._folder(fingerprint))

    def _train(
        self, jobs: int | None, on_progress: Callable[[int, int], None] | None
    ) -> tuple[dict[tuple[str, int, str], np.ndarray], dict[str, str], list[str]]:
        """(head, number of the draw, arm) -> probabilities of the test images; heads that failed; warnings."""
        opened = self.inputs.load(all_features(self.experiments).features, list(self.pool.frame["image_id"]))
        tasks = [
            _Task(one.config.model_copy(update={"seed": each.seed}), one.head, number, arm, each.arms[arm])
            for one in reversed(self.experiments)
            for number, each in enumerate(self.draws)
            for arm in each.arms
        ]
        width = sum(block.dim for block in opened) * max(block.n_views for block in opened)
        need = COPIES * 4 * max(len(task.parts["train"]) for task in tasks) * width
        probas: dict[tuple[str, int, str], np.ndarray] = {}
        failed: dict[str, str] = {}
        warnings: dict[str, None] = {}
        job = partial(_fit, inputs=self.inputs)
        for done, (position, result) in enumerate(
            in_processes(job, tasks, jobs or jobs_that_fit(need, len(tasks))), start=1
        ):
            task = tasks[position]
            if isinstance(result, Exception):
                failed.setdefault(task.head, f"{type(result).__name__}: {' '.join(str(result).split())}")
            else:
                probas[task.head, task.number, task.arm], lines = result
                warnings |= dict.fromkeys(f"{task.head}: {line}" for line in lines)
            if on_progress:
                on_progress(done, len(tasks))
        return probas, failed, sorted(warnings)

    def _fingerprint(self, experiments: Sequence[Experiment]) -> str:
        """sha256 over all that decides the numbers."""
        content = [
            _SCORING,
            [identify(one.config, self.inputs, [self.split])["fingerprint"] for one in experiments],
            [self.metrics, RESAMPLES],
            self.inputs.bytes_fingerprint(list(self.pool.frame["image_id"])),
            [
                {arm: {name: part.ids for name, part in parts.items()} for arm, parts in d.arms.items()}
                for d in self.draws
            ],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def _folder(self, fingerprint: str) -> Path:
        return self.workspace.leakage / f"{self.inputs.table.name}-{fingerprint[:8]}"

    def _find(self, experiments: Sequence[Experiment]) -> LeakageDemo | None:
        fingerprint = self._fingerprint(experiments)
        folder = self._folder(fingerprint)
        if not (folder / "leakage.json").is_file():
            return None
        found = load_demo(folder, self.workspace)
        return replace(found, reused=True) if found.summary.get("fingerprint") == fingerprint else None


def _fit(task: _Task, *, inputs: Inputs) -> tuple[np.ndarray, list[str]]:
    """Probabilities of the task's test images, by the pipeline's own training, and its warnings."""
    lines: list[str] = []
    fitted, _ = fit_folds(task.config, inputs, [task.parts], fit_head, log=lines.append, predict=["test"])
    return fitted[0].proba["test"], [line for line in lines if line.startswith("warning")]


def _sets(
    draws: Sequence[Draw], probas: Mapping[tuple[str, int, str], np.ndarray], heads: Sequence[str]
) -> list[Images]:
    """The test images of each draw: all, those with a sibling, the others, and those of the practised splits."""
    sets = []
    for number, each in enumerate(draws):
        seed = each.seed

        def of(arm: str, name: str, number: int = number) -> dict[str, np.ndarray]:
            return {f"{head}/{name}": probas[head, number, arm] for head in heads}

        test, own = each.arms["honest"]["test"], each.arms["careful"]["test"]
        both = Images(seed, "all", test.y, test.groups, of("honest", "honest") | of("leaky", "leaky"))
        sets += [both, both.only("sibling", each.has_sibling), both.only("no sibling", ~each.has_sibling)]
        sets.append(Images(seed, "own", own.y, own.groups, of("careful", "honest")))
        sets.append(Images(seed, "own", test.y, test.groups, of("careless", "leaky")))
    return sets


def _by_seed(sets: Sequence[Images], metrics: Sequence[str]) -> list[dict[str, Any]]:
    """The scores of each seed, by images, head and arm; those that are not defined are null."""
    rows = []
    for images in (one for one in sets if len(one.y)):
        for predictor, proba in images.probas.items():
            head, arm = predictor.split("/")
            scores = {metric: get_metric(metric)(images.y, proba) for metric in metrics}
            values = {metric: None if np.isnan(value) else round(value, 6) for metric, value in scores.items()}
            rows.append({"seed": images.seed, "images": images.name, "head": head, "arm": arm, **values})
    return rows


def _sizes(each: Draw) -> dict[str, Any]:
    return {
        "seed": each.seed,
        "test": len(each.has_sibling),
        "test_with_sibling": int(each.has_sibling.sum()),
        "replaced": each.replaced,
        **{arm: {name: len(part) for name, part in parts.items()} for arm, parts in each.arms.items()},
    }
