"""Maps of the features for the page: an image a point, coloured by class, part or the mistakes of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hamcache.cache.errors import CacheError
from hamcache.configs.defaults import LAYOUTS, PARTS
from hamcache.data.errors import DataError
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.errors import ExtractError
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import FeaturesError, MapError
from hamcache.pipeline.experiment.inputs import Inputs, open_inputs
from hamcache.pipeline.inspect.feature_map import FeatureMap, map_features
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.report.datasets import Datasets
from hamcache.pipeline.show.web.atlas import COLUMNS, ON_A_PAGE, make_atlas

MOST_MAPS = 2
"""Data sets that have a map in a report: each takes about a kilobyte an image."""
MOST_RUNS = 3
"""Runs whose mistakes a map shows."""
TOP = 2**16 - 1
"""Places are whole numbers up to this."""
UNUSED = "in no part"
Tell = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Look:
    """The choices about a map.

    Attributes:
        method: See `inspect.feature_map`.
        seed: Of what it draws.
        thumbnails: Put small pictures of the images into the page.
    """

    method: str = LAYOUTS[0]
    seed: int = 0
    thumbnails: bool = True


def report_maps(board: Board, datasets: Datasets, look: Look, tell: Tell) -> dict[str, Any]:
    """The maps of the data sets with most runs, each by the features of its best head.

    Returns:
        `maps`, as `map_entry` gives them; `notes`: sentences on data sets that have none.
    """
    maps: list[dict[str, Any]] = []
    notes: list[str] = []
    for name in dict.fromkeys(cohort.dataset for cohort in board.cohorts):
        rows = [row for row in board.rows if board.cohorts[row.cohort].dataset == name and row.run.config.net is None]
        if len(maps) == MOST_MAPS:
            notes.append(f"{name} has no map here: `hamcache map` makes one of its own.")
        elif rows:
            rows.sort(key=lambda row: row.cohort)  # within a cohort the best come first
            made = _of_rows(name, rows, board.part, datasets, look, tell)
            if isinstance(made, str):
                notes.append(made)
            else:
                maps.append(made)
        else:
            notes.append(f"{name} has no map: its runs are networks, which keep no features.")
    return {"maps": maps, "notes": notes}


def _of_rows(
    name: str, rows: Sequence[Row], part: str, datasets: Datasets, look: Look, tell: Tell
) -> dict[str, Any] | str:
    run = rows[0].run
    if isinstance(there := datasets.of(run), str):
        return f"{name} has no map: {there}."
    runs = [(row.name, row.run) for row in rows if row.cohort == rows[0].cohort][:MOST_RUNS]
    try:
        inputs = datasets.inputs(run.config, run)
        return map_entry(run.config, inputs, datasets.workspace, look, runs, part, tell)
    except (CacheError, FeaturesError, MapError, DataError, ExtractError, OSError) as error:
        return f"{name} has no map: {' '.join(str(error).split())}"


def subject_of(runs: Sequence[Run]) -> dict[str, Any]:
    """Data set and, of a head's run, features of the first run, as the base of a configuration; empty without runs.

    Raises:
        MapError: The runs are of several data sets.
    """
    if not runs:
        return {}
    tables = {run.config.dataset_words.label: run for run in runs}
    if len({run.provenance.get("table") for run in runs}) > 1:
        raise MapError(f"Expected runs of one data set, got those of {', '.join(tables)}. Make a map of each.")
    content = runs[0].config.content()
    names = ["dataset", "dataset_name", "columns", "recipes", *(["features"] if runs[0].config.net is None else [])]
    return {name: content[name] for name in names if name in content}


def map_entry(
    config: ExperimentConfig,
    inputs: Inputs | None,
    workspace: Workspace,
    look: Look,
    runs: Sequence[tuple[str, Run]],
    part: str,
    tell: Tell,
) -> dict[str, Any]:
    """One map as plain values for JSON: lists with an entry an image, in the order of ids.

    `x, y` (0 to `TOP`), `ids, groups, labels` (position in `lesions`, `classes`), `parts` (in `partNames`), `runs`
    (`name, given`: the class a run gave each image of `part`, or -1), `pages, cell, columns` of the thumbnails.

    Args:
        config: Names the data set and the features.
        inputs: The opened data set, if it is.
        workspace: Holds the features, and keeps the map.
        look: Choices.
        runs: Runs on this data set with their names: their mistakes are shown, the first one's parts.
        part: The part whose mistakes are shown.
        tell: Told how far it is.
    """
    inputs = inputs or open_inputs(config, workspace)
    tell("laying out the map", 0, None)
    made = map_features(config, workspace, look.method, look.seed, inputs)
    table = inputs.table.frame.set_index("image_id").loc[made.frame["image_id"]].reset_index()
    lesions = pd.factorize(table["group"])
    entry = {
        "name": inputs.table.name,
        "about": _about(made, inputs.table),
        "reused": made.reused,
        "x": (made.frame["x"] * TOP).round().astype(int).tolist(),
        "y": (made.frame["y"] * TOP).round().astype(int).tolist(),
        "ids": table["image_id"].tolist(),
        "lesions": lesions[1].tolist(),
        "groups": lesions[0].tolist(),
        "classes": list(inputs.table.classes),
        "names": [runs[0][1].class_names.get(c, c) if runs else c for c in inputs.table.classes],
        "labels": pd.Index(inputs.table.classes).get_indexer(pd.Index(table["label"])).tolist(),
        "runs": [{"name": name, "given": _given(run, part, table["image_id"])} for name, run in runs],
        "part": part,
        **_parts(runs[0][1] if runs else None, table["image_id"]),
        "pages": [],
    }
    if look.thumbnails:
        images = list(zip(table["path"], [inputs.digests[i] for i in table["image_id"]], strict=True))
        folder = workspace.maps / inputs.table.name
        pages = make_atlas(images, folder, lambda done: tell("drawing thumbnails", done, len(images)))
        entry |= {"pages": pages.pages, "cell": list(pages.cell), "columns": COLUMNS, "onAPage": ON_A_PAGE}
    return entry


def _about(made: FeatureMap, table: ImageTable) -> str:
    methods = {"tsne": "t-SNE", "pca": "the first two principal components", "umap": "UMAP"}
    some = f"{len(made.frame):,} of {made.images:,}" if len(made.frame) < made.images else f"{made.images:,}"
    return f"{table.name}: {some} images by {methods[made.method]} of {made.features}"


def _given(run: Run, part: str, ids: pd.Series) -> list[int]:
    """The class that a run gave each image, -1 where it was not asked about it."""
    rows = run.part(part)
    codes = pd.Series(run.probabilities(part).argmax(axis=1), index=rows["image_id"].to_numpy())
    return codes.reindex(ids.to_numpy()).fillna(-1).astype(int).tolist()


def _parts(run: Run | None, ids: pd.Series) -> dict[str, Any]:
    """Names of the parts, and each image's as a position; a cross-validated run's images are in validation."""
    if run is None:
        return {"partNames": [], "parts": []}
    part_of = run.predictions.drop_duplicates("image_id", keep="last").set_index("image_id")["part"]
    names = [*(name for name in PARTS if (part_of == name).any()), UNUSED]
    codes = pd.Index(names).get_indexer(pd.Index(part_of.reindex(ids.to_numpy()).fillna(UNUSED)))
    return {"partNames": names, "parts": codes.tolist()}
