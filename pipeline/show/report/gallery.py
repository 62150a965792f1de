"""The most confident mistakes of some runs, and the training images that look most like them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hamcache.cache.errors import CacheError
from hamcache.data.errors import DataError
from hamcache.extract.errors import ExtractError
from hamcache.heads.scored import scored
from hamcache.pipeline.errors import FeaturesError
from hamcache.pipeline.experiment.inputs import image_blocks
from hamcache.pipeline.inspect.feature_map import first_view, one_view
from hamcache.pipeline.inspect.neighbours import JointSpace, nearest
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.report.datasets import LARGE, SMALL, Datasets

NEIGHBOURS = 5
OF_ONE_COHORT = 3
"""Runs of the largest cohort that have a gallery; the other cohorts have one each."""
MOST_RUNS = 6


@dataclass(frozen=True)
class Neighbour:
    """A training image: its id, its label, and its cosine with the mistake."""

    image_id: str
    label: str
    similarity: float


@dataclass(frozen=True, eq=False)
class Mistake:
    """An image that a run gave a wrong class, with all its probabilities."""

    image_id: str
    lesion: str
    true: int
    given: int
    proba: np.ndarray
    nearest: tuple[Neighbour, ...] = ()


def chosen_rows(board: Board) -> list[Row]:
    """The runs whose mistakes are shown: the best of the largest cohort, and the best of the others."""
    rows = board.in_cohort(board.cohorts[0])[:OF_ONE_COHORT]
    return [*rows, *(cohort.best for cohort in board.cohorts[1:])][:MOST_RUNS]


def mistakes(run: Run, part: str, most: int) -> list[Mistake]:
    """The surest mistakes of each pair of true and given class, at most `most` a pair, the surest first."""
    rows, y, proba = run.part(part), run.labels(part), run.probabilities(part)
    given = proba.argmax(axis=1)
    order = np.argsort(-proba.max(axis=1), kind="stable")
    taken: dict[tuple[int, int], int] = {}
    found = []
    for n in order[y[order] != given[order]]:
        pair = (int(y[n]), int(given[n]))
        taken[pair] = taken.get(pair, 0) + 1
        if taken[pair] <= most:
            found.append(Mistake(str(rows["image_id"][n]), str(rows["group"][n]), *pair, proba[n]))
    return found


def nearest_training_images(
    run: Run, image_ids: Sequence[str], part: str, datasets: Datasets
) -> list[tuple[Neighbour, ...]] | str:
    """The training images whose cached features are most like those of some images; a sentence where that cannot be.

    View 0 of each block is compared, in the joint space of the training images (`inspect.neighbours`). An image's own
    lesion is left out, which in a cross-validated run is in both parts.

    Args:
        run: A run of a head on features.
        image_ids: Images of `part`.
        part: Part of the split.
        datasets: Knows the run's table.
    """
    if run.config.net is not None:
        return "this run is a network trained from the images: it has no cached features to compare"
    if not image_blocks(run.config.features):
        return "this run has learned from metadata alone: it has no features of images to compare"
    if isinstance(dataset := datasets.of(run), str):
        return dataset
    train, asked = run.part("train"), run.part(part).set_index("image_id").loc[list(image_ids)].reset_index()
    config = run.config.model_copy(update={"features": one_view(run.config.features)})
    try:
        inputs = datasets.inputs(config, run)
        blocks = inputs.blocks_of(config.features)
        keys = {store.key.digest for block in blocks for store in block.stores}
        if not keys <= set(run.provenance.get("stores", {}).values()):
            return "the feature stores that this run was trained on are not here, only others of the same backbones"
        inputs.load(config.features, [*train["image_id"], *asked["image_id"]])
        own, others = (
            [first_view(block.arrays(list(rows["image_id"])), config.features) for block in blocks]
            for rows in (train, asked)
        )
    except (CacheError, FeaturesError, DataError, ExtractError, OSError) as error:
        return " ".join(str(error).split())
    codes = pd.factorize(pd.concat([train["group"], asked["group"]]))[0].astype(np.int64)
    space = JointSpace.of(own)
    found = nearest(
        space.place(others),
        space.place(own),
        NEIGHBOURS,
        query_groups=codes[len(train) :],
        base_groups=codes[: len(train)],
    )
    ids, labels = train["image_id"].to_numpy(object), train["label"].to_numpy(object)
    return [
        tuple(Neighbour(str(ids[i]), str(labels[i]), float(s)) for i, s in zip(rows, cosines, strict=True) if i >= 0)
        for rows, cosines in zip(found.index, found.similarity, strict=True)
    ]


def galleries(
    board: Board,
    most: int,
    datasets: Datasets,
    *,
    on_run: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """All that the page's gallery shows, as plain values for JSON; each picture stands in it once.

    Args:
        board: The runs.
        most: Mistakes shown of each pair of classes.
        datasets: Knows the tables and images.
        on_run: Takes the number of runs done.

    Returns:
        `pictures`: data URIs. `runs`: one entry a run, `name, run, anchor, cohort, classes, names, counts, note,
        mistakes`; a mistake has `id, lesion, true, given, p, picture, near`, a neighbour `id, label, cosine, picture`;
        `picture` is a position in `pictures`, or null where the file cannot be read.
    """
    places: dict[str, int] = {}

    def place(run: Run, image_id: str, side: int) -> int | None:
        uri = datasets.picture(run, image_id, side)
        return None if uri is None else places.setdefault(uri, len(places))

    entries = []
    for row in chosen_rows(board):
        entries.append(_entry(row, board, most, datasets, place))
        if on_run:
            on_run(len(entries))
    return {"pictures": list(places), "runs": entries}


def _entry(
    row: Row,
    board: Board,
    most: int,
    datasets: Datasets,
    place: Callable[[Run, str, int], int | None],
) -> dict[str, Any]:
    run, part = row.run, board.part
    found = mistakes(run, part, most)
    near = nearest_training_images(run, [one.image_id for one in found], part, datasets)
    note = f"No nearest training images: {near}" if isinstance(near, str) else ""
    dataset = datasets.of(run)
    if isinstance(dataset, str):
        note = f"No pictures: {dataset}"
    of_each = [()] * len(found) if isinstance(near, str) else near
    shown = [
        {
            "id": one.image_id,
            "lesion": one.lesion,
            "true": one.true,
            "given": one.given,
            "p": [round(float(p), 4) for p in one.proba],
            "picture": place(run, one.image_id, LARGE),
            "near": [
                {
                    "id": other.image_id,
                    "label": run.classes.index(other.label),
                    "cosine": round(other.similarity, 3),
                    "picture": place(run, other.image_id, SMALL),
                }
                for other in neighbours
            ],
        }
        for one, neighbours in zip(found, of_each, strict=True)
    ]
    names = run.class_names
    true = run.labels(part)
    counts = scored(true, run.probabilities(part)).confusion[0].astype(int)
    return {
        "name": row.name,
        "run": run.id,
        "anchor": row.anchor,
        "cohort": board.cohorts[row.cohort].name,
        "classes": list(run.classes),
        "names": [names.get(label, label) for label in run.classes],
        "counts": counts.tolist(),
        "images": len(true),
        "note": note,
        "mistakes": shown,
    }
