"""Splits of a table into train, validation and test parts that never put one group into two of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.configs.defaults import PARTS, POLICIES
from hamcache.data.among import among
from hamcache.data.curation import NOTHING, Curation, check_curation
from hamcache.data.errors import LeakError, SplitError, SplitNotFoundError, some_of
from hamcache.data.files import csv_text, read_csv, write_text
from hamcache.data.nearest import unknown_name
from hamcache.data.stratify import deal_folds, hold_out, one_image_per_group
from hamcache.data.table import ImageTable

TRAIN_IMAGES = ("one", "all")

_COLUMNS = ["image_id", "group", "label", "part"]
_TITLE = "# hamcache split, version 1"
_LATER = ("train_share", "shots")
"""Fields that splits did not have at first: where they are None they are not in a fingerprint, nor in a file."""


@dataclass(frozen=True, eq=False)
class Split:
    """A part for each image. Making one checks that no group is in two parts.

    `policy` and the fields up to `train_images` are as given to `make_split`; policy "given" is a split that somebody
    else has made (see `data.given_split`).

    Attributes:
        frame: The str columns image_id, group, label and part (one of `PARTS`), sorted by image_id. Images that the
            policy leaves out are not in it.
        fold: "2/5" for the second of five folds (see `make_folds`), else None.
        train_share: As given to `data.fewer_labels.fewer_labels`; None: train is whole.
        shots: Likewise.

    Raises:
        LeakError: A group is in two parts.
        SplitError: An image is repeated, or a part has no such name.
    """

    frame: pd.DataFrame
    policy: str
    seed: int
    test_seed: int = 0
    test_fraction: float = 0.2
    validation_fraction: float = 0.2
    train_images: str = "one"
    fold: str | None = None
    train_share: float | None = None
    shots: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "frame", self.frame[_COLUMNS].sort_values("image_id", ignore_index=True))
        check_split(self.frame)

    def ids(self, part: str) -> list[str]:
        """The image_ids of a part, sorted."""
        if part not in PARTS:
            raise SplitError(unknown_name("part", part, PARTS))
        return self.frame["image_id"][self.frame["part"] == part].tolist()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the split, which are all fields but the frame, and but those added later that are None."""
        return {
            name: value
            for name, value in vars(self).items()
            if name != "frame" and not (name in _LATER and value is None)
        }

    @property
    def fingerprint(self) -> str:
        """sha256 over the settings and all rows, which changes with anything in the split."""
        settings = self.settings | {"fold": self.fold or ""}
        content = json.dumps([settings, self.frame.to_numpy().tolist()], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write a CSV that begins with "#" lines: the settings and the fingerprint."""
        header = {**self.settings, "fold": self.fold or "", "fingerprint": self.fingerprint}
        lines = [_TITLE, *(f"# {name}: {json.dumps(value)}" for name, value in header.items())]
        write_text(Path(path), "\n".join(lines) + "\n" + csv_text(self.frame))

    @classmethod
    def load(cls, path: Path) -> "Split":
        """Read a file that `save` wrote.

        Raises SplitNotFoundError where there is no such file, LeakError where a group is in two parts, SplitError
        where the file was changed or cut short since it was saved, or is no split.
        """
        path = Path(path)
        if not path.is_file():
            raise SplitNotFoundError(f"Expected the CSV of a split at {path}, but there is none.")
        try:
            header, frame = _read(path)
            fingerprint, fold = header.pop("fingerprint"), header.pop("fold") or None
            split = cls(frame=frame, fold=fold, **header)
        except LeakError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise SplitError(
                f"Expected a split that hamcache saved, but {path} is none, or it was changed: {error}"
            ) from error
        if split.fingerprint != fingerprint:
            raise SplitError(
                f"Expected {path} as it was saved, but it was changed or cut short. Make the split anew, "
                "or take out its lines that begin with # if you changed it on purpose."
            )
        return split

    def check_table(self, table: ImageTable, curation: Curation = NOTHING) -> None:
        """Raise SplitError where an image of the split is not in `table`, or has another label or group there.

        Groups count as what the curation makes of them, so that it may merge more of them than the split's did.
        """
        rows = table.frame.set_index("image_id").reindex(self.frame["image_id"])
        here = self.frame.set_index("image_id")
        groups, ours = (frame["group"].map(lambda name: curation.merged.get(name, name)) for frame in (rows, here))
        differ = (rows["label"] != here["label"]) | (groups != ours)
        if differ.any():
            names = list(here.index[differ])
            raise SplitError(
                f"Expected a split of table {table.name!r}, but {len(names)} of its images are absent there or have "
                f"another label or group: {some_of(names)}. Make the split anew, or give merge_groups as it was made."
            )


def is_saved_split(path: Path) -> bool:
    """True for a file that begins as `Split.save` lets it begin."""
    with path.open("rb") as file:
        return file.read(len(_TITLE)) == _TITLE.encode()


def check_split(frame: pd.DataFrame, source: str | None = None) -> None:
    """Raise LeakError where a group is in two parts, SplitError where an image is repeated or a part is unknown.

    source: where the parts come from, for the message.
    """
    unknown = sorted(set(frame["part"].unique()) - set(PARTS))
    if unknown:
        raise SplitError(unknown_name("part", str(unknown[0]), PARTS))
    parts_of: dict[str, set[str]] = {}
    for group, part in zip(frame["group"].tolist(), frame["part"].tolist(), strict=True):
        parts_of.setdefault(group, set()).add(part)
    leaks = [f"{group} ({'+'.join(sorted(parts))})" for group, parts in sorted(parts_of.items()) if len(parts) > 1]
    if leaks:
        raise LeakError(
            f"{f'{source}: e' if source else 'E'}xpected each group in one part only, but {len(leaks)} group(s) are in "
            f"several: {some_of(leaks)}. Scores would be too good. Leave their images out of one part."
        )
    repeated = frame["image_id"][frame["image_id"].duplicated()]
    if len(repeated):
        raise SplitError(f"Expected each image once, but these are repeated: {some_of(list(repeated))}.")


def make_split(
    table: ImageTable,
    policy: str = "one_per_lesion",
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    validation_fraction: float = 0.2,
    train_images: str = "one",
    test_seed: int = 0,
    curation: Curation = NOTHING,
) -> Split:
    """Split a table, class by class in the same proportions.

    Policies:

    - `one_per_lesion`: one random image of each group is kept and the others are left out; fractions are of the
      images kept. With `train_images="all"` the other images of the groups in train join train.
    - `single_image_lesions`: validation and test are drawn from the groups that have one image, and fractions are
      of these; all other images go to train. (Of HAM10000's 5,514 such lesions this makes about 1,103 a part.)
    - `grouped`: all images are kept; fractions are of all images.

    The test part is drawn first, with `test_seed`, as is the image kept of a group: they do not depend on `seed`,
    which draws validation from the rest. The order of the table's rows never matters. `test_fraction` may be 0.

    With a `curation` the groups are dealt as without it, so that no other image moves. Then groups that are one follow
    the one whose name they get, and images that are left out go; of a group whose image was kept and is left out,
    another image is kept, if there is one.

    Raises SplitError where an argument is out of range, or a class has too few groups to be in every part;
    CurationError where the curation does not fit the table.
    """
    settings = _settings(policy, seed, test_seed, test_fraction, validation_fraction, train_images)
    eligible, test = _hold_out_test(table, settings, curation)
    rest = eligible[~among(eligible["group"], test)]
    validation = hold_out(rest, validation_fraction, f"validation:{seed}", whole=eligible)
    return _assemble(table, eligible, {"test": test, "validation": validation}, curation, settings)


def make_folds(
    table: ImageTable,
    n_folds: int = 5,
    *,
    policy: str = "grouped",
    seed: int = 0,
    test_fraction: float = 0.2,
    train_images: str = "one",
    test_seed: int = 0,
    curation: Curation = NOTHING,
) -> list[Split]:
    """Splits for k-fold cross-validation: each fold is validation once, with all other folds in train.

    Policy `grouped` or `one_per_lesion`. The test part is that of `make_split` and is held out of all folds; with
    `test_fraction=0` there is none, and every group is in one fold. A `curation` moves no other image than its own.

    Raises SplitError where an argument is out of range, or a class has too few groups to be in every fold;
    CurationError where the curation does not fit the table.
    """
    if n_folds < 2:
        raise SplitError(f"Expected n_folds of 2 or more, but got {n_folds}.")
    settings = _settings(policy, seed, test_seed, test_fraction, (1 - test_fraction) / n_folds, train_images)
    if policy == "single_image_lesions":
        raise SplitError("Expected policy 'grouped' or 'one_per_lesion' for folds, but got 'single_image_lesions'.")
    eligible, test = _hold_out_test(table, settings, curation)
    fold_of = deal_folds(eligible[~among(eligible["group"], test)], n_folds, f"fold:{seed}")
    splits = []
    for number in range(n_folds):
        held_out = {"test": test, "validation": {group for group, fold in fold_of.items() if fold == number}}
        splits.append(_assemble(table, eligible, held_out, curation, settings | {"fold": f"{number + 1}/{n_folds}"}))
    return splits


def _settings(
    policy: str, seed: int, test_seed: int, test_fraction: float, validation_fraction: float, train_images: str
) -> dict[str, Any]:
    """The settings of a `Split`. Raises SplitError where one is out of range."""
    if policy not in POLICIES:
        raise SplitError(unknown_name("split policy", policy, POLICIES))
    if not 0 <= test_fraction < 1 or not 0 < validation_fraction < 1 or test_fraction + validation_fraction >= 1:
        raise SplitError(
            "Expected fractions with 0 <= test, 0 < validation and test + validation < 1, but got "
            f"test {test_fraction} and validation {validation_fraction}."
        )
    if train_images not in TRAIN_IMAGES:
        raise SplitError(unknown_name("choice of train_images", train_images, TRAIN_IMAGES))
    if train_images == "all" and policy != "one_per_lesion":
        raise SplitError(
            f"Expected policy 'one_per_lesion' with train_images='all', but {policy!r} keeps all train images anyway."
        )
    fractions = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
    return {"policy": policy, "seed": seed, "test_seed": test_seed, **fractions, "train_images": train_images}


def _eligible(images: pd.DataFrame, policy: str, test_seed: int) -> pd.DataFrame:
    """The images that may be drawn for validation and test."""
    if policy == "one_per_lesion":
        return one_image_per_group(images, test_seed)
    if policy == "single_image_lesions":
        return images[~images["group"].duplicated(keep=False)]
    return images


def _hold_out_test(table: ImageTable, settings: Mapping[str, Any], curation: Curation) -> tuple[pd.DataFrame, set[str]]:
    """The images that may be drawn, and those groups of them that are the test part."""
    check_curation(table, curation)
    fraction, test_seed = settings["test_fraction"], settings["test_seed"]
    eligible = _eligible(table.frame[_COLUMNS[:3]], settings["policy"], test_seed)
    return eligible, hold_out(eligible, fraction, f"test:{test_seed}") if fraction > 0 else set()


def _assemble(
    table: ImageTable,
    eligible: pd.DataFrame,
    held_out: Mapping[str, set[str]],
    curation: Curation,
    settings: Mapping[str, Any],
) -> Split:
    """Put the held-out groups into their parts and, as the policy says, the other images into train.

    `eligible`: the images that could be drawn before the curation.
    """
    part_of = {group: part for part, groups in held_out.items() for group in groups}
    images = curation.apply(table.frame[_COLUMNS[:3]])
    if curation:
        eligible = _eligible(images, settings["policy"], settings["test_seed"])
    kept = pd.Series(images.index.isin(eligible.index), index=images.index)
    named = [part_of.get(group, "train") for group in images["group"].tolist()]
    parts = pd.Series(named, index=images.index, dtype="str")
    if settings["policy"] == "single_image_lesions":
        parts = parts.where(kept, "train")  # merging may have made a group of several images of the one held out
    if settings["policy"] == "single_image_lesions" or settings["train_images"] == "all":
        kept |= parts == "train"
    split = Split(frame=images.assign(part=parts)[kept], **settings)
    _check_classes(split, images, eligible)
    return split


def _check_classes(split: Split, images: pd.DataFrame, eligible: pd.DataFrame) -> None:
    """Raise SplitError where a class of the table is missing in a part."""
    parts = PARTS if split.test_fraction > 0 else PARTS[:2]
    present = set(zip(split.frame["label"].tolist(), split.frame["part"].tolist(), strict=True))
    for label in sorted(images["label"].unique()):
        absent = [part for part in parts if (label, part) not in present]
        if absent:
            groups, drawable = (frame["group"][frame["label"] == label].nunique() for frame in (images, eligible))
            raise SplitError(
                f"Expected class {label!r} in every part, but it has too few groups: {groups} group(s), of which "
                f"policy {split.policy!r} can draw {drawable}, and none is left for {' and '.join(absent)}"
                f"{f' in fold {split.fold}' if split.fold else ''}. "
                "Add images of it, merge it with another class, leave it out, or take fewer folds or another policy."
            )


def _read(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """The header and the rows of a split's file. Raises ValueError where it has another form."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != _TITLE:
        raise ValueError(f"expected the first line {_TITLE!r}.")
    settings = takewhile(lambda line: line.startswith("# "), lines[1:])
    header = [line.removeprefix("# ").partition(": ") for line in settings]
    frame, _ = read_csv(path, skip=len(header) + 1)
    frame = frame.rename(columns={"split": "part"})  # the name that the column had at first
    names = sorted(name for name, _, _ in header)
    expected = sorted({field.name for field in fields(Split)} - {"frame"} | {"fingerprint"})
    if not set(expected) - set(_LATER) <= set(names) <= set(expected) or len(set(names)) < len(names):
        raise ValueError(f"expected the settings {', '.join(expected)}, but found {', '.join(names)}.")
    return {name: json.loads(value) for name, _, value in header}, frame[_COLUMNS]
