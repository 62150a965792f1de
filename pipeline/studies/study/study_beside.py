"""Companions of a study's table: its hybrids as a board, and curves of evaluations of its runs."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.evaluations import all_evaluations
from hamcache.pipeline.runs.records import short_name
from hamcache.pipeline.studies.study.study_run import RowResult, StudyResult

CURVE = ["row", "corruption", "severity", "score", "low", "high"]


def board_of(rows: Mapping[str, RowResult], frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of a hybrid and its parts, best on validation first: `features, <metric>, low, high`.

    Args:
        rows: Feature set -> row, as `StudyTable.adds` gives it.
        frame: `StudyTable.frame`.
        metric: The objective.
    """
    scores = frame.set_index("name")
    columns = [f"validation_{metric}", f"validation_{metric}_low", f"validation_{metric}_high"]
    table = [
        ("+".join(short_name(backbone) for backbone in names.split("+")), *scores.loc[row.name, columns])
        for names, row in rows.items()
    ]
    board = pd.DataFrame(table, columns=["features", metric, "low", "high"])
    return board.sort_values(metric, ascending=False, ignore_index=True)


def robustness(result: StudyResult, workspace: Workspace) -> pd.DataFrame:
    """Scores by corruption and severity of the rows whose runs were evaluated with corruptions; maybe empty.

    `row, corruption, severity, score, low, high`; severity 0 is the images as they are.
    """
    rows: list[tuple[object, ...]] = []
    of_run = {run.id: row.name for row in result.finished if row.of is None for run in row.runs}
    for evaluation in all_evaluations(workspace):
        record = evaluation.record
        name = of_run.get(str(record["run"]))
        scored = [entry for entry in record.get("corrupted", []) if result.objective in entry["scores"]]
        if name is None or not scored:
            continue
        plain = next((entry for entry in scored if entry["corruption"] is None), None)
        for kind in dict.fromkeys(entry["corruption"] for entry in scored if entry["corruption"]):
            points = [entry for entry in scored if entry["corruption"] == kind]
            for entry in [*([plain] if plain else []), *points]:
                bound = entry["scores"][result.objective]
                severity = 0 if entry is plain else entry["severity"]
                rows.append((name, kind, severity, bound["value"], bound["low"], bound["high"]))
    table = pd.DataFrame(rows, columns=CURVE)
    return table.drop_duplicates(["row", "corruption", "severity"], keep="last")
