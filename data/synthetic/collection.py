"""A made-up data set of HAM10000's shape, drawn instead of photographed: for demos and tests without the real one.

It has HAM10000's files, columns, imbalance and repeated photographs of a lesion, and seven classes that differ in
what dermatologists look at (`data.synthetic.traits`). Scores on it say nothing about medicine.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hamcache.data.errors import SynthesisError
from hamcache.data.files import replacing, sync_disk, write_text
from hamcache.data.ham10000 import METADATA
from hamcache.data.synthetic.drawing import Lesion, keyed_generator
from hamcache.data.threaded import in_threads

PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
MARKER = "synthetic.json"  # says that a folder was made here, and how


class _Class(NamedTuple):
    """A class as it is in HAM10000, roughly.

    The number of lesions; shares of those with 1, 2, 3, 4 photographs; mean age, share of women and usual sites of the
    patients; and the ways in which the diagnosis was made, with their shares.
    """

    lesions: int
    photographs: tuple[float, ...]
    age: int
    women: float
    sites: tuple[str, ...]
    dx_types: dict[str, float]


_ELSE = (0.601, 0.306, 0.086, 0.007)
_ARM, _LEG = "upper extremity", "lower extremity"
_CLASSES = {
    "akiec": _Class(228, _ELSE, 67, 0.35, ("face", _ARM, _LEG, "back"), {"histo": 1}),
    "bcc": _Class(327, _ELSE, 67, 0.37, ("back", "face", _LEG, "chest", _ARM), {"histo": 1}),
    "bkl": _Class(727, _ELSE, 64, 0.42, ("face", "back", _LEG, _ARM, "trunk"),
                  {"histo": 0.67, "consensus": 0.28, "confocal": 0.05}),
    "df": _Class(73, _ELSE, 53, 0.52, (_LEG, _LEG, _ARM), {"consensus": 0.60, "histo": 0.40}),
    "mel": _Class(614, (0.375, 0.453, 0.163, 0.009), 61, 0.40, ("back", _ARM, _LEG, "face", "abdomen"), {"histo": 1}),
    "nv": _Class(5403, (0.817, 0.130, 0.050, 0.003), 47, 0.48, (_LEG, "trunk", "back", "abdomen", _ARM, "unknown"),
                 {"follow_up": 0.69, "histo": 0.25, "consensus": 0.06}),
    "vasc": _Class(98, _ELSE, 52, 0.49, ("trunk", "abdomen", _LEG, "back"), {"consensus": 0.66, "histo": 0.34}),
}  # fmt: skip
_NO_AGE = 0.01  # share of lesions whose age is not known (0.6 % of HAM10000's images)


class _Entry(NamedTuple):
    """One lesion of the plan: its number, class, image ids and metadata."""

    number: int
    label: str
    image_ids: list[str]
    dx_type: str
    age: str
    sex: str
    localization: str


def synthesize(
    folder: Path,
    *,
    lesions: int = 400,
    seed: int = 0,
    difficulty: float = 0.5,
    size: tuple[int, int] = (600, 450),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a made-up data set into `folder`, in the layout of HAM10000's Kaggle archive, and return the folder.

    The classes have HAM10000's proportions, except that each has at least one lesion in fifty (8 of 400; in sets
    below 400 lesions up to one in fourteen), so that every class can be split and scored. Lesions have 1 to 4
    photographs in HAM10000's proportions: about 1.4 images a lesion.

    The same arguments give the same bytes (with the same version of Pillow and numpy). An image depends on the seed,
    its lesion and its number alone. The metadata file is written last: a folder without it was not finished.

    Args:
        folder: where to write; absent, empty, or made by this function before (its images are then replaced).
        lesions: number of lesions, at least 7.
        seed: 0 or more; another seed gives other lesions.
        difficulty: in [0, 1]: how much the classes look alike, and how poor the photographs are. At 0, 0.5 and 1 a
            balanced logistic regression on frozen EfficientNet-Lite0 features reached a Matthews correlation of
            0.85, 0.72 and 0.41 (balanced accuracy 0.79, 0.68, 0.41; 400 lesions, lesion-disjoint 5-fold
            cross-validation), where chance is 0 (1/7). Below 0.25 it changes little.
        size: width and height of the images in pixels.
        progress: called as `progress(images done, images in all)` after every lesion.

    Raises:
        SynthesisError: an argument is out of range, or the folder holds something that was not made here.
    """
    folder = Path(folder)
    _check(folder, lesions, seed, difficulty, size)
    plan = _plan(lesions, seed)
    image_ids = [image_id for entry in plan for image_id in entry.image_ids]
    _clear(folder, {"lesions": lesions, "seed": seed, "difficulty": difficulty, "size": list(size)})
    half = len(image_ids) // 2
    paths = {name: folder / PARTS[place >= half] / f"{name}.jpg" for place, name in enumerate(image_ids)}

    def draw(entry: _Entry) -> int:
        lesion = Lesion(seed, entry.number, entry.label, difficulty, size)
        for photograph, image_id in enumerate(entry.image_ids):
            quality = int(keyed_generator(seed, entry.number, 1 + photograph, 1).integers(86, 95))
            with replacing(paths[image_id], durable=False) as partial:
                lesion.photograph(photograph).save(partial, format="JPEG", quality=quality)
        return len(entry.image_ids)

    done = 0
    # numpy and Pillow let go of the interpreter's lock in their inner loops, so threads are enough.
    for count in in_threads(draw, plan, min(os.cpu_count() or 1, 8)):
        done += count
        if progress is not None:
            progress(done, len(image_ids))
    rows = [(f"SYN_{each.number:07d}", name, each.label, *each[3:]) for each in plan for name in each.image_ids]
    sync_disk()  # the table, written last, vouches for the images
    write_text(folder / METADATA, "".join(",".join(row) + "\n" for row in (COLUMNS, *rows)))
    return folder


