"""Processor seconds that features took: kept per data set, so that what extraction cost can be told afterwards.

An account, not a part of any store: without it, or with a damaged one, all features are read as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import isfinite

from hamcache.cache.errors import CacheError
from hamcache.cache.storage import Root

_NAME = "costs.json"


@dataclass(frozen=True)
class Cost:
    """Feature vectors that were computed for a store, and the processor seconds that they took."""

    vectors: int
    seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.vectors + other.vectors, self.seconds + other.seconds)

    @property
    def each(self) -> float:
        """Processor seconds of a vector."""
        return self.seconds / self.vectors


def read_costs(root: Root, dataset: str) -> dict[str, Cost]:
    """The costs of a data set's stores, by folder; none of those whose features were made before they were kept."""
    try:
        if not root.exists(dataset, _NAME):
            return {}
        listed = {folder: Cost(int(c["vectors"]), float(c["seconds"])) for folder, c in _content(root, dataset).items()}
    except CacheError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {folder: cost for folder, cost in listed.items() if cost.vectors > 0 and isfinite(cost.seconds)}


def add_costs(root: Root, dataset: str, costs: Mapping[str, Cost]) -> None:
    """Add to the costs of a data set's stores; whoever calls this holds the data set's lock. It never fails."""
    made = {folder: cost for folder, cost in costs.items() if cost.vectors > 0}
    if not made:
        return
    with suppress(OSError, CacheError):  # an account is worth no extraction
        known = read_costs(root, dataset)
        together = {**known, **{folder: known.get(folder, Cost(0, 0.0)) + cost for folder, cost in made.items()}}
        root.write_json({folder: asdict(together[folder]) for folder in sorted(together)}, dataset, _NAME)


def _content(root: Root, dataset: str) -> dict[str, dict[str, float]]:
    return dict(root.read_json(dataset, _NAME))
