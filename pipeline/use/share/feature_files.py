"""One feature store as a file that other tools read: NumPy's `.npz`, or Parquet.

    with np.load("features.npz") as file:
        X, ids, y = file["features"], file["image_id"], file["label"]   # X: float32 [image, view, dim]

    rows = pyarrow.parquet.read_table("features.parquet")   # or pandas.read_parquet: one row an image and view
    X = rows["features"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)

Images come in the order of their ids; one that lacks a view is left out. What the numbers are is said by `key` (in
Parquet's metadata `key`), JSON: backbone, digest of its weights, preprocessing, augmentation, precision.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hamcache.cache.sharing.archive import OnProgress
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from hamcache.data.files import replacing
from hamcache.data.readers.imported import Terms
from hamcache.data.table import ImageTable
from hamcache.pipeline.errors import FeaturesError

ROWS = 1024
"""Images in one row group of a Parquet file."""


@dataclass(frozen=True)
class FeatureFile:
    """Numbers of images written, and of the store's that were left out because they lack a view."""

    n_images: int
    n_left_out: int


def write_feature_file(
    store: FeatureStore,
    table: ImageTable,
    path: Path,
    terms: Terms,
    on_progress: OnProgress | None = None,
) -> FeatureFile:
    """Write a store with its images' labels and groups; the form goes by the suffix, `.npz` or `.parquet`.

    Args:
        store: The features.
        table: Labels and groups.
        path: The file; written whole or not at all.
        terms: Licence and citation, kept in the file.
        on_progress: Called with the images done and their number.

    Raises:
        FeaturesError: Not one image has all views, or the suffix is another.
    """
    writers = {".npz": _write_npz, ".parquet": _write_parquet}
    if path.suffix not in writers:
        raise FeaturesError(f"Expected a file whose name ends in {' or '.join(writers)}, got {path.name}.")
    with Survey(store) as survey:
        views = [set(survey.made_from(view)) for view in range(store.n_views)]
    whole = set.intersection(*views) if views else set()
    frame = table.frame[table.frame["image_id"].isin(whole)].reset_index(drop=True)
    if frame.empty:
        raise FeaturesError(f"Expected images with all {store.n_views} views in {store.folder}, got none.")
    features = store.read(list(frame["image_id"]), range(store.n_views))
    about = {
        "key": json.dumps(store.key.to_dict(), sort_keys=True),
        "classes": json.dumps(list(table.classes)),
        "licence": terms.licence,
        "citation": terms.citation,
    }
    with replacing(path) as partial:
        for done in writers[path.suffix](features, frame, about, partial):
            if on_progress:
                on_progress(done, len(frame))
    return FeatureFile(len(frame), len(store.image_ids) - len(frame))


def _write_npz(features: np.ndarray, frame: pd.DataFrame, about: dict[str, str], partial: Path) -> Iterator[int]:
    """Write the file; yields the number of images written."""
    columns = {name: frame[name].to_numpy(dtype=np.str_) for name in ("image_id", "label", "group")}
    arrays: dict[str, Any] = {"features": features, **columns, **{k: np.array(text) for k, text in about.items()}}
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    yield len(frame)


def _write_parquet(features: np.ndarray, frame: pd.DataFrame, about: dict[str, str], partial: Path) -> Iterator[int]:
    """Write the file, some images at a time; yields the number of images written so far."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _, n_views, dim = features.shape
    fields = [("image_id", pa.string()), ("view", pa.int32()), ("label", pa.string()), ("group", pa.string())]
    schema = pa.schema([*fields, ("features", pa.list_(pa.float32(), dim))])
    schema = schema.with_metadata({f"hamcache.{name}": text for name, text in about.items()})
    with pq.ParquetWriter(partial, schema, compression="zstd") as file:
        for start in range(0, len(frame), ROWS):
            rows = frame.iloc[start : start + ROWS]
            images = np.repeat(np.arange(len(rows)), n_views)
            columns = [pa.array(rows[name].to_numpy(dtype=object)[images]) for name in ("image_id", "label", "group")]
            views = pa.array(np.tile(np.arange(n_views, dtype=np.int32), len(rows)))
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(features[start : start + ROWS].ravel()), dim)
            file.write_table(pa.Table.from_arrays([columns[0], views, *columns[1:], vectors], schema=schema))
            yield start + len(rows)
