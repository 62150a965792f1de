"""Corrupted copies of a data set: a data set of its own, whose files live only as long as they are needed.

Their features stay in the cache, under the copy's name and with the digests of its files, which are made again bit for
bit when somebody asks for them.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree

import pandas as pd

from hamcache.data.dataset import Dataset, DatasetWords
from hamcache.data.errors import BadImageError
from hamcache.data.table import build_table
from hamcache.data.threaded import in_threads
from hamcache.extract.corruptions import write_corrupted

THREADS = min(4, os.cpu_count() or 1)


@contextmanager
def corrupted_copy(dataset: Dataset, corruption: str, severity: int, folder: Path) -> Iterator[Dataset]:
    """The data set `<name>.<corruption>-<severity>` of corrupted copies; images that can't be read are not in it.

    Args:
        dataset: The originals.
        corruption, severity: See `extract.corruptions`.
        folder: Gets a folder of the copies, which is removed in the end.
    """
    home = folder / f"{corruption}-{severity}"
    home.mkdir()
    frame = dataset.table.frame
    pairs = [(path, home / f"{image_id}.png") for image_id, path in zip(frame["image_id"], frame["path"], strict=True)]

    def make(pair: tuple[str, Path]) -> bool:
        try:
            write_corrupted(Path(pair[0]), pair[1], corruption, severity)
        except BadImageError:
            return False
        return True

    try:
        there = pd.Series(list(in_threads(make, pairs, THREADS)), index=frame.index)
        copies = frame.assign(path=[str(path) for _, path in pairs])[there]
        table = build_table(f"{dataset.name}.{corruption}-{severity}", copies, dataset.table.classes)
        yield Dataset(DatasetWords(dataset.words.dataset, dataset.words.columns, table.name), table)
    finally:
        rmtree(home, ignore_errors=True)
