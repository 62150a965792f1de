"""Finished runs by what decides their numbers: each read once, however often one is looked for."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.runs.records import Run, by_age, read_run

Place = tuple[str, int]
"""Name and inode of a run's folder: a folder that was replaced is another one."""


@dataclass(frozen=True)
class _Entry:
    folder: Path
    fingerprint: str
    test: bool
    age: tuple[str, str]


class RunIndex:
    """The whole runs in a folder. A look reads the folder's names, and of the runs only those that are new.

    Args:
        home: `workspace/runs`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._entries: dict[Place, _Entry] = {}

    def find(self, fingerprint: str, *, test: bool = False) -> Run | None:
        """The latest run with this `provenance.fingerprint`; with `test`, the latest that opened the test set."""
        fitting = [
            entry for entry in self._looked().values() if entry.fingerprint == fingerprint and (entry.test or not test)
        ]
        for entry in sorted(fitting, key=lambda entry: entry.age, reverse=True):
            try:
                run = read_run(entry.folder)  # fresh: it may have been damaged, removed or replaced since
            except RunError:
                continue
            if run.provenance.get("fingerprint") == fingerprint and ("test" in run.metrics or not test):
                return run
        return None

    def _looked(self) -> Mapping[Place, _Entry]:
        places = _places(self._home)
        entries = {place: entry for place, entry in self._entries.items() if place in places}
        for place in places - entries.keys():
            try:
                run = read_run(self._home / place[0])
            except RunError:
                continue  # looked at again next time: it may be on its way here from another machine
            fingerprint = str(run.provenance.get("fingerprint", ""))
            entries[place] = _Entry(run.folder, fingerprint, "test" in run.metrics, by_age(run))
        self._entries = entries
        return entries


def _places(home: Path) -> set[Place]:
    if not home.is_dir():
        return set()
    with os.scandir(home) as items:
        return {(item.name, item.inode()) for item in items if not item.name.startswith(".") and item.is_dir()}


def find_run(workspace: Workspace, fingerprint: str, *, test: bool = False) -> Run | None:
    """The latest run with this `provenance.fingerprint`; with `test`, the latest that opened the test set."""
    return _index_of(workspace.runs.absolute()).find(fingerprint, test=test)


@lru_cache(maxsize=8)
def _index_of(home: Path) -> RunIndex:
    return RunIndex(home)
