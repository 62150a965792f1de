"""A survey of a store: the vectors that are there and intact, at a cost that does not grow with their width.

A chunk is read whole once. From then on its label is enough, as long as the file is the one that was read: its stamp
(size and times, or the entity tag of an object store) is remembered in `checked.json` beside the chunks. So is a
fingerprint of what the label said: whether a chunk is all that is wanted of it is known without opening it. Whoever
finds a damaged chunk while reading features forgets all this, and the next survey reads everything again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np

from hamcache.cache.chunk import DamagedChunkError, check, chunk_name, chunk_of, read_label, views_among
from hamcache.cache.description import CHECKED
from hamcache.cache.store import FeatureStore

REMOTE_READERS = 16
"""Labels that are read from a remote root at the same time."""


class Survey:
    """Presence of the vectors of one store, as of now. Use it as a context manager: it ends by remembering.

    Attributes:
        store: the store.
        stamps: stamp of every file in its folder.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.stamps = store.root.stamps(store.folder)
        self._checked = self._remembered()
        self._changed = False

    def __enter__(self) -> Survey:
        return self

    def __exit__(self, *_: object) -> None:
        if self._changed:
            with suppress(OSError):  # a disk that can't be written costs reading the chunks again, no more
                content = json.dumps(self._checked, indent=0, sort_keys=True).encode()
                self.store.root.write(content, self.store.folder, CHECKED)
            self._changed = False

    @property
    def chunks(self) -> list[tuple[int, int]]:
        """`(chunk, view)` of every chunk file that lies within the store's rows, in order."""
        places = (chunk_of(name) for name in self.stamps)
        return sorted(place for place in places if place and place[0] < self.store.n_chunks)

    @property
    def is_described(self) -> bool:
        """True if the store's description claims the rows and views that there are."""
        store = self.store
        return store.bounds == (len(store.image_ids), views_among(self.stamps, store.n_chunks))

    @property
    def gone(self) -> list[str]:
        """Chunk files that were there and intact once."""
        return sorted(self._checked.keys() - self.stamps.keys())

    def holds(self, chunk: int, view: int, digests: np.ndarray) -> bool:
        """True if a chunk is known to be what was made from files of these digests, uint8 `[n, 32]`; reads nothing."""
        name = chunk_name(chunk, view)
        stamp, fingerprint = self._checked.get(name, ("", ""))
        return self.stamps.get(name) == stamp and self.store.place(chunk, view).fingerprint(digests) == fingerprint

    def digests(self, chunk: int, view: int) -> np.ndarray | None:
        """File digests uint8 `[n, 32]` behind the rows of a chunk, zeros for none; None: nothing intact is there."""
        name = chunk_name(chunk, view)
        stamp = self.stamps.get(name)
        if stamp is None:
            return None
        store, place = self.store, self.store.place(chunk, view)
        try:
            if self._checked.get(name, ("",))[0] == stamp:
                digests = read_label(place, store.root.read_end(place.label_bytes, store.folder, name))
            else:
                digests = check(place, store.root.read(store.folder, name))
        except (DamagedChunkError, FileNotFoundError, IsADirectoryError):
            self._changed |= self._checked.pop(name, None) is not None
            return None
        found = (stamp, place.fingerprint(digests))
        self._changed |= self._checked.get(name) != found
        self._checked[name] = found
        return digests

    def all_digests(self, places: Sequence[tuple[int, int]]) -> Iterator[np.ndarray | None]:
        """`digests` of many chunks, in order; of a remote root, several at a time."""
        if self.store.root.is_local or len(places) < 2:
            yield from (self.digests(*place) for place in places)
            return
        with ThreadPoolExecutor(REMOTE_READERS) as pool:
            yield from pool.map(lambda place: self.digests(*place), places)

    def made_from(self, view: int) -> dict[str, str]:
        """The file digest, as hex, behind each image's vector of a view, for those that are there and intact."""
        places = [place for place in self.chunks if place[1] == view]
        return {
            image_id: digest.tobytes().hex()
            for (chunk, _), digests in zip(places, self.all_digests(places), strict=True)
            if digests is not None
            for image_id, digest in zip(self.store.chunk_ids(chunk), digests, strict=True)
            if digest.any()
        }

    def filled(self) -> float:
        """Share of the vectors that the store has room for that are there and intact."""
        room = len(self.store.image_ids) * self.store.n_views
        there = sum(int(d.any(axis=1).sum()) for d in self.all_digests(self.chunks) if d is not None)
        return there / room if room else 0.0

    def _remembered(self) -> dict[str, tuple[str, str]]:
        """Stamp and fingerprint of each chunk that was checked; a former version remembered stamps alone."""
        try:
            remembered = json.loads(self.store.root.read(self.store.folder, CHECKED))
            pairs = {name: [at, ""] if isinstance(at, str) else at for name, at in remembered.items()}
            return {name: (str(stamp), str(said)) for name, (stamp, said) in pairs.items() if chunk_of(name)}
        except (OSError, ValueError, AttributeError, TypeError, RecursionError):
            return {}
