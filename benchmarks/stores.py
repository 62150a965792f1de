"""Feature stores: reading one whole, planning one that is complete, opening one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Costs, Round, Setting, wall
from benchmarks.made_up import rows_of, write_store
from hamcache.cache.plan import make_plan
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore

OPENINGS = 20


def whole_read(setting: Setting) -> Iterator[Round]:
    """Open a store and read all of it, beside `numpy.load` of the same array; both lie in the page cache."""
    ids, digests = rows_of(setting.of(10_240, 5_120, 128))
    root = Root(setting.folder / "features")
    folder = write_store(root, ids, digests, setting.of(1280, 1280, 8)).folder
    np.save(setting.folder / "features.npy", FeatureStore.open(root, folder).read(ids))
    while True:
        base = wall(np.load, setting.folder / "features.npy")
        yield {"read": Costs(wall(lambda: FeatureStore.open(root, folder).read(ids)), base)}


class _Untouched:
    """A complete store whose images have not changed."""

    def __init__(self, setting: Setting, rows: int, dim: int) -> None:
        ids, digests = rows_of(rows)
        self.root = Root(setting.folder / f"features-{rows}-{dim}")
        self.digests = dict(zip(ids, digests, strict=True))
        self.folder = write_store(self.root, ids, digests, dim).folder
        self.plan()  # the first one reads every chunk, and remembers that they are sound

    def plan(self) -> None:
        """Plan the extraction of all that is there."""
        plan = make_plan([(FeatureStore.open(self.root, self.folder), 1)], self.digests)
        assert not plan.tasks

    def open(self) -> None:
        """Open the store, a few times."""
        for _ in range(OPENINGS):
            FeatureStore.open(self.root, self.folder)


def wide_plan(setting: Setting) -> Iterator[Round]:
    """The plan of wide features beside that of narrow ones."""
    rows = setting.of(20_480, 10_240, 128)
    wide, narrow = _Untouched(setting, rows, setting.of(1280, 640, 64)), _Untouched(setting, rows, 16)
    while True:
        base = wall(narrow.plan)
        yield {"width": Costs(wall(wide.plan), base)}


def plan(setting: Setting, rows: int) -> Iterator[Round]:
    """Seconds of a plan, and milliseconds of opening the store."""
    store = _Untouched(setting, setting.of(rows, rows // 10, 128), 8)
    while True:
        yield {"plan": Costs(wall(store.plan)), "open": Costs(1000 * wall(store.open) / OPENINGS)}
