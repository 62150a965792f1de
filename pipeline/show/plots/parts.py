"""Labels and probabilities of the parts that the pictures of a run show, and the titles of these pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.style import COLOURS

SHOWN = ("validation", "test")
"""Parts that are drawn; the test set where it was opened."""
MOST_CLASSES = 16
"""More classes than this cannot be told apart in one picture: the most frequent are drawn."""
INK = (*(colour for colour in COLOURS if colour != "#F0E442"), "#000000")  # yellow lines are faint on white
DASHES = ("-", "--", ":")
_WORK = 30_000_000  # resamples times images times classes: well below a second
_FEWEST = 200


@dataclass(frozen=True, eq=False)
class Shown:
    """One part of a run.

    Attributes:
        name: Of the part.
        y: int64 `[n]`, class codes.
        proba: float64 `[n, C]`.
        groups: `[n]`, lesions.
        scores: Metrics of the part, by name.
    """

    name: str
    y: np.ndarray
    proba: np.ndarray
    groups: np.ndarray
    scores: dict[str, float]

    def counts(self, classes: Sequence[str]) -> np.ndarray:
        """int64 `[C]`: images of each class."""
        return np.bincount(self.y, minlength=len(classes))

    @property
    def resamples(self) -> int:
        """Resamples that a picture draws: as many as everywhere, fewer of many images, so that it costs no minute."""
        return int(np.clip(_WORK // self.proba.size, _FEWEST, RESAMPLES))

    @property
    def words(self) -> str:
        """`validation: 1,495 images of 1,494 lesions`."""
        return f"{self.name}: {len(self.y):,} images of {len(set(self.groups)):,} lesions"


def shown_parts(run: Run) -> list[Shown]:
    """Validation, and the test set where it was opened."""
    return [Shown(name, *run.answers(name), run.metrics[name]) for name in SHOWN if name in run.metrics]


def shown_classes(run: Run, parts: Sequence[Shown]) -> list[int]:
    """Codes of the classes that are drawn, in their order: all, or the most frequent ones."""
    counts = sum((part.counts(run.classes) for part in parts), np.zeros(len(run.classes), dtype=np.int64))
    most = sorted(np.argsort(-counts, kind="stable")[:MOST_CLASSES])
    return [int(code) for code in most if counts[code]]


def title_of(run: Run, subject: str, classes: Sequence[int] | None = None) -> str:
    """The subject, and the run in words: it gets its id when it is whole."""
    about = run.provenance.get("summary", {})
    title = f"{subject}\n{about.get('head', '')} on {about.get('features', '')}, {about.get('dataset', '')}"
    title += f", seed {about.get('seed', '')}"
    if classes is not None and len(classes) < len(run.classes):
        title += f" (the {len(classes)} most frequent of {len(run.classes)} classes)"
    return title
