"""The pages' HTML, made of templates that escape all that comes from data, and the files beside them."""

from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.evaluate.intervals import Interval
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.use.serve.photographs import Gallery
from hamcache.pipeline.use.serve.shelf import HEADLINE, OF_CLASSES, Shelf, about, class_names, pictures, with_intervals
from hamcache.pipeline.use.serve.uploads import LARGEST_MB, MOST_FILES

HERE = Path(__file__).parent
ASSETS = {
    "style.css": "text/css",
    "page.js": "text/javascript",
    "predict.js": "text/javascript",
    "card.js": "text/javascript",
    "runs.js": "text/javascript",
}
FAVICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0a6b9e"/>'
    '<g fill="#fff"><rect x="7" y="17" width="4" height="8" rx="1"/><rect x="14" y="11" width="4" height="14" rx="1"/>'
    '<rect x="21" y="7" width="4" height="18" rx="1"/></g></svg>'
)
NAMES = {
    "mcc": "MCC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "weighted_f1": "Weighted F1",
    "macro_f1": "Macro F1",
    "macro_auc": "Macro AUC",
    "nll": "NLL",
    "brier": "Brier score",
    "ece": "ECE",
}
CAPTIONS = {
    "confusion": "Confusion",
    "roc": "ROC curves",
    "precision_recall": "Precision and recall",
    "reliability": "Reliability",
    "classes": "Classes",
    "curves": "Training",
}
PARTS = ("test", "validation", "train")


@cache
def asset(name: str) -> str:
    """The text of one of `ASSETS`."""
    assert name in ASSETS
    return (HERE / name).read_text(encoding="utf-8")


class Pages:
    """Makes pages.

    Args:
        shelf: The runs.
        gallery: Their images.
        first: Id of the run that the page of predictions begins with.
    """

    def __init__(self, shelf: Shelf, gallery: Gallery, first: str = "") -> None:
        self._shelf, self._gallery, self._first = shelf, gallery, first
        self._templates = Environment(
            loader=FileSystemLoader(HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals |= {"disclaimer": DISCLAIMER, "names": NAMES}
        self._templates.filters |= {"score": _score, "bracket": _bracket, "day": _day}

    def predict(self, run_id: str = "") -> str:
        """Drop an image, see what a run says of it."""
        runs = self._shelf.all()
        ids = {run.id for run in runs}
        best = self._shelf.best()
        chosen = next((i for i in (run_id, self._first, best.id if best else "") if i in ids), "")
        sets: dict[str, list[dict[str, Any]]] = {}
        for run in sorted(runs, key=_mcc, reverse=True):
            sets.setdefault(str(about(run)["dataset"]), []).append(_row(run))
        return self._render(
            "predict.html",
            sets=sets,
            chosen=chosen,
            unknown=run_id if run_id and run_id not in ids else "",
            largest_mb=LARGEST_MB,
            most_files=MOST_FILES,
        )

    def runs(self) -> str:
        """All runs in one table."""
        return self._render("runs.html", runs=[_row(run) for run in self._shelf.all()], headline=HEADLINE)

    def run(self, run: Run) -> str:
        """One run: scores with intervals, pictures, configuration, provenance."""
        parts = [part for part in PARTS if part in run.metrics]
        scored = {part: self._shelf.intervals(run, part, with_intervals(run, part)) for part in parts}
        shown = parts[0]
        return self._render(
            "run.html",
            run=_row(run),
            parts=parts,
            shown=shown,
            scored=scored,
            chance=run.baseline(shown),
            metrics=[METRICS[name] for name in with_intervals(run, shown) if name in METRICS],
            kinds=OF_CLASSES,
            counts=run.part(shown)["label"].value_counts().to_dict(),
            classes=class_names(run),
            further=_further(run, parts),
            pictures=[(name, CAPTIONS[name]) for name in pictures(run)],
            images_absent=self._gallery.absence(run),
            config=(run.folder / "config.yaml").read_text(encoding="utf-8"),
            provenance=_provenance(run),
            versions=run.provenance.get("versions", {}),
            headline=HEADLINE,
        )

    def error(self, status: int, message: str) -> str:
        """A page that says what went wrong."""
        return self._render("error.html", status=status, message=message)

    def _render(self, template: str, **content: Any) -> str:
        return self._templates.get_template(template).render(**content)


def _mcc(run: Run) -> float:
    return run.metrics.get("validation", {}).get("mcc", -2.0)


def _row(run: Run) -> dict[str, Any]:
    """A run as lists show it."""
    return {
        "id": run.id,
        **about(run),
        "metrics": run.metrics,
        "images": run.provenance.get("images", {}),
        "seconds": run.provenance.get("seconds", {}).get("total"),
    }


def _further(run: Run, parts: list[str]) -> dict[str, dict[str, float]]:
    """Scores that have no interval, by name and part: sensitivities at thresholds that validation has given."""
    known = {part: set(with_intervals(run, part)) for part in parts}
    names = dict.fromkeys(name for part in parts for name in run.metrics[part] if name not in known[part])
    return {name: {part: run.metrics[part][name] for part in parts if name in run.metrics[part]} for name in names}


def _provenance(run: Run) -> dict[str, str]:
    """Provenance as words, without what stands elsewhere on the page."""
    elsewhere = {"summary", "versions"}
    return {key: _words(value) for key, value in run.provenance.items() if key not in elsewhere}


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_words(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return "\n".join(_words(item) for item in value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _score(value: float | None) -> str:
    return "–" if value is None or not isfinite(value) else f"{value:.3f}"


def _bracket(interval: Interval | None) -> str:
    if interval is None or not isfinite(interval.low):
        return ""
    return f"[{interval.low:.3f}, {interval.high:.3f}]"


def _day(finished: str) -> str:
    """`2026-11-24T13:10:21+00:00` as `2026-11-24 13:10`."""
    return finished[:16].replace("T", " ")
