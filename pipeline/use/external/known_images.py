"""Images of a data set that a run knows already: by their bytes, or by their names and lesions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from hamcache.configs.defaults import PARTS
from hamcache.data.dataset import Dataset
from hamcache.data.digests import MISSING
from hamcache.data.errors import DataError
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.experiment.preparation import make_splits
from hamcache.pipeline.runs.own_dataset import own_dataset
from hamcache.pipeline.runs.records import Run


@dataclass(frozen=True)
class KnownImages:
    """Images of a data set that are the run's own, or show lesions that are.

    Attributes:
        parts: Image id -> part of the run.
        same_names: True where both sets call the same images and lesions by the same names.
        note: A caution, where the run's images are not here to be compared byte for byte.
    """

    parts: Mapping[str, str]
    same_names: bool
    note: str | None = None

    def count(self, part: str, image_ids: Iterable[str]) -> int:
        """Number of images of one part among some."""
        return sum(self.parts.get(image_id) == part for image_id in image_ids)


def known_images(run: Run, dataset: Dataset, workspace: Workspace) -> KnownImages:
    """Compare a data set with the images that a run was trained, calibrated and tested on.

    An image is known if its file has the bytes of one of the run's. Where an image of the set has the lesion of one of
    the run's and its id or its bytes, the two sets share their names: then every image of a lesion of the run is known,
    other photographs and other sizes of it, too. The test part is the one that the run's split holds out, opened or
    not.

    Args:
        run: A finished run.
        dataset: The data set to be scored on.
        workspace: Holds the run's own data set, if it is named by its workspace.
    """
    own = _own(run, workspace)
    rows = run.predictions[["image_id", "group", "part"]]
    if own is not None:
        rows = pd.concat([rows, _test_rows(run, own)])
    rows = rows.sort_values("part", key=lambda parts: parts.map(PARTS.index), kind="stable")
    rows = rows.drop_duplicates("image_id")  # in a cross-validated run an image is in two parts: the first counts
    first_last = rows[::-1]  # a later entry of a dict replaces one before
    by_lesion = dict(zip(first_last["group"], first_last["part"], strict=True))
    by_bytes: dict[str, str] = {}
    names = set(zip(rows["image_id"], rows["group"], strict=True))
    if own is not None:
        lesion_of = dict(zip(own.table.frame["image_id"], own.table.frame["group"], strict=True))
        for image_id, part in zip(first_last["image_id"], first_last["part"], strict=True):
            by_lesion.setdefault(
                lesion_of[image_id], part
            )  # a split may have merged lesions: their own names count too
            names |= {(image_id, lesion_of[image_id]), (own.digests[image_id], lesion_of[image_id])}
            by_bytes[own.digests[image_id]] = part
        by_bytes.pop(MISSING, None)
    table = dataset.table.frame[["image_id", "group"]]
    same_names = any(
        (image_id, lesion) in names or (dataset.digests[image_id], lesion) in names
        for image_id, lesion in zip(table["image_id"], table["group"], strict=True)
    )
    parts = {}
    for image_id, lesion in zip(table["image_id"], table["group"], strict=True):
        part = by_bytes.get(dataset.digests[image_id]) or (by_lesion.get(lesion) if same_names else None)
        if part is not None:
            parts[image_id] = part
    return KnownImages(parts, same_names, None if own else _note(run))


def _own(run: Run, workspace: Workspace) -> Dataset | None:
    """The run's data set as it was; None where it is not here any more, or another one by now."""
    own = own_dataset(run, workspace)
    return None if isinstance(own, str) or own.table.fingerprint != run.provenance.get("table") else own


def _test_rows(run: Run, own: Dataset) -> pd.DataFrame:
    """The test part of a run's split, opened or not."""
    try:
        frame = make_splits(run.config, own.table)[0].frame
    except (DataError, PipelineError, OSError):  # a file of exclusions is gone
        return pd.DataFrame(columns=["image_id", "group", "part"])
    return frame.loc[frame["part"] == "test", ["image_id", "group", "part"]]


def _note(run: Run) -> str:
    return (
        f"The data set of run {run.id} is not here as it was: its images were compared by id and lesion, not by their "
        "bytes, and those of a closed test set not at all."
    )
