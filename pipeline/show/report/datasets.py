"""The data sets of the runs: their tables, where these are still here, and their images as small pictures."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.configs.defaults import PARTS
from hamcache.data.dataset import Dataset
from hamcache.data.errors import DataError
from hamcache.data.summary import Summary, summarise
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.report.board import Board, Row

LARGE, SMALL = 288, 128
"""Longest side in pixels of a mistake, and of a neighbour."""
QUALITY = 72


@dataclass(eq=False)
class Datasets:
    """Reads each data set once.

    Attributes:
        workspace: Where `synthetic` and downloaded data sets lie.
    """

    workspace: Workspace
    _tables: dict[str, ImageTable | str] = field(default_factory=dict)
    _paths: dict[str, dict[str, str]] = field(default_factory=dict)
    _inputs: dict[str, Inputs] = field(default_factory=dict)
    _pictures: dict[tuple[str, int], str | None] = field(default_factory=dict)

    def table(self, run: Run) -> ImageTable | str:
        """The table a run was made from, as it is now; where it is not here, a sentence that says so."""
        key = _key(run)
        if key not in self._tables:
            self._tables[key] = self._read(run)
        return self._tables[key]

    def inputs(self, config: ExperimentConfig, run: Run) -> Inputs:
        """The features that `config`, which is of the same data set as `run`, reads; see `open_inputs`."""
        table = self.table(run)
        assert not isinstance(table, str)
        known = self._inputs.get(_key(run))
        dataset = Dataset(run.config.dataset_words, table, self.workspace.digests(table.name))
        opened = open_inputs(config, self.workspace, dataset=dataset, inputs=known)
        self._inputs[_key(run)] = opened
        return opened

    def picture(self, run: Run, image_id: str, side: int) -> str | None:
        """A `data:` URI of an image, its longest side at most `side` pixels; None where its file cannot be read."""
        if _key(run) not in self._paths:
            table = self.table(run)
            rows = [] if isinstance(table, str) else table.frame[["image_id", "path"]].to_numpy().tolist()
            self._paths[_key(run)] = dict(rows)
        path = self._paths[_key(run)].get(image_id)
        if path is None:
            return None
        if (path, side) not in self._pictures:
            self._pictures[path, side] = picture(Path(path), side)
        return self._pictures[path, side]

    def _read(self, run: Run) -> ImageTable | str:
        words = run.config.dataset_words
        if words.must_be_drawn(self.workspace):
            return "the synthetic data set is not drawn in this workspace"
        try:
            return words.table(self.workspace)
        except (DataError, OSError) as error:
            return " ".join(str(error).split())


def _key(run: Run) -> str:
    """The same for runs of one data set."""
    return repr(run.config.dataset_words)


def picture(path: Path, side: int) -> str | None:
    """An image file, decoded as for extraction, as a small WebP in a `data:` URI; None where that cannot be."""
    from PIL import Image

    from hamcache.extract.decode import decode_image  # imports torch
    from hamcache.extract.errors import BadImageError

    try:
        pixels = decode_image(path.read_bytes())
    except (OSError, BadImageError):
        return None
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


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
    """How the images of some runs were dealt.

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
        table = datasets.table(run)
        summary = None if isinstance(table, str) else summarise(table)
        why = table if isinstance(table, str) else ""
        if summary is not None and summary.fingerprint != run.provenance.get("table"):
            why = "images, labels or lesions have changed since the best run was trained"
        found.append(Described(name, summary, why, _ways_of_dealing(rows)))
    return found


def _ways_of_dealing(rows: Sequence[Row]) -> list[Dealt]:
    """The splits of some runs, the most used first."""
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(str(row.run.provenance.get("split")), []).append(row)
    return [_dealt(some) for some in sorted(by_split.values(), key=lambda some: -len(some))]


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


def class_names(run: Run) -> dict[str, str]:
    """Readable names of a run's classes."""
    entries: list[dict[str, Any]] = json.loads((run.folder / "classes.json").read_text(encoding="utf-8"))
    return {str(entry["class"]): str(entry.get("name", entry["class"])) for entry in entries}
