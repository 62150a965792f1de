"""A small world to be hurt: drawn images with a table, and the commands that make everything from them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

import numpy as np
from PIL import Image

from tests.stress.processes import Answer, run

NET, OTHER = "random/test_resnet.r160_in1k", "random/test_byobnet.r160_in1k"
CLASSES = {"bkl": (150, 110, 70), "mel": (60, 45, 50), "nv": (120, 75, 50)}
CHUNK = 64


@dataclass
class Bench:
    """Room and time for one kind of trial.

    Attributes:
        folder: An empty folder of its own.
        random: Decides all that is left to chance; seeded.
        share: 1 for the whole count of trials; less for a quick form.
        jobs: Processes at a time.
        seconds: Time for the trials, from `begin` on.
    """

    folder: Path
    random: Random
    share: float
    jobs: int
    seconds: float
    _until: float = float("inf")

    def count(self, number: int) -> int:
        """So many trials of the whole number."""
        return max(1, round(number * self.share))

    def begin(self) -> None:
        """Start the clock: the world is made, the trials begin."""
        self._until = monotonic() + self.seconds

    @property
    def late(self) -> bool:
        """True when time is up."""
        return monotonic() > self._until

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"  {text}", flush=True)


def draw_images(folder: Path, count: int, seed: int = 0) -> Path:
    """Draw images (40 x 30 pixels; each class has its colour) of lesions with one to three; returns their table."""
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True)
    rows, lesion = ["image_id,path,label,group"], 0
    while len(rows) <= count:
        label = list(CLASSES)[lesion % len(CLASSES)]
        for _ in range(min(lesion % 3 + 1, count + 1 - len(rows))):
            image_id = f"img{len(rows):04d}"
            colour = rng.normal(CLASSES[label], 30)  # classes overlap: a wrong feature shows in the scores
            pixels = rng.normal(colour, 25, (30, 40, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "images" / f"{image_id}.jpg", quality=90)
            rows.append(f"{image_id},images/{image_id}.jpg,{label},lesion{lesion:04d}")
        lesion += 1
    (folder / "moles.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "moles.csv"


def fresh_copy(source: Path, target: Path) -> Path:
    """A copy of a folder in the place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    return target


def must(words: list[str | Path], folder: Path, **options: object) -> Answer:
    """Run a command that has to succeed."""
    answer = run(words, folder, **options)
    if not answer.done:
        raise RuntimeError(f"hamcache {' '.join(map(str, words))}: {answer}")
    return answer


def extract_words(csv: Path, workspace: Path, **options: str | int) -> list[str | Path]:
    """`extract` of the tiny network, in float32, on a workspace."""
    chosen: Mapping[str, str | int] = {"backbones": NET, "precision": "fp32", "workers": 2, **options}
    named = [word for name, value in chosen.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["extract", "--dataset", csv, "--workspace", workspace, *named]
