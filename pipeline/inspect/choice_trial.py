"""A trial of ways to choose images for labelling: the score by the number of labels, against choosing at random.

A run's own train images play the unlabelled pool: their labels are hidden until they are chosen. All strategies begin
with the same few images, drawn at random; the head is trained, chooses a portion, is trained again with their labels,
and so on. The images that judge never move within a seed.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hamcache.configs.defaults import STRATEGIES, SUGGESTED
from hamcache.data.nearest import unknown_name
from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import get_metric
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import SuggestionError
from hamcache.pipeline.evaluate.intervals import LEVEL
from hamcache.pipeline.experiment.fitting import fit_folds
from hamcache.pipeline.experiment.inputs import Inputs, image_blocks, open_inputs
from hamcache.pipeline.experiment.learning import Part, fit_head, parts_of
from hamcache.pipeline.experiment.preparation import make_splits
from hamcache.pipeline.inspect.label_choice import Unlabelled, choose
from hamcache.pipeline.inspect.neighbours import JointSpace
from hamcache.pipeline.runs.records import Run

RANDOM = "random"


@dataclass(frozen=True)
class Trial:
    """A trial's choices.

    Attributes:
        strategies: Ways to choose, see `inspect.label_choice`; `random` is always tried.
        start: Labelled images in the beginning.
        portion: Images that are chosen at a time.
        rounds: How often.
        repeats: Seeds, from the configuration's on: of the split, the first images, the head and what is drawn.
        test: Judge on the test part instead of validation.
    """

    strategies: Sequence[str] = STRATEGIES
    start: int = SUGGESTED
    portion: int = SUGGESTED
    rounds: int = 8
    repeats: int = 5
    test: bool = False

    def __post_init__(self) -> None:
        for name in self.strategies:
            if name not in STRATEGIES:
                raise SuggestionError(unknown_name("strategy", name, STRATEGIES))

    @property
    def tried(self) -> list[str]:
        """The strategies, random choice last."""
        return [*(name for name in dict.fromkeys(self.strategies) if name != RANDOM), RANDOM]

    @property
    def part(self) -> str:
        """The part that judges."""
        return "test" if self.test else "validation"


@dataclass(frozen=True, eq=False)
class TrialScores:
    """Scores of a trial.

    Attributes:
        trial: Its choices.
        metric: Name of the score.
        rows: One row a strategy, seed and number of labels: `strategy, seed, labels, score, rarest`.
        whole: Mean score with every label of the pool.
    """

    trial: Trial
    metric: str
    rows: pd.DataFrame
    whole: float

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a strategy and number of labels: `strategy, labels, score, low, high, gain, gain_low, gain_high,
        rarest`.

        Means over seeds with their 95 % interval (Student's t); the gain is over random choice with the same seed, and
        `rarest` the mean number of labelled images of the class that has fewest in the pool.
        """
        rows = self.rows.merge(
            self.rows.loc[self.rows["strategy"] == RANDOM, ["seed", "labels", "score"]],
            on=["seed", "labels"],
            suffixes=("", "_random"),
        )
        rows["gain"] = rows["score"] - rows["score_random"]
        grouped = rows.groupby(["strategy", "labels"], sort=False)
        table = grouped[["score", "gain", "rarest"]].mean().reset_index()
        for name, low, high in (("score", "low", "high"), ("gain", "gain_low", "gain_high")):
            reach = _reach(grouped[name].std(ddof=1).to_numpy(), grouped.size().to_numpy())
            table[low], table[high] = table[name] - reach, table[name] + reach
        columns = ["strategy", "labels", "score", "low", "high", "gain", "gain_low", "gain_high", "rarest"]
        return table[columns]

    @cached_property
    def gains(self) -> pd.DataFrame:
        """One row a strategy: `strategy, gain, low, high`: the gain over random choice, averaged over all numbers of
        labels after the first, with its 95 % interval over seeds."""
        later = self.rows[self.rows["labels"] > self.rows["labels"].min()]
        means = later.groupby(["strategy", "seed"], sort=False)["score"].mean().unstack("strategy")
        rows = []
        for name in self.trial.tried[:-1]:
            gain = (means[name] - means[RANDOM]).to_numpy()
            spread = float(gain.std(ddof=1)) if len(gain) > 1 else np.nan
            reach = float(_reach(np.array([spread]), np.array([len(gain)]))[0])
            rows.append((name, float(gain.mean()), float(gain.mean()) - reach, float(gain.mean()) + reach))
        return pd.DataFrame(rows, columns=["strategy", "gain", "low", "high"])


