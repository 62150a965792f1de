"""The last step of an experiment: pool the predictions of its folds, score them, and write the run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.ham10000 import CLASS_NAMES
from hamcache.heads.metrics import SPECIFICITIES, compute_metrics, specificity_threshold
from hamcache.pipeline.experiment.learning import Fitted, Log, Part
from hamcache.pipeline.experiment.preparation import Prepared
from hamcache.pipeline.runs.provenance import summary, versions
from hamcache.pipeline.runs.records import predictions_table, write_run


def write(
    folder: Path, prepared: Prepared, fitted: Sequence[Fitted], tau: float | None, log: Log, began: tuple[float, float]
) -> None:
    """Write everything of a run but its log into `folder`.

    Args:
        folder: The run's folder, which has no name yet.
        prepared: The experiment.
        fitted: Its trained models, one a fold.
        tau: What `fit_folds` gave beside them.
        log: Takes one line at a time.
        began: `perf_counter` and `process_time` at the start of the experiment.
    """
    from hamcache.heads.persist import save_head  # imports scikit-learn: once everything is checked

    config, classes, names = prepared.config, prepared.inputs.table.classes, prepared.parts
    predictions = pooled_predictions(prepared.folds, fitted, classes, names)
    metrics, thresholds = score(predictions, classes, prepared.positive)
    for part, values in metrics.items():
        log(f"{part}: {config.objective} {values[config.objective]:.4f}, accuracy {values['accuracy']:.4f}")
    trusted: set[str] = set()
    for number, model in enumerate(fitted, start=1):
        trusted.update(save_head(model.head, folder if len(fitted) == 1 else folder / f"fold{number}", config.trust))
    seconds = {name: sum(model.seconds[name] for model in fitted) for name in fitted[0].seconds}
    seconds["total"] = perf_counter() - began[0]
    seconds["processor"] = process_time() - began[1]  # of all cores together
    write_run(
        folder,
        config=config,
        metrics=metrics,
        predictions=predictions,
        history=_history(fitted),
        provenance={
            **prepared.identity,
            "summary": summary(config, prepared.inputs.table.name),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
            "images": {name: int((predictions["part"] == name).sum()) for name in names},
            "test_opened": prepared.opens_test,
            "tau": tau,
            **({"trusted": sorted(trusted)} if trusted else {}),
            "positive": prepared.positive,
            "thresholds": {str(specificity): value for specificity, value in thresholds.items()},
            "versions": versions(),
        },
        classes={label: CLASS_NAMES.get(label, label) for label in classes},
    )


def pooled_predictions(
    folds: Sequence[Mapping[str, Part]], fitted: Sequence[Fitted], classes: Sequence[str], names: Sequence[str]
) -> pd.DataFrame:
    """The rows of `predictions.csv`: per part, each image once, its probabilities averaged over the folds it is in."""
    columns = [f"p_{label}" for label in classes]
    tables = []
    for name in names:
        rows = pd.concat(
            [
                predictions_table(parts[name].frame, model.proba[name], classes, name)
                for parts, model in zip(folds, fitted, strict=True)
            ]
        )
        if len(folds) > 1:
            rows = rows.groupby(["image_id", "group", "label", "part"], as_index=False)[columns].mean()
        tables.append(rows)
    return pd.concat(tables, ignore_index=True)


def score(
    predictions: pd.DataFrame, classes: Sequence[str], positive: str | None
) -> tuple[dict[str, dict[str, float]], dict[float, float]]:
    """All metrics of each part, and the thresholds for `positive`, which come from validation only."""
    sets = {}
    for name, rows in predictions.groupby("part", sort=False):
        codes = pd.Index(classes).get_indexer(pd.Index(rows["label"])).astype(np.int64)
        sets[str(name)] = codes, rows[[f"p_{label}" for label in classes]].to_numpy(np.float64)
    thresholds = {}
    if positive is not None:
        y, proba = sets["validation"]
        code = classes.index(positive)
        thresholds = {s: specificity_threshold(y == code, proba[:, code], s) for s in SPECIFICITIES}
    scores = {
        name: compute_metrics(y, proba, classes, positive=positive, thresholds=thresholds)
        for name, (y, proba) in sets.items()
    }
    return scores, thresholds


def _history(fitted: Sequence[Fitted]) -> list[dict[str, Any]]:
    if len(fitted) == 1:
        return fitted[0].history
    return [{"fold": number, **row} for number, model in enumerate(fitted, start=1) for row in model.history]
