"""Leftovers of killed processes in a workspace, beside the feature stores (those are `cache.catalogue`'s)."""

import shutil
from pathlib import Path

from hamcache.cache.catalogue import Leftover
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.artefacts import abandoned_folders, lock_of
from hamcache.pipeline.runs.records import all_runs


def workspace_leftovers(workspace: Workspace, *, everything: bool = False) -> list[Leftover]:
    """Folders that nothing needs any more.

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
    return [Leftover(str(path.relative_to(workspace.path)), _size(path), why) for path, why in reasons.items()]


def remove_leftover(workspace: Workspace, leftover: Leftover) -> None:
    """Delete a leftover folder."""
    folder = workspace.path / leftover.path
    shutil.rmtree(folder, ignore_errors=True)
    lock_of(folder).unlink(missing_ok=True)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
