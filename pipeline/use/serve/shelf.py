"""The runs of a workspace as the pages show them: found by id among those that exist, with intervals."""

from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

from hamcache.data.workspace import Workspace
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.errors import ArtefactNotFoundError
from hamcache.pipeline.evaluate.intervals import Interval, bootstrap
from hamcache.pipeline.runs.records import Run, all_runs
from hamcache.pipeline.show.plots.runs import CAPTIONS

KINDS = {"svg": "image/svg+xml", "png": "image/png"}
OF_CLASSES = ("sensitivity", "specificity", "auc")


class Shelf:
    """All finished runs, read again when a folder has changed.

    Args:
        workspace: Holds `runs/`.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._lock, self._scoring = Lock(), Lock()
        self._stamp: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._intervals: dict[tuple[str, int, str, str], Interval] = {}

    def all(self) -> list[Run]:
        """Every finished run, latest first."""
        with self._lock:
            folder = self.workspace.runs
            stamp = {path.name: path.stat().st_mtime_ns for path in folder.glob("*/") if path.name[0] != "."}
            if stamp != self._stamp:
                same = {name: run for name, run in self._runs.items() if stamp.get(name) == self._stamp.get(name)}
                self._runs = {run.id: same.get(run.id, run) for run in reversed(all_runs(self.workspace))}
                self._stamp = stamp
            return list(self._runs.values())

    def get(self, run_id: str) -> Run:
        """The run with exactly this id. It is looked up, never made a part of a path.

        Raises:
            ArtefactNotFoundError: There is none.
        """
        for run in self.all():
            if run.id == run_id:
                return run
        raise ArtefactNotFoundError(f"There is no run {run_id!r} in this workspace. The page of runs lists them.")

    def best(self) -> Run | None:
        """Of the latest run's data set, the run with the best validation MCC."""
        runs = self.all()
        rivals = [run for run in runs if about(run)["dataset"] == about(runs[0])["dataset"]]
        return max(rivals, key=lambda run: run.metrics.get("validation", {}).get("mcc", -2.0), default=None)

    def intervals(self, run: Run, part: str, metrics: Sequence[str]) -> dict[str, Interval]:
        """Some scores of one part with their bootstrap intervals; computed once."""
        stamp = self._stamp.get(run.id, 0)
        with self._scoring:
            absent = [name for name in metrics if (run.id, stamp, part, name) not in self._intervals]
            if absent:
                whole = replace(run)  # whose predictions are forgotten afterwards
                drawn = bootstrap(*whole.answers(part), absent, classes=run.classes)
                for name, interval in zip(absent, drawn, strict=True):
                    self._intervals[run.id, stamp, part, name] = interval
            return {name: self._intervals[run.id, stamp, part, name] for name in metrics}


def about(run: Run) -> dict[str, Any]:
    """A run in a list: head, features, data set, policy, seed, when it was finished."""
    known = dict.fromkeys(("head", "features", "dataset", "policy", "seed"), "") | run.provenance.get("summary", {})
    return {**known, "finished": run.provenance.get("finished", "")}


def with_intervals(run: Run, part: str) -> list[str]:
    """The scores of one part that have intervals: of all images, then of each class."""
    of_classes = [f"{kind}_{label}" for label in run.classes for kind in OF_CLASSES]
    return [name for name in (*METRICS, *of_classes) if name in run.metrics.get(part, {})]


def pictures(run: Run) -> dict[str, str]:
    """Addresses of the pictures that were made of a run: SVG, or PNG where it was drawn before there were any."""
    base = f"/runs/{quote(run.id, safe='')}/plots"
    kinds = {name: [kind for kind in KINDS if picture(run, name, kind)] for name in CAPTIONS}
    return {name: f"{base}/{name}.{there[0]}" for name, there in kinds.items() if there}


def picture(run: Run, name: str, kind: str) -> Path | None:
    """The file of a picture; None where there is no such picture in the run's own folder."""
    if name not in CAPTIONS or kind not in KINDS:
        return None
    path = run.folder / "plots" / f"{name}.{kind}"
    inside = path.resolve().is_relative_to(run.folder.resolve())
    return path if inside and path.is_file() else None


def bounds(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON: `value, low, high`, null where it is undefined."""
    numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: number if isfinite(number) else None for name, number in numbers.items()}
