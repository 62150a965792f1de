"""Leftovers of killed processes in a workspace, beside the feature stores (those are `cache.catalogue`'s)."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from time import time

from hamcache.cache.catalogue import Leftover
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.artefacts import abandoned_folders, lock_of
from hamcache.pipeline.runs.records import all_runs

HOUR = 3600.0


def workspace_leftovers(workspace: Workspace, *, everything: bool = False) -> list[Leftover]:
    """Folders and files that nothing needs any more.

    Args:
        workspace: The workspace.
        everything: Also what only saves time: decoded images, and the checkpoints that a killed training would go on
            from.

    Returns:
        Paths relative to the workspace, with their bytes and why nothing needs them.
    """
    homes = {
        "run": workspace.runs,
        "sweep": workspace.sweeps,
        "grid": workspace.grids,
        "demonstration": workspace.leakage,
        "evaluation": workspace.evaluations,
    }
    reasons = {
        folder: f"a {noun} whose process died" for noun, home in homes.items() for folder in abandoned_folders(home)
    }
    finished = {str(run.provenance.get("fingerprint", ""))[:16] for run in all_runs(workspace)}
    for folder in sorted(workspace.checkpoints.glob("*/")):
        if folder.name in finished:
            reasons[folder] = "checkpoints of a training that was finished"
        elif everything:
            reasons[folder] = "checkpoints: a training that was killed would start anew"
    if everything:
        for folder in sorted(workspace.decoded.glob("*/")):
            reasons[folder] = "decoded images: made again when a net is trained"
    for path in _partial_files(workspace, time() - HOUR):
        if not any(folder in path.parents for folder in reasons):
            reasons[path] = "partial file of a writer that was killed"
    return [Leftover(str(path.relative_to(workspace.path)), _size(path), why) for path, why in reasons.items()]


def remove_leftover(workspace: Workspace, leftover: Leftover) -> None:
    """Delete a leftover folder or file."""
    folder = workspace.path / leftover.path
    if folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)
    else:
        folder.unlink(missing_ok=True)
    lock_of(folder).unlink(missing_ok=True)


def _partial_files(workspace: Workspace, before: float) -> Iterator[Path]:
    """Files being written (see `data.files.replacing`) that nobody has touched since."""
    for folder, folders, names in os.walk(workspace.path):
        folders[:] = [name for name in folders if str(Path(folder, name)) != workspace.features]
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") and name.endswith(".partial") and path.lstat().st_mtime < before:
                yield path


def _size(folder: Path) -> int:
    if folder.is_file():
        return folder.stat().st_size
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
