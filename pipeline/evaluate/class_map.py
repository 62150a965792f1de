"""Classes of a run beside those of another data set: which are the same, and which only one of the two has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hamcache.data.nearest import unknown_name
from hamcache.pipeline.errors import EvaluationError

Pair = tuple[str, str]
"""A class of the run, and what the data set calls it."""


@dataclass(frozen=True, eq=False)
class ClassMap:
    """Classes that a run is scored by on another data set.

    Attributes:
        classes: Their names. Classes of the run that one label of the data set stands for are one, `mel+bcc`.
        columns: int64 `[C]`: code of each class of the run among them.
        codes: Label of the data set -> code; labels that no class of the run stands for are not in it.
    """

    classes: tuple[str, ...]
    columns: np.ndarray
    codes: Mapping[str, int]

    def merged(self, proba: np.ndarray) -> np.ndarray:
        """Probabilities float64 `[n, len(classes)]` from those of the run's classes `[n, C]`; alike for sets (bool)."""
        whole: np.ndarray = proba @ np.eye(len(self.classes))[self.columns]
        return whole if proba.dtype != bool else whole > 0

    @property
    def absent(self) -> list[int]:
        """Codes of the classes that no label of the data set stands for."""
        return [code for code in range(len(self.classes)) if code not in self.codes.values()]


def map_classes(ours: Sequence[str], theirs: Sequence[str], pairs: Sequence[Pair] = ()) -> ClassMap:
    """Match the classes of a run with the labels of a data set.

    Labels that `pairs` says nothing of stand for the class of the same name, or of the only one that differs from it
    in case alone. A class may have several labels, and a label several classes, whose probabilities are then added.

    Args:
        ours: Classes of the run, in code order.
        theirs: Labels of the data set.
        pairs: Those that the user named.

    Raises:
        EvaluationError: A pair names what is not there, classes overlap, or nothing fits.
    """
    for our, their in pairs:
        for kind, name, valid in (("class of the run", our, ours), ("label of the data set", their, theirs)):
            if name not in valid:
                raise EvaluationError(
                    f"Expected OURS=THEIRS in --map, got {our}={their}: {unknown_name(kind, name, valid)}"
                )
    meant = {label: _meant(label, ours, theirs, pairs) for label in theirs}
    sets = dict.fromkeys(tuple(group) for group in meant.values() if group)
    for group in sets:
        for other in sets:
            if group != other and set(group) & set(other):
                raise EvaluationError(
                    f"Expected labels that stand for the same classes or for others, got some that share "
                    f"{', '.join(sorted(set(group) & set(other)))}: {'+'.join(group)} and {'+'.join(other)}. Map the "
                    "same classes to both labels, or fewer."
                )
    if not sets:
        raise EvaluationError(
            f"Expected classes that the run and the data set share, got none: {', '.join(ours)} and "
            f"{', '.join(theirs)}. Say which are the same: --map {ours[0]}={theirs[0]}."
        )
    groups = dict.fromkeys(next((group for group in sets if name in group), (name,)) for name in ours)
    codes = {group: code for code, group in enumerate(groups)}
    columns = [next(code for group, code in codes.items() if name in group) for name in ours]
    names = tuple("+".join(group) for group in groups)
    labels = {label: codes[tuple(group)] for label, group in meant.items() if group}
    return ClassMap(names, np.array(columns, dtype=np.int64), labels)


def _meant(label: str, ours: Sequence[str], theirs: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """The classes that a label stands for, in code order."""
    if any(their == label for _, their in pairs):
        return [name for name in ours if (name, label) in pairs]
    if label in ours:
        return [label]
    alike = [name for name in ours if name.casefold() == label.casefold()]
    rivals = [other for other in theirs if other.casefold() == label.casefold()]
    return alike if len(alike) == len(rivals) == 1 else []
