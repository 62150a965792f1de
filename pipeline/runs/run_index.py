"""Finished runs by what decides their numbers: each read once, however often one is looked for."""

import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.runs.records import Run, by_age, read_run

_log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    age: tuple[str, str]
    folder: Path
    fingerprint: str
    test: bool


def find_run(workspace: Workspace, fingerprint: str, *, test: bool = False, first: bool = False) -> Run | None:
    """The latest run with this `provenance.fingerprint` (or the `first`); with `test`, one that opened the test set.

    A look reads the names of the runs' folders, and of the runs only those that are new. A run that is no longer what
    was written is passed over with a warning: who looked for it makes it anew.
    """
    wanted = [entry for entry in _entries(workspace.runs) if entry.fingerprint == fingerprint and entry.test >= test]
    for entry in sorted(wanted, reverse=not first):
        try:
            # Fresh: it may have been damaged, removed or replaced since.
            entry = _entry(run := read_run(entry.folder).checked())
        except DamagedError as error:
            _log.warning("%s", error)
            continue
        if entry.fingerprint == fingerprint and entry.test >= test:
            return run
    return None


def _entries(home: Path) -> list[_Entry]:
    entries = []
    if home.is_dir():
        with os.scandir(home.absolute()) as items:
            for item in items:
                if not item.name.startswith(".") and item.is_dir():
                    try:
                        entries.append(_remembered(Path(item.path), item.inode()))
                    except DamagedError:  # looked at again next time: it may be on its way here from another machine
                        continue
    return entries


@lru_cache(maxsize=1 << 16)
def _remembered(folder: Path, inode: int) -> _Entry:
    """The run in a folder; a folder that was replaced is another one, by its inode."""
    return _entry(read_run(folder))


def _entry(run: Run) -> _Entry:
    return _Entry(by_age(run), run.folder, str(run.provenance.get("fingerprint", "")), "test" in run.metrics)
