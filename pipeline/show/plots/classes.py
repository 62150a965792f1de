"""Each class's scores with their intervals, beside each other."""

import pandas as pd
from matplotlib.figure import Figure

from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.plots.parts import Shown, shown_classes, shown_parts, title_of
from hamcache.pipeline.show.plots.style import WIDTH, bars, rows_down, titled

KINDS = ("sensitivity", "specificity", "auc")


def class_scores(run: Run, part: Shown, codes: list[int]) -> pd.DataFrame:
    """Each class's sensitivity, specificity and AUC with a 95 % bootstrap interval over lesions.

    Returns:
        `class, images, kind, value, low, high`; classes without an image are left out.
    """
    counts = part.counts(run.classes)
    wanted = [(kind, code) for code in codes if counts[code] for kind in KINDS]
    names = [f"{kind}_{run.classes[code]}" for kind, code in wanted]
    found = bootstrap(part.y, part.proba, part.groups, names, classes=run.classes, resamples=part.resamples)
    rows = [
        (run.classes[code], int(counts[code]), kind, interval.value, interval.low, interval.high)
        for (kind, code), interval in zip(wanted, found, strict=True)
    ]
    return pd.DataFrame(rows, columns=["class", "images", "kind", "value", "low", "high"])


def classes_figure(run: Run) -> Figure:
    """A panel a kind of score, a row a class with its number of images, a bar a part."""
    parts = shown_parts(run)
    codes = shown_classes(run, parts)
    tables = [class_scores(run, part, codes) for part in parts]
    names = [run.classes[code] for code in codes]
    height = 1.5 + len(names) * (0.25 + 0.17 * len(parts))
    figure = Figure(figsize=(WIDTH + 2, height), layout="constrained")
    thickness = 0.8 / len(parts)
    for axes, kind in zip(figure.subplots(1, len(KINDS), sharey=True), KINDS, strict=True):
        for number, (part, table) in enumerate(zip(parts, tables, strict=True)):
            rows = table[table["kind"] == kind].dropna()
            middle = [names.index(name) + (number - (len(parts) - 1) / 2) * thickness for name in rows["class"]]
            bars(axes, middle, rows, "value", thickness, label=part.words, style=number)
        rows_down(axes, [_row_name(run, code, parts) for code in codes])
        axes.set_xlim(0, 1)
        axes.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "0.25", "0.5", "0.75", "1"))
        if kind == "auc":
            axes.axvline(0.5, color="black", linestyle="--", linewidth=1, label="guessing (AUC)")
        axes.set_xlabel("AUC" if kind == "auc" else kind)
        axes.grid(axis="x", alpha=0.3)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    least = min(part.resamples for part in parts)
    titled(figure, title_of(run, f"Scores of each class, with 95 % intervals ({least:,} resamples of lesions)", codes))
    return figure


def _row_name(run: Run, code: int, parts: list[Shown]) -> str:
    return f"{run.classes[code]} ({' | '.join(f'{part.counts(run.classes)[code]:,}' for part in parts)})"
