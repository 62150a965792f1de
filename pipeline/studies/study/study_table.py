"""The table of a study: scores with intervals, means over seeds, costs, and comparisons with the row of reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from hamcache.configs.defaults import SCORES
from hamcache.heads.metrics import Metric, sensitivity_above
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import ComparisonError
from hamcache.pipeline.evaluate.compare import check_same_images, compare_runs
from hamcache.pipeline.evaluate.intervals import MetricLike, bootstrap
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.studies.hybrids import what_each_adds
from hamcache.pipeline.studies.study.row_experiments import differences
from hamcache.pipeline.studies.study.study_config import MAJORITY
from hamcache.pipeline.studies.study.study_costs import StudyCosts
from hamcache.pipeline.studies.study.study_run import RowResult, StudyResult

CALIBRATION = "ece"
SPECIFICITY = 0.95
PAIRS = ["part", "row", "other", "difference", "low", "high", "p", "p_holm"]


@dataclass(frozen=True, eq=False)
class StudyTable:
    """A study's rows as tables.

    Attributes:
        costs: The study that was run, and what it cost.
    """

    costs: StudyCosts

    @property
    def result(self) -> StudyResult:
        """The study."""
        return self.costs.result

    @property
    def objective(self) -> str:
        """The metric that choices were made by."""
        return self.result.objective

    @cached_property
    def sensitivity(self) -> str | None:
        """Name of the positive class's sensitivity at 95 % specificity; None where no class is positive."""
        positive = self._first.provenance.get("positive")
        return None if positive is None else f"{positive}_sensitivity_at_{round(100 * SPECIFICITY)}"

    @cached_property
    def metrics(self) -> list[str]:
        """The metrics of the table, the objective first."""
        scores = [name for name in SCORES if name != "accuracy"]
        more = [self.sensitivity] if self.sensitivity else []
        return list(dict.fromkeys([self.objective, *scores, *more, CALIBRATION]))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row a row of the study, in its order, the majority class first.

        `name, of, run, tried, seeds` (`of`: the row that a best one is). For each part and metric `<part>_<metric>`,
        `_low`, `_high` (of the first seed), `_mean`, `_sd` (over the seeds). `<part>_difference`, `_p_holm` (to the row
        of reference, by the objective). `extraction, share, training, search, one_more` in processor seconds, see
        `study_costs.RowCost`.
        """
        rows = [self._majority, *(self._row(row) for row in self.result.finished)]
        rows += [{"name": row.name} for row in self.result.failed]
        return pd.DataFrame(rows)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Paired comparisons of each row with that of reference, by the objective; Holm's correction for their number.

        `part, row, other, difference, low, high, p, p_holm`. Rows that were not scored on the same images are left out.
        """
        tables = [self._pairs(part) for part in self.result.parts]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PAIRS)

    @cached_property
    def adds(self) -> tuple[dict[str, RowResult], pd.DataFrame]:
        """The rows of the largest hybrid and its parts by their feature sets, and what each backbone adds to it.

        Rows belong together that are equal but for their backbones and for what was chosen. Empty without any.
        """
        groups: dict[str, dict[str, RowResult]] = {}
        for row in self.result.finished:
            if row.of is None and row.config is not None and row.config.net is None and row.sweep is None:
                names = "+".join(sorted(block.backbone for block in row.config.features.blocks))
                groups.setdefault(_but_backbones(row), {}).setdefault(names, row)
        found: tuple[dict[str, RowResult], pd.DataFrame] = ({}, pd.DataFrame())
        for rows in groups.values():
            full = max(rows, key=lambda names: names.count("+"))
            backbones = full.split("+")
            within = {names: row for names, row in rows.items() if set(names.split("+")) <= set(backbones)}
            runs = {names: row.runs[0] for names, row in within.items()}
            if len(backbones) < 2 or len(within) <= len(found[0]):
                continue
            table = what_each_adds(runs, backbones, self.objective, resamples=self._resamples)
            if len(table):
                found = within, table
        return found

    @cached_property
    def curve(self) -> pd.DataFrame:
        """Scores on validation by the number of labels, see `Curve.frame`; empty without a finished run of it."""
        curve = self.result.curve
        if curve is None or not any(outcome.run for outcome in curve.outcomes):
            return pd.DataFrame()
        return curve.frame[curve.frame["part"] == "validation"]

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for `study.json`."""
        study, first = self.result.experiments.study, self.result.experiments.first
        by_name = {row.name: row for row in self.result.rows}
        rows = []
        for values in _records(self.frame):
            rows.append({**values, **_about(by_name.get(values["name"]))})
        return {
            "name": study.name,
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "dataset": first.dataset_words.label,
            "images": self.costs.images,
            "split": first.split.words,
            "objective": self.objective,
            "seed": first.seed,
            "repeats": study.repeats,
            "reference": study.base,
            "test_opened": self.result.opened,
            "study": study.digest,
            "rows": rows,
            "comparisons": _records(self.pairs),
            "labels": _records(self.curve),
            "extraction": [
                {"features": self.costs.names[folder], "store": folder, "seconds": _plain(seconds)}
                | {"experiments": self.costs.readers[folder]}
                | {"measured_on_vectors": self.costs.each[folder].vectors if folder in self.costs.each else None}
                for folder, seconds in self.costs.stores.items()
            ],
        }

    def title(self, part: str, seeds: str | None = None) -> str:
        """The study, its data, the part that a picture is about, and its seeds (default: the first alone)."""
        first, study = self.result.experiments.first, self.result.experiments.study
        about = f"{first.dataset_words.label}, {first.split.words}, {seeds or f'seed {first.seed}'}"
        return f"Study {study.name}: {about}: {self.objective} on {part}"

    @property
    def _first(self) -> Run:
        return self.result.finished[0].runs[0]

    @property
    def _resamples(self) -> int:
        return self.result.experiments.study.resamples

    @property
    def _majority(self) -> dict[str, Any]:
        values: dict[str, Any] = {"name": MAJORITY, "of": "", "run": "", "tried": 0, "seeds": 0}
        for part in self.result.parts:
            chance = self._first.baseline(part)
            values |= {f"{part}_{name}": chance.get(name, np.nan) for name in self.metrics}
        return values | dict.fromkeys(("extraction", "share", "training", "search", "one_more"), 0.0)

    def _row(self, row: RowResult) -> dict[str, Any]:
        run, cost = row.runs[0], self.costs.of(row)
        values: dict[str, Any] = {"name": row.name, "of": row.of or "", "run": run.id, "tried": cost.tried}
        values["seeds"] = len(row.runs)
        for part in self.result.parts:
            drawn = bootstrap(
                *run.answers(part),
                [self._metric(name, run) for name in self.metrics],
                classes=run.classes,
                resamples=self._resamples,
            )
            for name, interval in zip(self.metrics, drawn, strict=True):
                scores = [each.metrics[part].get(name, np.nan) for each in row.runs]
                values |= {f"{part}_{name}": interval.value, f"{part}_{name}_low": interval.low}
                values |= {f"{part}_{name}_high": interval.high, f"{part}_{name}_mean": float(np.mean(scores))}
                values |= {f"{part}_{name}_sd": float(np.std(scores, ddof=1)) if len(scores) > 1 else np.nan}
            of_part = self.pairs[(self.pairs["part"] == part) & (self.pairs["row"] == row.name)]
            for name in ("difference", "p_holm"):
                values[f"{part}_{name}"] = float(of_part[name].iloc[0]) if len(of_part) else np.nan
        return values | {name: value for name, value in asdict(cost).items() if name != "tried"}

    def _metric(self, name: str, run: Run) -> MetricLike:
        if name != self.sensitivity:
            return name
        positive, thresholds = str(run.provenance["positive"]), run.provenance["thresholds"]
        made: Metric = sensitivity_above(positive, run.classes.index(positive), float(thresholds[str(SPECIFICITY)]))
        return made

    def _pairs(self, part: str) -> pd.DataFrame:
        names: dict[str, list[str]] = {}
        runs: dict[str, Run] = {}
        base = next((row for row in self.result.finished if row.name == self.result.experiments.study.base), None)
        if base is None:
            return pd.DataFrame(columns=PAIRS)
        for row in self.result.finished:
            try:
                check_same_images(base.runs[0], row.runs[0], part)
            except ComparisonError:
                continue
            runs[row.runs[0].id] = row.runs[0]
            names.setdefault(row.runs[0].id, []).append(row.name)
        if len(runs) < 2:
            return pd.DataFrame(columns=PAIRS)
        reference = base.runs[0].id
        made = compare_runs(list(runs.values()), self.objective, part, reference=reference, resamples=self._resamples)
        rows = [
            {**pair, "part": part, "row": name, "other": base.name}
            for pair in made.pairs.to_dict("records")
            for name in names[pair["run"]]
        ]
        return pd.DataFrame(rows)[PAIRS]


def _but_backbones(row: RowResult) -> str:
    """All that decides a row's experiments but its backbones and what was chosen: the same for rows that compare."""
    assert row.config is not None
    content: dict[str, Any] = row.config.model_dump(
        mode="json", exclude={"head", "tau"} if row.row.candidates else set()
    )
    blocks = [{**block, "backbone": ""} for block in content["features"]["blocks"]]
    content["features"]["blocks"] = blocks[:1]
    return f"{row.config.head.name} {row.row.candidates} {content}"


