"""The data sets of the runs: their tables, where these are still here, and their images as small pictures."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hamcache.configs.defaults import PARTS
from hamcache.data.dataset import Dataset
from hamcache.data.summary import Summary, summarise
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.web.photographs import Photographs, thumbnail

LARGE, SMALL = 288, 128
"""Longest side in pixels of a mistake, and of a neighbour."""
QUALITY = 72


class Datasets(Photographs):
    """The data sets of a report: their tables, features and images, each read once."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._inputs: dict[str, Inputs] = {}
        self._pictures: dict[tuple[str, int], str | None] = {}

    def inputs(self, config: ExperimentConfig, run: Run) -> Inputs:
        """The features that `config`, which is of the same data set as `run`, reads; see `open_inputs`."""
        photographed = self.of(run)
        assert not isinstance(photographed, str)
        table = photographed.table
        dataset = Dataset(run.config.dataset_words, table, self.workspace.digests(table.name))
        opened = open_inputs(config, self.workspace, dataset=dataset, inputs=self._inputs.get(table.fingerprint))
        self._inputs[table.fingerprint] = opened
        return opened

    def picture(self, run: Run, image_id: str, side: int) -> str | None:
        """A `data:` URI of an image, its longest side at most `side` pixels; None where its file cannot be read."""
        dataset = self.of(run)
        if isinstance(dataset, str) or image_id not in dataset.images:
            return None
        path, _ = dataset.images[image_id]
        if (path, side) not in self._pictures:
            self._pictures[path, side] = picture(Path(path), side)
        return self._pictures[path, side]


def picture(path: Path, side: int) -> str | None:
    """An image file as a small WebP in a `data:` URI; None where it cannot be decoded."""
    from hamcache.data.errors import BadImageError

    try:
        content = thumbnail(path, side, "WEBP", QUALITY)
    except BadImageError:
        return None
    return f"data:image/webp;base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True, eq=False)
class Described:
    """One data set, for the page.

    Attributes:
        name: Of the data set.
        summary: Counts of the whole table; None where it is not here.
        why: Why it is not here, or what has changed since the runs; empty if nothing has.
        splits: How it was dealt to the parts, once for each way of dealing.
    """

    name: str
    summary: Summary | None
    why: str
    splits: list["Dealt"]


@dataclass(frozen=True, eq=False)
class Dealt:
    """A way of dealing the images of some runs to the parts.

    Attributes:
        policy, seed: Of the split, with what else tells it from others.
        counts: int, one row a class, one column a part that the runs have opened.
        lesions: Part -> number of lesions.
        runs: How many runs share it.
    """

    policy: str
    seed: int
    counts: pd.DataFrame
    lesions: dict[str, int]
    runs: int


def describe(board: Board, datasets: Datasets) -> list[Described]:
    """The data sets of the runs, that with the most runs first."""
    by_name: dict[str, list[Row]] = {}
    for row in board.rows:
        by_name.setdefault(board.cohorts[row.cohort].dataset, []).append(row)
    found = []
    for name, rows in by_name.items():
        run = rows[0].run
        dataset = datasets.of(run)
        summary = None if isinstance(dataset, str) else summarise(dataset.table)
        why = dataset if isinstance(dataset, str) else ""
        if summary is not None and summary.fingerprint != run.provenance.get("table"):
            why = "images, labels or lesions have changed since the best run was trained"
        found.append(Described(name, summary, why, _ways_of_dealing(rows)))
    return found


def _ways_of_dealing(rows: Sequence[Row]) -> list[Dealt]:
    """The splits of some runs, the most used first."""
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(str(row.run.provenance.get("split")), []).append(row)
    return [_dealt(alike) for alike in sorted(by_split.values(), key=lambda alike: -len(alike))]


def _dealt(rows: Sequence[Row]) -> Dealt:
    fullest = max((row.run for row in rows), key=lambda run: len(run.metrics))
    about, images = rows[0].about, fullest.predictions
    policy = str(about["policy"])
    if fullest.config.split.train_images == "all":
        policy += ", all images of the train lesions"
    parts = [part for part in PARTS if (images["part"] == part).any()]
    counts = pd.crosstab(images["label"], images["part"])
    counts = counts.reindex(index=list(fullest.classes), columns=parts, fill_value=0)
    lesions = {part: int(images["group"][images["part"] == part].nunique()) for part in parts}
    return Dealt(policy, int(about["seed"]), counts, lesions, len(rows))


def images_per_group(summary: Summary, most: int = 6) -> list[tuple[str, int]]:
    """Lesions by their number of images, those with many images together."""
    counts = summary.images_per_group
    few = [(str(size), number) for size, number in counts.items() if size < most]
    many = sum(number for size, number in counts.items() if size >= most)
    return [*few, (f"{most} or more", many)] if many else few
