"""Splits with fewer training images, as if fewer had been labelled; validation and test stay what they are."""

from dataclasses import replace

import pandas as pd

from hamcache.data.errors import SplitError
from hamcache.data.splits import Split
from hamcache.data.stratify import one_image_per_group, shuffled


def fewer_labels(split: Split, *, train_share: float | None = None, shots: int | None = None, seed: int = 0) -> Split:
    """A split whose train part is a random subset of what it was.

    The groups of a class have one random order for each seed, and the first of them are taken, so that a smaller subset
    is part of every larger one of the same seed.

    train_share: this share of each class's groups, rounded and at least one, with all of their images.
    shots: this many groups of each class, one image of each.

    Raises SplitError where both are given, one is out of range, or a class has fewer groups in train than `shots`.
    """
    if train_share is None and shots is None:
        return split
    if train_share is not None and shots is not None:
        raise SplitError(f"Expected train_share or shots, but got both: {train_share} and {shots}.")
    in_train = split.frame["part"] == "train"
    train = split.frame[in_train]
    kept = _share_of(train, train_share, seed) if train_share is not None else _shots_of(train, shots or 0, seed)
    frame = split.frame[~in_train | split.frame["image_id"].isin(kept)]
    return replace(split, frame=frame, train_share=train_share, shots=shots)


def _share_of(train: pd.DataFrame, share: float, seed: int) -> set[str]:
    """Images of the first groups of each class; a group of several labels counts for the first of them."""
    if not 0 < share < 1:
        raise SplitError(f"Expected a train_share above 0 and below 1, but got {share}.")
    label_of = train.groupby("group")["label"].first()
    groups: set[str] = set()
    for _, of_class in label_of.groupby(label_of):
        groups |= set(_in_order(of_class.index, seed)[: max(1, int(share * len(of_class) + 0.5))])
    return set(train["image_id"][train["group"].isin(groups)])


def _shots_of(train: pd.DataFrame, shots: int, seed: int) -> set[str]:
    if shots < 1:
        raise SplitError(f"Expected shots of 1 or more, but got {shots}.")
    images: set[str] = set()
    for label, of_class in train.groupby("label"):
        single = one_image_per_group(of_class, seed).set_index("group")["image_id"]
        if len(single) < shots:
            raise SplitError(
                f"Expected {shots} or more groups (lesions) of each class in train, but {label!r} has {len(single)}. "
                "Take fewer shots."
            )
        images |= {single[group] for group in _in_order(single.index, seed)[:shots]}
    return images


def _in_order(groups: pd.Index, seed: int) -> list[str]:
    return shuffled(groups, f"label:{seed}")
