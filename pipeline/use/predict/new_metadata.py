"""Metadata of new images, for runs that were trained on metadata: read from a CSV, and brought to the images."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from hamcache.data.errors import MetadataAbsentError, MetadataError, some_of
from hamcache.data.files import read_csv
from hamcache.data.metadata import Metadata
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.runs.records import Run

NAMES = ("image_id", "file", "filename", "path", "image", "isic_id", "id")
"""Columns that may say which image a row is about: its id, or its file."""


def require_metadata(run: Run, given: bool) -> None:
    """Check that a run is asked with metadata if it was trained on some, and only then.

    Raises:
        MetadataAbsentError: It was, and there is none; names the columns.
        PredictionError: It was not.
    """
    if run.metadata is not None and not given:
        columns = ", ".join(run.metadata.names)
        raise MetadataAbsentError(
            f"Expected the metadata that run {run.id} was trained on: {columns}; got none. Give --metadata CSV, with "
            f"the columns {NAMES[0]}, {columns} and a row an image (from Python, metadata=); what is not known stays "
            "empty."
        )
    if run.metadata is None and given:
        raise PredictionError(
            f"Expected no metadata for run {run.id}, which has learned from images alone. Leave --metadata out."
        )


def read_metadata(path: Path, metadata: Metadata) -> pd.DataFrame:
    """The rows of a CSV by image id, with those of the columns of `metadata` that it has.

    An image's row has its image id, which is the name of its file without suffix, or a path that ends in its file.

    Raises:
        TableError: It is no CSV.
        MetadataError: No column names the images, an image has two rows, there is none of the columns, or a value is
            none of its column.
    """
    frame, lines = read_csv(path)
    name = next((name for name in NAMES if name in frame.columns), None)
    if name is None:
        raise MetadataError(
            f"{path}: expected a column {NAMES[0]} or {NAMES[1]} that names the image, got "
            f"{', '.join(map(str, frame.columns))}."
        )
    there = [column for column in metadata.names if column in frame.columns]
    if not there:
        raise MetadataError(
            f"{path}: expected one of the columns {', '.join(metadata.names)}, got {', '.join(frame.columns)}."
        )
    texts = frame[name].str.replace("\\", "/").tolist()
    ids = pd.Index(texts if name == NAMES[0] else [PurePosixPath(text).stem for text in texts])
    if ids.has_duplicates:
        twice = [f"{ids[n]} (line {lines[n]})" for n in range(len(ids)) if ids.duplicated(keep=False)[n]]
        raise MetadataError(f"{path}: expected one row an image, got more of {some_of(twice)}.")
    rows = frame[there].set_axis(ids, axis=0)
    try:
        metadata.encoded(rows)
    except MetadataError as error:
        raise MetadataError(f"{path}: {error}") from None
    return rows


def rows_of_images(rows: pd.DataFrame, image_ids: Sequence[str]) -> pd.DataFrame:
    """The row of each image, in their order; of one without a row, all is absent.

    Raises:
        MetadataAbsentError: Not one of them has a row.
    """
    if len(image_ids) and not rows.index.isin(list(image_ids)).any():
        raise MetadataAbsentError(
            f"Expected metadata of the images {some_of(image_ids, 3)}, got rows of {some_of(list(rows.index), 3)}. "
            "Name each image by its image_id: the name of its file without suffix."
        )
    return rows.reindex(list(image_ids))
