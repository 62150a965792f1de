"""The content of a data set in numbers."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hamcache.data.digests import MISSING
from hamcache.data.stratify import one_image_per_group
from hamcache.data.table import ImageTable


@dataclass(frozen=True)
class ClassShare:
    """The share of one class in a data set.

    label: the class. images: its images. images_percent: of all images. groups: its images when one image of each
    group is kept. groups_percent: of all groups.
    """

    label: str
    images: int
    images_percent: float
    groups: int
    groups_percent: float


@dataclass(frozen=True)
class Summary:
    """A data set in numbers; `to_dict` gives it as plain values for JSON.

    images_per_group: number of groups by their number of images. missing_files: image_ids whose file is not there.
    mixed_groups: groups whose images have several labels. twins: sets of image_ids whose files have the same bytes but
    that are in different groups, so that a split may leak (None where no digests were given).
    """

    name: str
    images: int
    groups: int
    classes: tuple[ClassShare, ...]
    images_per_group: dict[int, int]
    missing_files: tuple[str, ...]
    mixed_groups: tuple[str, ...]
    twins: tuple[tuple[str, ...], ...] | None
    fingerprint: str

    def to_dict(self) -> dict[str, Any]:
        """The same as nested dicts and lists of plain values."""
        return asdict(self)


def summarise(table: ImageTable, digests: Mapping[str, str] | None = None) -> Summary:
    """Count what is in `table`; with `digests` (see `data.digests.file_digests`) also find identical files."""
    all_labels = table.frame["label"].value_counts()
    kept_labels = one_image_per_group(table.frame)["label"].value_counts()
    groups = int(kept_labels.sum())
    classes = tuple(
        ClassShare(
            label=label,
            images=int(all_labels.get(label, 0)),
            images_percent=100 * int(all_labels.get(label, 0)) / len(table),
            groups=int(kept_labels.get(label, 0)),
            groups_percent=100 * int(kept_labels.get(label, 0)) / groups,
        )
        for label in table.classes
    )
    per_group = Counter(table.frame["group"].value_counts().tolist())
    return Summary(
        name=table.name,
        images=len(table),
        groups=groups,
        classes=classes,
        images_per_group=dict(sorted(per_group.items())),
        missing_files=tuple(table.missing_files()),
        mixed_groups=tuple(table.mixed_groups()),
        twins=None if digests is None else _twins(table, digests),
        fingerprint=table.fingerprint,
    )


def _twins(table: ImageTable, digests: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    group_of = dict(zip(table.frame["image_id"], table.frame["group"], strict=True))
    same_bytes: dict[str, list[str]] = {}
    for image_id in group_of:
        if digests[image_id] != MISSING:
            same_bytes.setdefault(digests[image_id], []).append(image_id)
    return tuple(tuple(ids) for ids in same_bytes.values() if len({group_of[i] for i in ids}) > 1)