def class_counts(lesions: int) -> dict[str, int]:
    """Number of lesions of each class, `lesions` in all: HAM10000's shares, with the floor that `synthesize` names."""
    floor = max(lesions // 50, min(8, lesions // 14), 1)
    share = lesions / sum(traits.lesions for traits in _CLASSES.values())
    counts = {label: max(floor, round(traits.lesions * share)) for label, traits in _CLASSES.items()}
    return counts | {"nv": lesions - sum(counts.values()) + counts["nv"]}


def _check(folder: Path, lesions: int, seed: int, difficulty: float, size: tuple[int, int]) -> None:
    strange = folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file()
    for wrong, expected, got in (
        (lesions < 7, "at least 7 lesions, one of each class", f"got {lesions}"),
        (seed < 0, "a seed of 0 or more", f"got {seed}"),
        (not 0 <= difficulty <= 1, "a difficulty from 0 (easy) to 1 (hard)", f"got {difficulty}"),
        (min(size) < 32, "a width and height of at least 32 pixels", f"got {size[0]}x{size[1]}"),
        (folder.is_file(), "a folder to write to", f"{folder} is a file. Give another path"),
        (strange, "an empty folder or an earlier synthetic data set",
         f"{folder} holds something else, which would be overwritten. Give another folder"),
    ):  # fmt: skip
        if wrong:
            raise SynthesisError(f"Expected {expected}, but {got}.")


def _clear(folder: Path, settings: dict[str, object]) -> None:
    """Make the folders, and take away an earlier data set: first its metadata, so that it counts as unfinished."""
    (folder / METADATA).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / MARKER, json.dumps(settings, indent=1) + "\n")
    for part in PARTS:
        (folder / part).mkdir(exist_ok=True)
        for image in (folder / part).glob("SYN_*.jpg"):
            image.unlink()


def _plan(lesions: int, seed: int) -> list[_Entry]:
    """All lesions in order of their number, the classes shuffled."""
    labels = [label for label, count in class_counts(lesions).items() for _ in range(count)]
    order = keyed_generator(seed).permutation(len(labels))
    return [_plan_lesion(number, labels[index], seed) for number, index in enumerate(order)]


def _plan_lesion(number: int, label: str, seed: int) -> _Entry:
    rng = keyed_generator(seed, number)
    traits = _CLASSES[label]
    shares = np.array(traits.photographs)
    photographs = 1 + int(rng.choice(len(shares), p=shares / shares.sum()))
    dx_type = str(rng.choice(list(traits.dx_types), p=list(traits.dx_types.values())))
    age = float(5 * round(min(max(rng.normal(traits.age, 14), 0), 85) / 5))
    known = rng.random() >= _NO_AGE
    sex = "female" if rng.random() < traits.women else "male"
    image_ids = [f"SYN_{number:07d}_{photograph}" for photograph in range(photographs)]
    site = traits.sites[rng.integers(len(traits.sites))]
    return _Entry(number, label, image_ids, dx_type, f"{age:.1f}" if known else "", sex, site)
