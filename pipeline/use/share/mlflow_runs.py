"""Runs for MLflow: parameters, scores, epochs, tags, and the whole folder of each as artifacts.

MLflow's own client writes them, so the store may be a folder (an SQLite database with the artifacts beside it: MLflow
has put its older store of plain files out of service) or the address of whatever MLflow takes, such as a server. A run
in the store is known by its id and fingerprint: exported again, it is found.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from hamcache.pipeline.errors import ExportError, MissingExtraError
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.share.run_tables import flat, scores

DATABASE, ARTIFACTS = "mlflow.db", "artifacts"
RUN, FINGERPRINT = "hamcache.run", "hamcache.fingerprint"
FOLDER = "run"
"""Folder of the artifacts that is the run's own: `hamcache predict` takes it, too."""
_AT_ONCE = 100
"""Parameters, tags or scores of one call: MLflow takes no more of the first two."""
_LONGEST = 5000
"""Letters of a parameter or tag."""


@dataclass(frozen=True)
class MlflowStore:
    """Address that MLflow knows, and the folder of artifacts, if that is ours to say."""

    uri: str
    artifacts: str | None

    @classmethod
    def at(cls, out: str | Path) -> "MlflowStore":
        """The store in a folder, or at an address such as `http://127.0.0.1:5000`."""
        if "://" in str(out):
            return cls(str(out), None)
        folder = Path(out).absolute()
        return cls(f"sqlite:///{folder / DATABASE}", (folder / ARTIFACTS).as_uri())


def client_of(store: MlflowStore) -> Any:
    """MLflow's client.

    Raises:
        MissingExtraError: MLflow is not installed.
    """
    try:
        mlflow = import_module("mlflow")
        import_module("sqlalchemy" if store.uri.startswith("sqlite") else "mlflow")
    except ImportError as error:
        raise MissingExtraError(
            f"Expected the package mlflow to export runs to it, got an installation without it ({error}). Do "
            "`pip install 'hamcache[mlflow]'`, or export to csv or json."
        ) from error
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # of a server that is away: seconds, not minutes
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if store.uri.startswith("sqlite:///"):
        Path(store.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    with _failing(store):
        return mlflow.MlflowClient(tracking_uri=store.uri)


def export_runs(
    runs: Sequence[Run], store: MlflowStore, *, force: bool = False, on_run: Callable[[int], None] | None = None
) -> int:
    """Write runs into an MLflow store, an experiment a data set; returns how many were not there before.

    Args:
        runs: Whole runs.
        store: Where they go.
        force: Write those that are there again, in their place.
        on_run: Takes the number of runs done.

    Raises:
        MissingExtraError: MLflow is not installed.
        ExportError: MLflow refuses them.
    """
    client, written = client_of(store), 0
    for number, run in enumerate(runs, start=1):
        with _failing(store):
            experiment = _experiment(client, str(run.provenance.get("summary", {}).get("dataset", "hamcache")), store)
            there = client.search_runs([experiment], f"tags.`{RUN}` = '{run.id}'")
            fingerprint = str(run.provenance["fingerprint"])
            whole = [
                found
                for found in there
                if found.info.status == "FINISHED" and found.data.tags.get(FINGERPRINT) == fingerprint
            ]
            if force or not whole:
                for found in there:  # a broken-off export, or one that is asked for anew
                    client.delete_run(found.info.run_id)
                _write(client, experiment, run)
                written += 1
        if on_run:
            on_run(number)
    return written


def _experiment(client: Any, name: str, store: MlflowStore) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None and found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=store.artifacts and f"{store.artifacts}/{name}"))


def _write(client: Any, experiment: str, run: Run) -> None:
    entities = import_module("mlflow.entities")
    ended = round(1000 * datetime.fromisoformat(str(run.provenance["finished"])).timestamp())
    seconds = float(run.provenance.get("seconds", {}).get("total", 0.0))
    started = ended - round(1000 * seconds)
    created = client.create_run(experiment, start_time=started, run_name=run.id, tags={RUN: run.id}).info.run_id
    about = {f"hamcache.{name}": value for name, value in run.provenance.get("summary", {}).items()}
    tags = about | {FINGERPRINT: run.provenance["fingerprint"], "hamcache.stores": list(run.provenance["stores"])}
    metrics = [entities.Metric(_name(name), value, ended, 0) for name, value in scores(run).items() if isfinite(value)]
    metrics += [
        entities.Metric(_name(f"epochs/{name}"), float(row[name]), ended, int(row["epoch"]))
        for row in _epochs(run.history)
        for name in row
        if name != "epoch" and isfinite(row[name])
    ]
    metrics.append(entities.Metric("seconds", seconds, ended, 0))
    for some in _portions(metrics):
        client.log_batch(created, metrics=some)
    for some in _portions([entities.Param(_name(key), str(v)[:_LONGEST]) for key, v in _settings(run).items()]):
        client.log_batch(created, params=some)
    client.log_batch(created, tags=[entities.RunTag(_name(key), str(value)[:_LONGEST]) for key, value in tags.items()])
    client.log_artifacts(created, str(run.folder), FOLDER)
    client.set_terminated(created, "FINISHED", end_time=ended)


def _settings(run: Run) -> Mapping[str, Any]:
    return flat(run.config.content())


def _epochs(history: pd.DataFrame) -> list[dict[str, float]]:
    numbers = history.apply(pd.to_numeric, errors="coerce")
    return [{str(name): float(value) for name, value in row.items()} for row in numbers.to_dict("records")]


def _portions(entries: Sequence[Any]) -> Iterator[list[Any]]:
    left = iter(entries)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _name(name: str) -> str:
    """A name that MLflow takes: letters, digits and a few marks."""
    return re.sub(r"[^\w\-./ ]", "_", name, flags=re.ASCII)[:250]


@contextmanager
def _failing(store: MlflowStore) -> Iterator[None]:
    """Turn what MLflow raises into an error of ours."""
    try:
        yield
    except (ExportError, MissingExtraError):
        raise
    except OSError as error:
        raise ExportError(
            f"Expected MLflow to take runs at {store.uri}, got: {error}. Choose another --out."
        ) from error
    except Exception as error:
        if not type(error).__module__.startswith(("mlflow", "sqlalchemy", "alembic", "requests", "urllib3")):
            raise
        reason = " ".join(str(error).split())[:500]
        raise ExportError(
            f"Expected MLflow to take runs at {store.uri}, got: {reason}. Choose another --out, or start that server."
        ) from error
