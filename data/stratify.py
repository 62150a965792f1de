"""Groups of a table dealt into parts that have the same mix of classes.

Every random choice is a hash of a key and a name, so it depends on nothing but these: not on the order of rows, and
not on what other choices were made before.
"""

from collections.abc import Iterable
from hashlib import sha256

import numpy as np
import pandas as pd

from hamcache.data.among import among


def shuffled(names: Iterable[str], key: str) -> list[str]:
    """The names in a random order that depends on `key` and the names alone."""
    return sorted(names, key=lambda name: (sha256(f"{key}:{name}".encode()).digest(), name))


def one_image_per_group(images: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The rows of one random image of each group, in the order they have in `images`."""
    group_of = dict(zip(images["image_id"].tolist(), images["group"].tolist(), strict=True))
    kept: dict[str, str] = {}
    for image_id in shuffled(group_of, f"image:{seed}"):
        kept.setdefault(group_of[image_id], image_id)
    return images[among(images["image_id"], set(kept.values()))]


def hold_out(images: pd.DataFrame, fraction: float, key: str, whole: pd.DataFrame | None = None) -> set[str]:
    """Groups of `images` to hold out, so that they have `fraction` of the images of each class.

    Large and small groups are held out in the same proportion.

    The fraction is of `whole` (default: of `images`). Where groups have one image each, the number held out of a
    class differs from its exact share by less than 1, or is 1 where that share is less. A class of one group is not
    held out.
    """
    counts = _counts(images)
    totals = counts.sum()
    shares = fraction * (counts if whole is None else _counts(whole)).sum().reindex(counts.columns)
    # On either side there is room for one group of the usual size, so that no class is missing on one.
    usual_size = totals / (counts > 0).sum()
    held_out = shares.clip(lower=usual_size).clip(upper=(totals - usual_size).clip(lower=0))
    part = _deal(counts, np.stack([held_out, totals - held_out]), key)
    return {group for group, number in part.items() if number == 0}


def deal_folds(images: pd.DataFrame, n_folds: int, key: str) -> dict[str, int]:
    """The fold, 0 to n_folds - 1, of each group of `images`, so that all have the same share of each class."""
    counts = _counts(images)
    return _deal(counts, np.tile(counts.sum() / n_folds, (n_folds, 1)), key)


def _counts(images: pd.DataFrame) -> pd.DataFrame:
    """Number of images by group (rows) and label (columns)."""
    return images.groupby(["group", "label"]).size().unstack(fill_value=0)


def _deal(counts: pd.DataFrame, targets: np.ndarray, key: str) -> dict[str, int]:
    """Give each group to the part that lacks its classes most; ties go to the part with the fewest images.

    `counts` holds images by group and class, `targets` [parts, classes] the images wanted. Groups come in random
    order, the largest first, so that small ones even out the rest: the rule of scikit-learn's StratifiedGroupKFold,
    for parts of any size. What a part wants of groups of each size is its share of them, and what it lacks of a larger
    size: else the larger part would get all large groups, and the smaller one would stand for nothing but small ones.
    """
    rows = counts.to_numpy(dtype=float)
    totals = rows.sum(axis=0)
    shares = np.divide(targets, totals, out=np.zeros(np.shape(targets)), where=totals > 0)
    row_of = {group: row for row, group in enumerate(counts.index.tolist())}
    sizes = rows.sum(axis=1).tolist()
    of_size: dict[float, list[str]] = {}
    for group in shuffled(row_of, key):
        of_size.setdefault(sizes[row_of[group]], []).append(group)
    # A class counts by the share of it that is lacking, so that rare classes weigh as much as common ones.
    weighted = (1 / totals**2) * rows
    lacking = np.zeros(shares.shape)
    images = [0.0] * len(lacking)
    part = {}
    for size, groups in sorted(of_size.items(), reverse=True):
        lacking += shares * rows[[row_of[group] for group in groups]].sum(axis=0)
        for group in groups:
            row = row_of[group]
            need = (lacking @ weighted[row]).tolist()
            enough = max(need) - 1e-12
            best = min((n for n, lacks in enumerate(need) if lacks >= enough), key=images.__getitem__)
            lacking[best] -= rows[row]
            images[best] += size
            part[group] = best
    return part
