"""A made-up data set of HAM10000's shape, drawn instead of photographed: for demos and tests without the real one.

It has HAM10000's files, columns, imbalance and repeated photographs of a lesion, and seven classes that differ in
what dermatologists look at (`data.synthetic.traits`). Scores on it say nothing about medicine.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hamcache.data.errors import DataError
from hamcache.data.ham10000 import METADATA
from hamcache.data.synthetic.drawing import Lesion, keyed_generator

PARTS = ("HAM10000_images_part_1", "HAM10000_images_part_2")
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
MARKER = "synthetic.json"  # says that a folder was made here, and how

# Lesions of each class in HAM10000.
LESIONS = {"akiec": 228, "bcc": 327, "bkl": 727, "df": 73, "mel": 614, "nv": 5403, "vasc": 98}

# Shares of lesions with 1, 2, 3, 4 photographs in HAM10000: naevi, melanomas, all others.
_PHOTOGRAPHS = {"nv": (0.817, 0.130, 0.050, 0.003), "mel": (0.375, 0.453, 0.163, 0.009)}
_PHOTOGRAPHS_ELSE = (0.601, 0.306, 0.086, 0.007)

# Mean age, share of women, and the usual sites of each class in HAM10000, roughly.
_PATIENTS = {
    "akiec": (67, 0.35, ("face", "upper extremity", "lower extremity", "back")),
    "bcc": (67, 0.37, ("back", "face", "lower extremity", "chest", "upper extremity")),
    "bkl": (64, 0.42, ("face", "back", "lower extremity", "upper extremity", "trunk")),
    "df": (53, 0.52, ("lower extremity", "lower extremity", "upper extremity")),
    "mel": (61, 0.40, ("back", "upper extremity", "lower extremity", "face", "abdomen")),
    "nv": (47, 0.48, ("lower extremity", "trunk", "back", "abdomen", "upper extremity", "unknown")),
    "vasc": (52, 0.49, ("trunk", "abdomen", "lower extremity", "back")),
}
_TYPES = {
    "nv": (("follow_up", 0.69), ("histo", 0.25), ("consensus", 0.06)),
    "bkl": (("histo", 0.67), ("consensus", 0.28), ("confocal", 0.05)),
    "vasc": (("consensus", 0.66), ("histo", 0.34)),
    "df": (("consensus", 0.60), ("histo", 0.40)),
}
_NO_AGE = 0.01  # share of lesions whose age is not known (0.6 % of HAM10000's images)


class SynthesisError(DataError, ValueError):
    """The made-up data set cannot be drawn as asked, or not in that folder."""


@dataclass(frozen=True)
class _Entry:
    """One lesion of the plan: its number, class, file names and metadata."""

    number: int
    label: str
    photographs: int
    dx_type: str
    age: str
    sex: str
    localization: str

    @property
    def lesion_id(self) -> str:
        return f"SYN_{self.number:07d}"

    @property
    def image_ids(self) -> list[str]:
        return [f"SYN_{self.number:07d}_{photograph}" for photograph in range(self.photographs)]


def synthesize(
    folder: Path,
    *,
    lesions: int = 400,
    seed: int = 0,
    difficulty: float = 0.5,
    size: tuple[int, int] = (600, 450),
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draws a made-up data set into `folder`, in the layout of HAM10000's Kaggle archive, and returns the folder.

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
    _check(folder, lesions, seed, difficulty, size)
    plan = _plan(lesions, seed)
    total = sum(entry.photographs for entry in plan)
    folder = Path(folder)
    settings = {"lesions": lesions, "seed": seed, "difficulty": difficulty, "size": list(size)}
    _clear(folder, settings)
    paths = _image_paths(folder, plan)
    done = 0
    # numpy and Pillow let go of the interpreter's lock in their inner loops, so threads are enough.
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        try:
            for count in pool.map(lambda entry: _draw(entry, seed, difficulty, size, paths), plan):
                done += count
                if progress is not None:
                    progress(done, total)
        except BaseException:  # Ctrl-C too: without this, leaving the pool would first draw all the rest
            pool.shutdown(cancel_futures=True)
            raise
    _write_metadata(folder, plan)
    return folder


def class_counts(lesions: int) -> dict[str, int]:
    """How many of `lesions` lesions each class gets: HAM10000's shares, with the floor that `synthesize` names."""
    floor = max(lesions // 50, min(8, lesions // 14), 1)
    share = lesions / sum(LESIONS.values())
    counts = {label: max(floor, round(LESIONS[label] * share)) for label in LESIONS}
    counts["nv"] = lesions - sum(count for label, count in counts.items() if label != "nv")
    return counts


def _check(folder: Path, lesions: int, seed: int, difficulty: float, size: tuple[int, int]) -> None:
    if lesions < 7:
        raise SynthesisError(f"Expected at least 7 lesions, one of each class, but got {lesions}.")
    if seed < 0:
        raise SynthesisError(f"Expected a seed of 0 or more, but got {seed}.")
    if not 0 <= difficulty <= 1:
        raise SynthesisError(f"Expected a difficulty from 0 (easy) to 1 (hard), but got {difficulty}.")
    if min(size) < 32:
        raise SynthesisError(f"Expected a width and height of at least 32 pixels, but got {size[0]}x{size[1]}.")
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise SynthesisError(f"Expected a folder to write to, but {folder} is a file: give another path.")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise SynthesisError(
            f"Expected an empty folder or an earlier synthetic data set, but {folder} holds something else, "
            "which would be overwritten: give another folder."
        )


def _clear(folder: Path, settings: dict[str, object]) -> None:
    """Makes the folders, and takes away an earlier data set: first its metadata, so that it counts as unfinished."""
    (folder / METADATA).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
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
    shares = np.array(_PHOTOGRAPHS.get(label, _PHOTOGRAPHS_ELSE))
    photographs = 1 + int(rng.choice(len(shares), p=shares / shares.sum()))
    mean_age, women, sites = _PATIENTS[label]
    types = _TYPES.get(label, (("histo", 1.0),))
    dx_type = types[rng.choice(len(types), p=[share for _, share in types])][0]
    age = float(5 * round(min(max(rng.normal(mean_age, 14), 0), 85) / 5))
    known = rng.random() >= _NO_AGE
    sex = "female" if rng.random() < women else "male"
    site = sites[rng.integers(len(sites))]
    return _Entry(number, label, photographs, dx_type, f"{age:.1f}" if known else "", sex, site)


def _image_paths(folder: Path, plan: list[_Entry]) -> dict[str, Path]:
    """Path of every image: the first half in part 1, the rest in part 2."""
    image_ids = [image_id for entry in plan for image_id in entry.image_ids]
    half = len(image_ids) // 2
    return {
        image_id: folder / PARTS[position >= half] / f"{image_id}.jpg" for position, image_id in enumerate(image_ids)
    }


def _draw(entry: _Entry, seed: int, difficulty: float, size: tuple[int, int], paths: dict[str, Path]) -> int:
    lesion = Lesion(seed, entry.number, entry.label, difficulty, size)
    for photograph, image_id in enumerate(entry.image_ids):
        quality = int(keyed_generator(seed, entry.number, 1 + photograph, 1).integers(86, 95))
        lesion.photograph(photograph).save(paths[image_id], quality=quality)
    return entry.photographs


def _write_metadata(folder: Path, plan: list[_Entry]) -> None:
    partial = folder / (METADATA + ".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for entry in plan:
            for image_id in entry.image_ids:
                row = (entry.lesion_id, image_id, entry.label, entry.dx_type, entry.age, entry.sex, entry.localization)
                writer.writerow(row)
    partial.replace(folder / METADATA)