def _about(row: RowResult | None) -> dict[str, Any]:
    """The parts of a row that no table holds."""
    if row is None:
        return {}
    chosen: ExperimentConfig | None = row.config
    return {
        "choice": differences(row.row.candidates, row.choice) if row.of is None else "",
        "sweep": row.sweep.id if row.sweep is not None else None,
        "runs": [run.id for run in row.runs],
        "failures": list(row.failures),
        "experiment": None if chosen is None else chosen.content(),
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as plain values."""
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def columns_for_people(table: StudyTable, part: str) -> pd.DataFrame:
    """The table of one part in the width of a screen: the objective with its interval first, the costs last."""
    objective, frame = table.objective, table.frame
    columns: Mapping[str, str] = {
        "name": "row",
        f"{part}_{objective}": objective,
        f"{part}_{objective}_low": "low",
        f"{part}_{objective}_high": "high",
        f"{part}_{objective}_mean": "mean",
        f"{part}_{objective}_sd": "sd",
        "seeds": "seeds",
        **{f"{part}_{name}": name for name in table.metrics if name != objective},
        f"{part}_p_holm": "p_holm",
    }
    return frame.reindex(columns=list(columns)).rename(columns=columns)


def costs_for_people(table: StudyTable) -> pd.DataFrame:
    """The processor seconds of each row."""
    columns = ["name", "tried", "extraction", "share", "training", "search", "one_more"]
    return table.frame[columns].rename(columns={"name": "row", "one_more": "one more"})
