"""The form of a benchmark: things run in turn, and what each cost.

A benchmark is a generator function of a `Setting`. What comes before its first `yield` is preparation: data, networks,
a first run of everything, so that nothing is measured cold. Each `yield` is one round: for every row, the cost of ours
and of what it is compared with, measured one right after the other. The caller takes rounds until it has enough, or
the time is up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

HIGHER, LOWER = "higher", "lower"
FULL, QUICK, TINY = "full", "quick", "tiny"

T = TypeVar("T")
P = ParamSpec("P")


class Costs(NamedTuple):
    """Cost of ours and of what it is compared with, in the same unit; an absolute row is compared with 1."""

    ours: float
    base: float = 1.0


Round = Mapping[str, Costs]
"""The costs of one round by the key of their row."""


class LeftOutError(Exception):
    """A benchmark that can't run here; the message says what is missing."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured; for an absolute number with its unit.
        target: what its ratio should reach.
        better: `higher`: the ratio is the cost of the other over ours; `lower`: ours over the other.
    """

    name: str
    target: float
    better: str

    def ratio(self, costs: Costs) -> float:
        """The ratio of one round."""
        return costs.base / costs.ours if self.better == HIGHER else costs.ours / costs.base

    def is_met(self, ratio: float) -> bool:
        """True where a ratio reaches the target."""
        return ratio >= self.target if self.better == HIGHER else ratio <= self.target


@dataclass(frozen=True)
class Setting:
    """The circumstances of a benchmark.

    Attributes:
        folder: scratch folder of its own, removed afterwards.
        images: folder with the pictures.
        size: `full`, `quick` (about a third), or `tiny` (it runs, and says nothing of speed).
    """

    folder: Path
    images: Path
    size: str = FULL

    def of(self, full: T, quick: T, tiny: T) -> T:
        """The value for this size."""
        return {FULL: full, QUICK: quick, TINY: tiny}[self.size]


@dataclass(frozen=True)
class Benchmark:
    """Some rows that are measured together.

    Attributes:
        name: short name, for `--only`.
        function: `module:function` below `benchmarks`; imported only where it runs.
        rows: by their key in each `Round`.
        seconds: how long it may take with its preparation; then it ends after the round that it is in.
        rounds: how many it takes where time allows.
        options: arguments of the function beside the setting.
        in_quick: part of `--quick`.
    """

    name: str
    function: str
    rows: Mapping[str, Row]
    seconds: float
    rounds: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)
    in_quick: bool = True

    def start(self, setting: Setting) -> Iterator[Round]:
        """The generator of rounds."""
        module, function = self.function.split(":")
        return getattr(import_module(f"benchmarks.{module}"), function)(setting, **self.options)


def wall(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Seconds that a call takes."""
    began = time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - began


def processor(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> float:
    """Processor seconds of this process, all its threads together, that a call takes."""
    began = time.process_time()
    work(*args, **kwargs)
    return time.process_time() - began


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