def _reach(spread: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Half the width of the interval of a mean; NaN of one number."""
    return stats.t.ppf((1 + LEVEL) / 2, np.maximum(count - 1, 1)) * spread / np.sqrt(count)


def try_choices(
    config: ExperimentConfig,
    workspace: Workspace,
    trial: Trial = Trial(),
    on_progress: Callable[[int, int], None] | None = None,
) -> TrialScores:
    """Score a head by the number of labels, one way of choosing them beside the other.

    Args:
        config: A head on cached features; cross-validation and smaller train parts that it asks for do not count.
        workspace: Holds `features/`.
        trial: What is tried.
        on_progress: Takes the number of trainings done, and of all.

    Raises:
        SuggestionError: The experiment has no features of images, or the pool is smaller than the trial.
        MissingFeaturesError: The cache lacks features.
    """
    if config.net is not None:
        raise SuggestionError(f"Expected a head on cached features, got the net {config.net.name}. Name such a run.")
    if not image_blocks(config.features):
        raise SuggestionError("Expected a head on features of images, got one on metadata alone. Name another run.")
    whole = {"folds": None, "train_share": None, "shots": None}
    config = config.model_copy(update={"split": config.split.model_copy(update=whole)})
    inputs = open_inputs(config, workspace)
    total = trial.repeats * (len(trial.tried) * trial.rounds + 2)
    rows: list[tuple[object, ...]] = []
    ends: list[float] = []
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if on_progress:
            on_progress(done, total)

    for seed in range(config.seed, config.seed + trial.repeats):
        game = _Game(config.model_copy(update={"seed": seed}), inputs, trial)
        first = game.first()
        beginning = game.score(first)
        count()
        for strategy in trial.tried:
            labelled, scored = first, beginning
            rows.append((strategy, seed, len(labelled), scored[0], game.rarest(labelled)))
            for number in range(trial.rounds):
                labelled = np.concatenate([labelled, game.choose(strategy, labelled, scored[1], number)])
                scored = game.score(labelled)
                count()
                rows.append((strategy, seed, len(labelled), scored[0], game.rarest(labelled)))
        ends.append(game.score(np.arange(len(game.pool)))[0])
        count()
    frame = pd.DataFrame(rows, columns=["strategy", "seed", "labels", "score", "rarest"])
    return TrialScores(trial, config.objective, frame, float(np.mean(ends)))


def trial_path(run: Run, trial: Trial, workspace: Workspace) -> Path:
    """The CSV of a trial's scores in the workspace; the same trial of the same run always gets the same one."""
    content = json.dumps([run.id, trial.tried, trial.start, trial.portion, trial.rounds, trial.repeats, trial.test])
    name = f"trial-{run.config.dataset_words.label}-{hashlib.sha256(content.encode()).hexdigest()[:6]}.csv"
    return workspace.suggestions / name


class _Game:
    """One seed of a trial: the pool, and the images that judge. Images of the pool are rows of it."""

    def __init__(self, config: ExperimentConfig, inputs: Inputs, trial: Trial) -> None:
        self.config, self.inputs, self.trial = config, inputs, trial
        (split,) = make_splits(config, inputs.table)
        names = ["train", "validation", *(["test"] if trial.test else [])]
        parts = parts_of(split, inputs.table, names, inputs.left_out)
        self.pool, self.judges = parts.pop("train"), parts
        needed = trial.start + trial.rounds * trial.portion
        lesions = len(set(self.pool.groups))
        if lesions < needed:
            raise SuggestionError(
                f"Expected {needed:,} lesions or more to choose from, got {lesions:,} in train. Take fewer rounds, a "
                "smaller portion or a smaller start."
            )
        seen = config.features.model_copy(update={"blocks": tuple(image_blocks(config.features))})
        inputs.load(config.features, [*self.pool.ids, *(i for part in parts.values() for i in part.ids)])
        opened = inputs.blocks_of(seen)
        plain = seen.views.predict == "plain"
        arrays = [block.arrays(self.pool.ids) for block in opened]
        blocks = [(array.plain if plain and array.plain is not None else array.views).mean(axis=1) for array in arrays]
        self.places = JointSpace.of(blocks).place(blocks)

    def first(self) -> np.ndarray:
        """The images that are labelled in the beginning: one of each class, without which no head learns, and others.

        Raises:
            SuggestionError: There are more classes.
        """
        everything = self._unlabelled(np.arange(len(self.pool)), np.empty((len(self.pool), 1)), np.empty(0, np.int64))
        order = choose(RANDOM, everything, len(self.pool), self.config.seed)
        _, first_of_class = np.unique(self.pool.y[order], return_index=True)
        if len(first_of_class) > self.trial.start:
            raise SuggestionError(
                f"Expected to start with {len(first_of_class)} images or more, one of each class, got "
                f"{self.trial.start}. Take a larger start."
            )
        return np.concatenate([order[first_of_class], np.delete(order, first_of_class)])[: self.trial.start]

    def choose(self, strategy: str, labelled: np.ndarray, proba: np.ndarray, number: int) -> np.ndarray:
        """The next images to label; `proba` is of the whole pool."""
        left = np.flatnonzero(~np.isin(self.pool.groups, self.pool.groups[labelled]))
        chosen = choose(
            strategy,
            self._unlabelled(left, proba[left], labelled),
            self.trial.portion,
            1000 * self.config.seed + number + 1,
        )
        return left[chosen]

    def _unlabelled(self, rows: np.ndarray, proba: np.ndarray, labelled: np.ndarray) -> Unlabelled:
        return Unlabelled(proba, self.places[rows], self.pool.groups[rows], self.places[labelled])

    def score(self, labelled: np.ndarray) -> tuple[float, np.ndarray]:
        """The score after training on these images, and the probabilities of the whole pool."""
        rows = np.sort(labelled)
        train = Part(self.pool.frame.iloc[rows].reset_index(drop=True), self.pool.y[rows])
        parts = {"train": train, **self.judges, "pool": self.pool}
        wanted = [self.trial.part, "pool"]
        (fitted,), _ = fit_folds(self.config, self.inputs, [parts], fit_head, log=lambda line: None, predict=wanted)
        metric = get_metric(self.config.objective)
        return metric(self.judges[self.trial.part].y, fitted.proba[self.trial.part]), fitted.proba["pool"]

    def rarest(self, labelled: np.ndarray) -> int:
        """Number of images of the class that the pool has fewest of, among some."""
        counts = np.bincount(self.pool.y)
        rarest = int(np.where(counts > 0, counts, counts.max() + 1).argmin())
        return int((self.pool.y[labelled] == rarest).sum())
