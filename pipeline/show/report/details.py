"""What the page shows of one run when it is opened."""

from dataclasses import dataclass

from markupsafe import Markup

from hamcache.configs.defaults import PARTS
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.show.report.datasets import class_names
from hamcache.pipeline.show.report.markup import seconds
from hamcache.pipeline.show.report.origins import train_command, yaml_of
from hamcache.pipeline.show.report.run_charts import (
    ClassScores,
    Confusion,
    class_scores,
    confusion,
    epochs,
    precision_recall,
    reliability,
    roc,
)


@dataclass(frozen=True, eq=False)
class Details:
    """One run.

    Attributes:
        parts: Parts it was scored on.
        chance: Scores of always guessing the most frequent class of its train images.
        metrics: Scores to list: those of the whole set, then those at fixed specificities.
        confusion, classes: Of the part that the page is about.
        charts: Caption and chart.
        names: Class -> readable name.
        yaml: The configuration.
        provenance: Name and value.
        command: What runs it again.
    """

    parts: list[str]
    chance: dict[str, float]
    metrics: list[str]
    confusion: Confusion
    classes: list[ClassScores]
    charts: list[tuple[str, Markup]]
    names: dict[str, str]
    yaml: str
    provenance: list[tuple[str, str]]
    command: str


def run_details(row: Row, board: Board) -> Details:
    """Everything about one run, drawn from its files."""
    run, part = row.run, board.part
    parts = [name for name in PARTS if name in run.metrics]
    fixed = [name for name in run.metrics[part] if name.endswith(("_at_90", "_at_95"))]
    charts = [
        (f"ROC on {part}, each class against the rest, with its AUC", roc(run, part)),
        (f"Precision and recall on {part}, with average precision", precision_recall(run, part)),
        (f"Calibration on {part}", reliability(run, part)),
        *epochs(run),
    ]
    return Details(
        parts=parts,
        chance=run.baseline(part),
        metrics=list(dict.fromkeys([board.metric.name, *METRICS, *fixed])),
        confusion=confusion(run, part),
        classes=class_scores(run, part),
        charts=charts,
        names=class_names(run),
        yaml=yaml_of(run),
        provenance=_provenance(row),
        command=train_command(row),
    )


def _provenance(row: Row) -> list[tuple[str, str]]:
    known = row.run.provenance
    pairs = [(name, str(known.get(name, ""))) for name in ("finished", "fingerprint", "table", "files")]
    split = known.get("split", "")
    pairs.append(("split", ", ".join(map(str, split)) if isinstance(split, list) else str(split)))
    pairs += [(f"store {folder}", str(key)) for folder, key in known.get("stores", {}).items()]
    pairs.append(("images", ", ".join(f"{name} {count:,}" for name, count in known.get("images", {}).items())))
    pairs.append(("seconds", ", ".join(f"{name} {seconds(value)}" for name, value in known.get("seconds", {}).items())))
    if known.get("left_out"):
        pairs.append(("quarantined images left out", str(len(known["left_out"]))))
    if known.get("tau") is not None:
        pairs.append(("tau of logit adjustment", str(known["tau"])))
    pairs.append(("test set", "opened" if known.get("test_opened") else "closed"))
    pairs.append(("versions", ", ".join(f"{name} {value}" for name, value in known.get("versions", {}).items())))
    return [(name, value) for name, value in pairs if value]
