"""Subjects of a report: the runs, sweeps and grids that were named, or all of a workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ArtefactNotFoundError, DamagedError
from hamcache.pipeline.runs.artefacts import Artefact, Kind, find
from hamcache.pipeline.runs.records import RUNS, Run

if TYPE_CHECKING:
    from hamcache.pipeline.studies.grid.matrix import Grid
    from hamcache.pipeline.studies.sweeps.results import Sweep

A = TypeVar("A", bound=Artefact)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Contents of the page.

    Attributes:
        runs: Those named, those of the grids' cells, and those that the sweeps ended with; each once.
        sweeps: Those named, or all.
        grids: Those named, or all.
        left_out: Runs, sweeps and grids that cannot be read, and why.
    """

    runs: list[Run]
    sweeps: list[Sweep]
    grids: list[Grid]
    left_out: dict[str, str]


def choose(names: Sequence[str], workspace: Workspace) -> Chosen:
    """Find what was named: ids of runs, sweeps or grids, their folders, or beginnings of ids that only one has.

    Without names, everything in the workspace is chosen.

    Raises:
        ArtefactNotFoundError: A name is that of nothing, or of several; or the workspace has no runs.
    """
    from hamcache.pipeline.studies.grid.matrix import GRIDS
    from hamcache.pipeline.studies.sweeps.results import SWEEPS

    kinds: list[Kind[Any]] = [RUNS, SWEEPS, GRIDS]
    left_out: dict[str, str] = {}
    if names:
        found = [find(name, workspace, kinds) for name in names]
    else:
        found = [(kind, folder) for kind in kinds for folder in kind.folders(workspace)]

    def whole(kind: Kind[A]) -> list[A]:
        artefacts = _whole(kind, [folder for of, folder in found if of is kind], left_out)
        return artefacts if names else sorted(artefacts, key=kind.order)

    sweeps, grids = whole(SWEEPS), whole(GRIDS)
    folders = {folder.name: folder for kind, folder in found if kind is RUNS}
    if names:
        wanted = [sweep.final_run for sweep in sweeps if sweep.final_run]
        wanted += [str(run) for grid in grids for run in grid.cells["run"] if str(run)]
        folders = {run: workspace.runs / run for run in wanted} | folders
    if not folders:
        raise ArtefactNotFoundError(
            f"Expected runs to report on in {workspace}, got none. Make one with `hamcache train`, or many with "
            "`hamcache zoo`."
        )
    return Chosen(_whole(RUNS, folders.values(), left_out), sweeps, grids, left_out)


def _whole(kind: Kind[A], folders: Iterable[Path], left_out: dict[str, str]) -> list[A]:
    """The artefacts in some folders that can be read as they were written; others are left out, with the reason."""
    artefacts = []
    for folder in folders:
        try:
            artefacts.append(kind.read(folder).checked())
        except DamagedError as error:
            left_out[folder.name] = f"it cannot be read: {error}"
    return artefacts
