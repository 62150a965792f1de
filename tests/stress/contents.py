"""The contents of a workspace in a form that can be compared to the last bit, without clocks and names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import MissingFeaturesError
from hamcache.cache.store import FeatureStore
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.studies.grid.matrix import GRIDS
from hamcache.pipeline.studies.sweeps.results import all_sweeps

CLOCKS = ["seconds", "overhead"]


def stores_in(root: Path | str) -> dict[str, str]:
    """Digest of all vectors of each store's view, with the images they belong to."""
    found = {}
    for store in Catalogue(root).stores():
        ids = sorted(store.image_ids)
        for view in range(store.n_views):
            kept = ids if _has(store, ids, view) else [image_id for image_id in ids if _has(store, [image_id], view)]
            vectors = store.read(kept, [view])  # an image that was refused has a row, and no vector
            found[f"{store.folder}/{view}"] = _digest(repr(kept).encode(), vectors.tobytes())
    return found


def _has(store: FeatureStore, ids: list[str], view: int) -> bool:
    try:
        store.read(ids, [view])
    except MissingFeaturesError:
        return False
    return True


def runs_in(workspace: Path) -> dict[str, str]:
    """Digest of the scores and predictions of each experiment, by its fingerprint; numbered where it ran twice."""
    found: dict[str, str] = {}
    for run in all_runs(Workspace(workspace)):
        name, number = str(run.provenance["fingerprint"])[:12], 1
        while f"{name}/{number}" in found:
            number += 1
        read = [(run.folder / file).read_bytes() for file in ("metrics.json", "predictions.csv", "classes.json")]
        run.load_head()
        found[f"{name}/{number}"] = _digest(*read)
    return found


def sweeps_in(workspace: Path) -> dict[str, str]:
    """Digest of each sweep's trials, in order of their numbers, without what the clock says."""
    found = {}
    for sweep in all_sweeps(Workspace(workspace)):
        trials = sweep.trials.drop(columns=CLOCKS).sort_values("trial")
        found[sweep.settings.digest[:12]] = _digest(trials.to_csv(index=False).encode())
        if sweep.summary.get("state") != "finished":
            found[sweep.settings.digest[:12]] += f" {sweep.summary.get('state')}"
    return found


def grids_in(workspace: Path) -> dict[str, str]:
    """Digest of each grid's scores."""
    found = {}
    for grid in GRIDS.all(Workspace(workspace)):
        cells: pd.DataFrame = grid.cells.drop(columns=["run", "seconds"])
        found[grid.id] = _digest(cells.to_csv(index=False).encode(), grid.scores.to_csv(index=False).encode())
    return found


def all_in(workspace: Path) -> dict[str, str]:
    """All of these."""
    return {
        **stores_in(workspace / "features"),
        **runs_in(workspace),
        **sweeps_in(workspace),
        **grids_in(workspace),
    }


def files_in(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder but locks, and where every link leads."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and path.suffix != ".lock" and path.name != ".lock":
            found[name] = _digest(path.read_bytes())
    return found


def differing(expected: dict[str, str], got: dict[str, str]) -> tuple[list[str], list[str]]:
    """Names that are missing, and names that are there with other content or should not be there."""
    missing = sorted(expected.keys() - got.keys())
    return missing, sorted(name for name in got if expected.get(name) != got[name])


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]
