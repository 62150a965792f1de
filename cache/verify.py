"""Read all of a store and say what is wrong with it. The `extract` command that made it mends whatever is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from hamcache.cache.chunk import DamagedChunkError, chunk_of, decode, views_among
from hamcache.cache.description import ARRAY, CHECKED, GROUP, ROWS
from hamcache.cache.errors import CorruptStoreError
from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey

OnProgress = Callable[[int, int], None]
"""Called with the files done and their number."""


@dataclass(frozen=True)
class Flaw:
    """A flaw of a store: the file below the store's folder, and what is wrong with it."""

    name: str
    what: str


def verify_all(
    stores: Sequence[FeatureStore], on_progress: OnProgress | None = None
) -> Iterator[tuple[FeatureStore, Flaw]]:
    """Verify several stores, and yield each flaw with its store."""
    surveys = [Survey(store) for store in stores]
    done, total = 0, sum(len(survey.stamps) for survey in surveys)
    for survey in surveys:
        for flaw in _verify(survey):
            if flaw is not None:
                yield survey.store, flaw
            else:
                done += 1
                if on_progress:
                    on_progress(done, total)


def verify(store: FeatureStore) -> Iterator[Flaw]:
    """Check every byte of every file in a store's folder, and yield what is wrong.

    Only files that are there are walked, so it ends whatever the description claims.
    """
    return (flaw for flaw in _verify(Survey(store)) if flaw is not None)


def _verify(survey: Survey) -> Iterator[Flaw | None]:
    """Yield every flaw, and None after each file."""
    try:
        store = FeatureStore.open(survey.store.root, survey.store.folder)
        bounds, n_chunks = store.bounds, store.n_chunks
    except (CorruptStoreError, FileNotFoundError) as error:
        yield Flaw(ROWS if ROWS in str(error) else GROUP, str(error))
        return
    views, damaged = views_among(survey.stamps, n_chunks), False
    for name in sorted(survey.stamps):
        place = chunk_of(name)
        if place is None:
            if name not in (GROUP, ARRAY, ROWS, CHECKED):
                yield Flaw(name, "is no file of this store")
        elif place[0] >= n_chunks:
            yield Flaw(name, "lies outside the store's rows")
        else:
            what = _damage(store, name, *place)
            if what:
                damaged = True
                yield Flaw(name, what)
        yield None
    for name in survey.gone:
        yield Flaw(name, "was here and is gone")
    if bounds != (len(store.image_ids), views):
        yield Flaw(ARRAY, f"claims {bounds[0]} rows and {bounds[1]} views, not what is here")
    if damaged:
        with suppress(OSError):  # else the next survey would take a chunk for the one that it once checked
            store.root.remove(store.folder, CHECKED)


def _damage(store: FeatureStore, name: str, chunk: int, view: int) -> str | None:
    """The damage to a chunk's file, None for none."""
    try:
        vectors, digests = decode(store.place(chunk, view), store.root.read(store.folder, name))
    except FileNotFoundError:
        return "is gone"
    except DamagedChunkError as error:
        return str(error)
    there = digests.any(axis=1)
    return None if np.isfinite(vectors[there]).all() else "holds a vector that is not finite"
