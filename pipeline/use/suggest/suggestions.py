"""Suggest which unlabelled images to label next, for a run to be trained again with more."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from hamcache.configs.defaults import STRATEGIES, SUGGESTED
from hamcache.data.dataset import Dataset, DatasetWords
from hamcache.data.readers.resolve import read_pool
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import SuggestionError
from hamcache.pipeline.inspect.label_choice import Unlabelled, choose
from hamcache.pipeline.use.external.known_images import known_images
from hamcache.pipeline.use.external.set_answers import answer
from hamcache.pipeline.use.predict.predictor import Predictor
from hamcache.pipeline.use.predict.seen import TrainingImages


@dataclass(frozen=True)
class Wish:
    """The suggestions that are asked for.

    Attributes:
        n: How many images.
        strategy: See `inspect.label_choice`.
        seed: Of what is drawn.
    """

    n: int = SUGGESTED
    strategy: str = STRATEGIES[0]
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Suggestions:
    """Images to label, the most wanted first.

    Attributes:
        frame: `image_id, path, label, group, rank, predicted, probability, margin, distance, unlike_p, p_<class>...`;
            the label is empty, to be filled in: then the file is a data set. `margin` is the difference between the
            two most probable classes, `distance` that to the nearest training image (0 to 2), `unlike_p` as in
            predictions.
        pool: Name of the pool.
        images, lesions: Images that could be chosen, and their groups.
        left_out: Reason -> number of images that could not.
        wish: What was asked for.
        fingerprint: sha256 over all that decides the choice.
    """

    frame: pd.DataFrame
    pool: str
    images: int
    lesions: int
    left_out: dict[str, int]
    wish: Wish
    fingerprint: str

    def default_path(self, workspace: Workspace) -> Path:
        """The CSV in the workspace; the same question always gets the same one."""
        return workspace.suggestions / f"{self.pool}-{self.fingerprint[:8]}.csv"


def open_pool(words: DatasetWords, workspace: Workspace) -> Dataset:
    """The images of a pool, as a data set whose labels nobody looks at.

    Raises:
        DatasetNotFoundError, TableError: See `data.readers.resolve.read_pool`.
    """
    table = read_pool(words.dataset, workspace=workspace, columns=words.columns, name=words.name)
    return Dataset(words, table, workspace.digests(table.name))


def suggest(
    predictor: Predictor,
    pool: Dataset,
    wish: Wish = Wish(),
    *,
    workers: int | None = None,
    on_progress: Callable[[int, int | None], None] | None = None,
) -> Suggestions:
    """Choose images of a pool to label; features go through the cache, so a second call decodes nothing.

    Images that the run knows (by their bytes, or by their lesion where both sets share their names) are left out and
    counted: their labels are there, or they belong to its test part. Of each lesion one image is chosen at most.

    Args:
        predictor: The run.
        pool: The images.
        wish: What is asked for.
        workers: Threads of the extraction.
        on_progress: Told how far it is.

    Raises:
        SuggestionError: The training images' features are not here, or no image of the pool is new and can be used.
        PredictionError: A network or a recipe here is not that of the run.
    """
    run, seen = predictor.run, predictor.seen
    if not isinstance(seen, TrainingImages):
        raise SuggestionError(
            f"Expected the features of the images that run {run.id} was trained on, to tell what is new, got none: "
            f"{seen}. Extract them, or name another run."
        )
    known = known_images(run, pool, predictor.workspace)
    frame = pool.table.frame
    parts = frame["image_id"].map(dict(known.parts))
    left_out = {f"known to the run ({part})": int(count) for part, count in parts.value_counts().items()}
    new = frame.loc[parts.isna(), "image_id"].tolist()
    if not new:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
        raise SuggestionError(
            f"Expected images in {pool.name} that run {run.id} does not know, got none ({reasons}). Name another pool."
        )
    part = pool.of(pool.table.subset(new))
    answers = answer(predictor, part, workers, on_progress)
    if answers.errors:
        left_out["can't be read"] = len(answers.errors)
    rows = part.table.frame.set_index("image_id").loc[answers.ids].reset_index()
    proba = predictor.temperature(answers.proba)
    places = seen.space.place([block.views.mean(axis=1) for block in answers.blocks])
    images = Unlabelled(proba, places, rows["group"].to_numpy(object), seen.directions)
    chosen = choose(wish.strategy, images, wish.n, wish.seed)
    picked = replace(images, proba=proba[chosen], places=places[chosen], groups=images.groups[chosen])
    best = picked.proba.argmax(axis=1)
    assert answers.unlike_p is not None
    table = rows.iloc[chosen][["image_id", "path", "label", "group"]].reset_index(drop=True)
    table = table.assign(
        label="",
        rank=np.arange(1, len(chosen) + 1),
        predicted=np.array(predictor.classes, dtype=object)[best],
        probability=picked.proba.max(axis=1),
        margin=picked.margins,
        distance=picked.distances,
        unlike_p=answers.unlike_p[chosen],
        **{f"p_{label}": picked.proba[:, code] for code, label in enumerate(predictor.classes)},
    )
    content = [run.id, sorted(part.digests.items()), wish.n, wish.strategy, wish.seed]
    fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    lesions = rows["group"].nunique()
    return Suggestions(table, pool.name, len(rows), lesions, left_out, wish, fingerprint)
