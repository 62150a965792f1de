"""Runs for other programs: one table of all, or every word of each as JSON."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import pandas as pd

from hamcache.pipeline.runs.records import Run

ORIGIN = ("finished", "fingerprint", "table", "files", "split", "stores", "images", "seconds", "versions")
"""Provenance that is told as JSON."""


def flat(content: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Nested values by dotted keys; other lists than those of mappings as JSON, what is None left out.

    >>> flat({"head": {"name": "mlp", "hidden": [8]}, "net": None, "blocks": [{"backbone": "a"}]})
    {'head.name': 'mlp', 'head.hidden': '[8]', 'blocks.0.backbone': 'a'}
    """
    found: dict[str, Any] = {}
    for key, value in content.items():
        path = str(key) if name is None else f"{name}.{key}"
        if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
            value = {str(number): entry for number, entry in enumerate(value)}
        if isinstance(value, Mapping):
            found |= flat(value, path)
        elif value is not None:
            found[path] = json.dumps(value) if isinstance(value, list | tuple) else value
    return found


def runs_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run: `run, finished, seconds`, `config.<key>` of its configuration, `<part>_<metric>` of each score."""
    rows = []
    for run in runs:
        about = {"run": run.id, "finished": run.provenance.get("finished")}
        about["seconds"] = run.provenance.get("seconds", {}).get("total")
        rows.append(about | flat(run.config.content(), "config") | scores(run))
    return pd.DataFrame(rows)


def runs_record(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Each run as JSON: `run, config, classes, metrics, history, provenance, pictures`; no number is null."""
    return [
        _plain(
            {
                "run": run.id,
                "config": run.config.content(),
                "classes": run.class_names,
                "metrics": run.metrics,
                "history": run.history.to_dict("records"),
                "provenance": {name: run.provenance[name] for name in ORIGIN if name in run.provenance},
                "pictures": [str(path.relative_to(run.folder)) for path in run.plots],
            }
        )
        for run in runs
    ]


def scores(run: Run) -> dict[str, float]:
    """Every score of a run as `<part>_<metric>`."""
    return {f"{part}_{name}": value for part, values in run.metrics.items() for name, value in values.items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not isfinite(value) else value
