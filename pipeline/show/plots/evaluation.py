"""The picture of an evaluation: scores beside the run's own, reliability there, and what corruptions cost."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hamcache.pipeline.evaluate.calibration import scaled
from hamcache.pipeline.evaluate.class_map import ClassMap
from hamcache.pipeline.evaluate.evaluations import Evaluation
from hamcache.pipeline.show.plots.parts import INK, Shown
from hamcache.pipeline.show.plots.reliability import reliability_table
from hamcache.pipeline.show.plots.style import COLOURS, panel_title, rows_down, save_figure, titled

SCORES = ("mcc", "weighted_f1", "macro_f1", "balanced_accuracy", "accuracy", "macro_auc")
MARKERS = "osD^vP"


def plot_evaluation(evaluation: Evaluation) -> None:
    """Draw an evaluation into its folder."""
    save_figure(evaluation_figure(evaluation), evaluation.picture)


def evaluation_figure(evaluation: Evaluation) -> Figure:
    """Above scores and reliability, below the curves over severities where there are any."""
    record = evaluation.record
    rows = 2 if record["corrupted"] else 1
    figure = Figure(figsize=(10.5, 4.6 * rows + 0.4), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False)
    _scores(panels[0, 0], evaluation)
    _reliability(panels[0, 1], evaluation)
    if record["corrupted"]:
        name = record["objective"] if record["objective"] in record["corrupted"][0]["scores"] else "mcc"
        _curves(panels[1, 0], evaluation, name, lambda row: row["scores"].get(name))
        panel_title(panels[1, 0], "Corrupted copies of the same images")
        _curves(panels[1, 1], evaluation, "share of prediction sets that hold the class", lambda row: row["coverage"])
        panels[1, 1].axhline(record["coverage"]["promised"], color="black", linestyle="--", linewidth=1)
        panel_title(panels[1, 1], f"Prediction sets that promise {100 * record['coverage']['promised']:g} %")
    titled(
        figure,
        f"{record['run']} on {record['dataset']}: {record['images']:,} images of {record['lesions']:,} lesions\n"
        "95 % bootstrap intervals over lesions",
    )
    return figure


def _scores(axes: Any, evaluation: Evaluation) -> None:
    record, names = evaluation.record, evaluation.scored(SCORES)
    for number, (of, label) in enumerate((("scores", record["dataset"]), ("own", f"own {record['part']}"))):
        there = [place for place, name in enumerate(names) if name in record[of]]
        bounds = [record[of][names[place]] for place in there]
        axes.errorbar(
            [bound["value"] for bound in bounds],
            np.array(there) + 0.24 * number - 0.12,
            xerr=_reach(bounds),
            fmt=MARKERS[number],
            color=(COLOURS[5], COLOURS[0])[number],
            capsize=2.5,
            label=label,
        )
    rows_down(axes, [name.replace("_", " ") for name in names])
    axes.grid(axis="x", alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="best")
    panel_title(axes, f"Scores there, and of the run's own {record['part']} images")


def _reliability(axes: Any, evaluation: Evaluation) -> None:
    """Accuracy by confidence, with the run's own temperature."""
    part = shown(evaluation)
    table = reliability_table(part)
    axes.plot([0, 1], [0, 1], color="#666666", linestyle="--", linewidth=1, label="perfectly calibrated")
    reach = np.clip([table["accuracy"] - table["low"], table["high"] - table["accuracy"]], 0, None)
    axes.errorbar(
        table["confidence"],
        table["accuracy"],
        yerr=reach,
        fmt="o",
        color=COLOURS[0],
        capsize=2,
        label="accuracy of a bin of confidence",
    )
    record = evaluation.record
    axes.set(xlabel="calibrated confidence", ylabel="accuracy", xlim=(0, 1), ylim=(-0.02, 1.18))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    there, own = (record[of]["ece"]["value"] for of in ("calibrated", "own_calibrated"))
    panel_title(
        axes, f"Reliability with the run's temperature {record['temperature']:.2f}\nerror {there:.3f}, own {own:.3f}"
    )


def _curves(axes: Any, evaluation: Evaluation, label: str, bound_of: Any) -> None:
    for number, (kind, rows) in enumerate(evaluation.curves.items()):
        there = [(row["severity"], bound) for row in rows if (bound := bound_of(row)) is not None]
        axes.errorbar(
            np.array([severity for severity, _ in there]) + 0.06 * (number - 1.5),
            [bound["value"] for _, bound in there],
            yerr=_reach([bound for _, bound in there]),
            color=INK[number % len(INK)],
            marker=MARKERS[number % len(MARKERS)],
            capsize=2,
            linewidth=1.5,
            elinewidth=0.8,
            label=kind,
        )
    axes.set(xlabel="severity (0: as it is)", ylabel=label.replace("_", " "))
    axes.set_xticks(range(6))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")


def shown(evaluation: Evaluation) -> Shown:
    """The images as they are, with calibrated probabilities of the classes that they were scored by."""
    record, frame = evaluation.record, evaluation.predictions
    rows = frame[frame["severity"] == 0]
    raw = rows[[f"p_{label}" for label in record["run_classes"]]].to_numpy(np.float64)
    classes = ClassMap(tuple(record["classes"]), np.array(record["columns"]), {})
    y = np.array([record["classes"].index(label) for label in rows["label"]], dtype=np.int64)
    proba = classes.merged(scaled(raw, record["temperature"]))
    return Shown(record["dataset"], y, proba, rows["group"].to_numpy(dtype=object), {})


def _reach(bounds: list[dict[str, Any]]) -> np.ndarray:
    """Lengths `[2, n]` of intervals below and above their values, 0 where an end is not known."""
    ends = [
        (b["value"] if b["low"] is None else b["low"], b["value"] if b["high"] is None else b["high"]) for b in bounds
    ]
    return np.clip(
        [[b["value"] - low, high - b["value"]] for b, (low, high) in zip(bounds, ends, strict=True)], 0, None
    ).T
