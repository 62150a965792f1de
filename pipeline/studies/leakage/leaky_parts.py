"""Honest and leaky parts for `studies.leakage.measure`: the same test images, with and without their siblings in train.

These parts are rows in memory. They are no `data.splits.Split`, which refuses a group in two parts, so they can neither
be saved nor reach a run.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.errors import some_of
from hamcache.data.stratify import hold_out, shuffled
from hamcache.data.table import ImageTable
from hamcache.pipeline.errors import LeakageError
from hamcache.pipeline.experiment.learning import Part

ARMS = ("honest", "leaky", "careful", "careless")
TEST_FRACTION = 0.2

Parts = Mapping[str, Part]


@dataclass(frozen=True, eq=False)
class Draw:
    """The parts of one seed; a *sibling* of an image is another image of its group (lesion).

    Attributes:
        seed: What they were drawn with.
        arms: By name (`ARMS`), `train`, `validation` and `test` each:

            - `careless`: a random split of images into three parts, class by class.
            - `honest`: the test images of `careless`; no sibling of one is in train or validation.
            - `leaky`: test and validation of `honest`; in train some groups are exchanged for groups of test images, of
              which it gets the images that `careless` has in train: as many images of as many groups of the same
              classes, and mostly of groups of the same size.
            - `careful`: a random split of groups into three parts, class by class, with a test set of its own.
        has_sibling: bool `[test images]`: whether a sibling is in train of `leaky`.
    """

    seed: int
    arms: Mapping[str, Parts]
    has_sibling: np.ndarray

    @property
    def replaced(self) -> int:
        """Number of images of `honest`'s train that are not in `leaky`'s."""
        return len(set(self.arms["honest"]["train"].ids) - set(self.arms["leaky"]["train"].ids))

    @property
    def sizes(self) -> dict[str, Any]:
        """Numbers of images, as plain values."""
        return {
            "seed": self.seed,
            "test": len(self.has_sibling),
            "test_with_sibling": int(self.has_sibling.sum()),
            "replaced": self.replaced,
            **{arm: {name: len(part) for name, part in parts.items()} for arm, parts in self.arms.items()},
        }


def open_images(table: ImageTable, closed: Set[str], left_out: Set[str] = frozenset()) -> ImageTable:
    """The images that may be drawn: those of no group that is in `closed`, and not left out.

    Args:
        table: The whole table.
        closed: Images of a test set that must not be looked at.
        left_out: Quarantined images.

    Raises:
        LeakageError: No group has several images, so that nothing can leak.
    """
    frame = table.frame
    shut = set(frame["group"][frame["image_id"].isin(closed)])
    pool = frame[~frame["group"].isin(shut) & ~frame["image_id"].isin(left_out)]
    if not pool["group"].duplicated().any():
        raise LeakageError(
            f"expected groups (lesions) with several images, but all {len(pool):,} images of {table.name!r} that may "
            "be used are of different ones: nothing can leak. If that is not so, say which images belong together with "
            "a CSV that has a group column."
        )
    return table.subset(list(pool["image_id"]))


def draw(
    table: ImageTable, seed: int, *, test_fraction: float = TEST_FRACTION, validation_fraction: float = 0.2
) -> Draw:
    """Draw the parts of one seed; the order of the table's rows does not matter.

    Args:
        table: What `open_images` gave.
        seed: Of every choice.
        test_fraction: Share of the images of each class in the test parts.
        validation_fraction: Share of them in the validation parts.

    Raises:
        LeakageError: A class has too few groups to be trained on.
    """
    rows = table.frame[["image_id", "group", "label"]].assign(code=table.labels())
    one_each = rows.assign(group=rows["image_id"])  # as if no two images were of one lesion: the careless way

    def deal(frame: pd.DataFrame, fraction: float, name: str, whole: pd.DataFrame = rows) -> pd.Series:
        return frame["group"].isin(hold_out(frame, fraction, f"leakage-{name}:{seed}", whole=whole))

    in_test = deal(one_each, test_fraction, "test", one_each)
    rest = one_each[~in_test]
    is_watched = deal(rest, validation_fraction, "validation", one_each)
    test, watched, careless = rows[in_test], rest[is_watched], rest[~is_watched]

    tested = rows["group"].isin(test["group"])
    strangers = rows[~tested]
    in_validation = deal(strangers, validation_fraction, "groups")
    siblings = rows[tested & rows["image_id"].isin(careless["image_id"])]
    honest, leaky = _exchanged(strangers[~in_validation], siblings, rows, seed)

    in_careful_test = deal(rows, test_fraction, "careful-test")
    others = rows[~in_careful_test]
    in_careful_validation = deal(others, validation_fraction, "careful-validation")

    def parts(train: Iterable[str], validation: pd.DataFrame, test: pd.DataFrame) -> Parts:
        ids = {"train": train, "validation": validation["image_id"], "test": test["image_id"]}
        frames = {name: rows[rows["image_id"].isin(set(of))].reset_index(drop=True) for name, of in ids.items()}
        return {n: Part(f.drop(columns="code"), f["code"].to_numpy(dtype=np.int64)) for n, f in frames.items()}

    arms = {
        "honest": parts(honest, strangers[in_validation], test),
        "leaky": parts(leaky, strangers[in_validation], test),
        "careful": parts(
            others["image_id"][~in_careful_validation], others[in_careful_validation], rows[in_careful_test]
        ),
        "careless": parts(careless["image_id"], watched, test),
    }
    for name, of in arms.items():
        lacking = sorted(set(table.frame["label"]) - set(of["train"].frame["label"]))
        if lacking:
            raise LeakageError(
                f"Expected images of every class to train on, but the {name} train part of seed {seed} has none "
                f"of {some_of(lacking)}: too few groups of it. Add some, leave the class out, or take fewer seeds."
            )
    return Draw(seed, arms, arms["honest"]["test"].frame["group"].isin(set(arms["leaky"]["train"].groups)).to_numpy())


def _exchanged(
    strangers: pd.DataFrame, siblings: pd.DataFrame, rows: pd.DataFrame, seed: int
) -> tuple[set[str], set[str]]:
    """The train images of `honest` and of `leaky`: those in `strangers`, with groups exchanged between the two.

    A group of siblings takes the place of a group that has as many images of each class, of the same size (in the whole
    table) or of the nearest there is. The images that this one has beyond that number are in neither train. So both
    trains have the same number of images and of groups of each class: more groups alone would make a better head.
    Siblings that find no such group stay out.
    """
    size_of = rows.groupby("group").size().to_dict()
    ours, theirs = _images_of(strangers), _images_of(siblings)
    labels = sorted(set(rows["label"]))
    places = shuffled(ours, f"leakage-own:{seed}")
    has = np.array([[len(ours[group].get(label, ())) for label in labels] for group in places])
    sizes = np.array([size_of[group] for group in places])
    free = np.ones(len(places), dtype=bool)
    honest, leaky = set(strangers["image_id"]), set(strangers["image_id"])
    order = shuffled(theirs, f"leakage-siblings:{seed}")
    for group in sorted(order, key=lambda group: -sum(map(len, theirs[group].values()))):  # who needs most, first
        needs = {label: len(ids) for label, ids in theirs[group].items()}
        fits = free & (has >= [needs.get(label, 0) for label in labels]).all(axis=1)
        if not fits.any():
            continue
        place = int(np.argmin(np.where(fits, np.abs(sizes - size_of[group]), np.inf)))
        free[place] = False
        given = ours[places[place]]
        leaky -= {image_id for ids in given.values() for image_id in ids}
        leaky |= {image_id for ids in theirs[group].values() for image_id in ids}
        for label, ids in given.items():
            honest -= set(shuffled(ids, f"leakage-stay:{seed}")[needs.get(label, 0) :])
    return honest, leaky


def _images_of(frame: pd.DataFrame) -> dict[str, dict[str, list[str]]]:
    """Group -> label -> image ids."""
    images: dict[str, dict[str, list[str]]] = {}
    for group, label, image_id in zip(frame["group"], frame["label"], frame["image_id"], strict=True):
        images.setdefault(group, {}).setdefault(label, []).append(image_id)
    return images
