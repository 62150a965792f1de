"""What a report is about: the runs, sweeps and grids that were named, or all of a workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import PipelineError, RunError, RunNotFoundError
from hamcache.pipeline.runs.records import Run, read_run

if TYPE_CHECKING:
    from hamcache.pipeline.studies.grid.matrix import Grid
    from hamcache.pipeline.studies.sweeps.results import Sweep


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the page shows.

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
        RunNotFoundError: A name is that of nothing, or of several; or the workspace has no runs.
    """
    from hamcache.pipeline.studies.grid.matrix import all_grids
    from hamcache.pipeline.studies.sweeps.results import all_sweeps

    left_out: dict[str, str] = {}
    sweeps = {
        sweep.id: sweep
        for sweep in all_sweeps(workspace)
        if _reads(sweep.id, partial(_tables_of_sweep, sweep), left_out)
    }
    grids = {
        grid.id: grid for grid in all_grids(workspace) if _reads(grid.id, partial(_tables_of_grid, grid), left_out)
    }
    folders = {path.name: path for path in sorted(workspace.runs.glob("*/")) if path.name[0] != "."}
    if names:
        found = [_find(Path(name).name, [folders, sweeps, grids], workspace) for name in names]
        sweeps = {name: sweeps[name] for name in found if name in sweeps}
        grids = {name: grids[name] for name in found if name in grids}
        wanted = [name for name in found if name not in sweeps and name not in grids]
        wanted += [sweep.final_run for sweep in sweeps.values() if sweep.final_run]
        wanted += [str(run) for grid in grids.values() for run in grid.cells["run"] if str(run)]
        left_out = {name: why for name, why in left_out.items() if name in found}
        folders = {name: folders.get(name, workspace.runs / name) for name in wanted}
    if not folders:
        raise RunNotFoundError(
            f"expected runs to report on in {workspace}, got none. Make one with `hamcache train`, or many with "
            "`hamcache zoo`."
        )
    runs = _readable(folders.values(), left_out)
    return Chosen(runs, list(sweeps.values()), list(grids.values()), left_out)


def _find(name: str, known: Sequence[Iterable[str]], workspace: Workspace) -> str:
    """The one id that a name stands for."""
    ids = [one for some in known for one in some]
    if name in ids:
        return name
    fitting = [one for one in ids if name and one.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    what = f"{len(fitting)} begin with it: {', '.join(fitting[:5])}" if fitting else "nothing is named so"
    raise RunNotFoundError(
        f"expected the id of a run, sweep or grid in {workspace}, got {name!r}: {what}. `hamcache runs` lists the "
        "runs; a beginning that only one id has is enough."
    )


def _readable(folders: Iterable[Path], left_out: dict[str, str]) -> list[Run]:
    runs = []
    for folder in folders:
        try:
            runs.append(read_run(folder))
        except RunError as error:
            left_out[folder.name] = str(error)
    return runs


def _reads(name: str, read: Callable[[], object], left_out: dict[str, str]) -> bool:
    """Whether the tables of a sweep or grid can be read; where not, it is left out."""
    try:
        read()
    except (PipelineError, OSError, ValueError, KeyError) as error:
        left_out[name] = f"it cannot be read: {' '.join(str(error).split())}"
        return False
    return True


def _tables_of_sweep(sweep: Sweep) -> object:
    return [sweep.point(row) for _, row in sweep.trials.iterrows()]


def _tables_of_grid(grid: Grid) -> object:
    return grid.cells[["backbone", "augmentation", "seed", "run", "error"]], grid.matrix(means=True)
