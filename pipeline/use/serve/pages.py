"""The pages' HTML, made of templates that escape all that comes from data, and the files beside them."""

from functools import cache
from typing import Any

from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.web.labels import HEADLINE
from hamcache.pipeline.show.web.run_view import RunView
from hamcache.pipeline.show.web.skin import style, templates, text_of
from hamcache.pipeline.use.serve.answers import known_columns
from hamcache.pipeline.use.serve.photographs import Gallery
from hamcache.pipeline.use.serve.shelf import Shelf, about, pictures, with_intervals
from hamcache.pipeline.use.serve.uploads import LARGEST_MB, MOST_FILES

SERVE = "hamcache.pipeline.use.serve"
ASSETS = {
    "style.css": "text/css",
    "shared.js": "text/javascript",
    "page.js": "text/javascript",
    "predict.js": "text/javascript",
    "card.js": "text/javascript",
    "runs.js": "text/javascript",
}


@cache
def asset(name: str) -> str:
    """The text of one of `ASSETS`."""
    assert name in ASSETS
    if name == "style.css":
        return style()
    return text_of(name) if name == "shared.js" else text_of(name, SERVE)


class Pages:
    """Makes pages.

    Args:
        shelf: The runs.
        gallery: Their images.
        first: Id of the run that the page of predictions begins with.
    """

    def __init__(self, shelf: Shelf, gallery: Gallery, first: str | None = None) -> None:
        self._shelf, self._gallery, self._first = shelf, gallery, first

    def predict(self, run_id: str | None = None) -> str:
        """Drop an image, see what a run says of it."""
        runs = self._shelf.all()
        ids = {run.id for run in runs}
        best = self._shelf.best()
        chosen = next((i for i in (run_id, self._first, best.id if best else None) if i in ids), "")
        sets: dict[str, list[dict[str, Any]]] = {}
        for run in sorted(runs, key=_mcc, reverse=True):
            sets.setdefault(str(about(run)["dataset"]), []).append(_row(run) | {"metadata": _columns(run)})
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
        """One run: scores with intervals, pictures, classes, configuration, provenance."""
        view = RunView(run, "test" if "test" in run.metrics else "validation", pictures(run))
        return self._render(
            "run.html",
            run=_row(run),
            view=view,
            bounds={part: self._shelf.intervals(run, part, with_intervals(run, part)) for part in view.parts},
            images=run.provenance.get("images", {}),
            images_absent=self._gallery.absence(run),
            headline=HEADLINE,
        )

    def error(self, status: int, message: str) -> str:
        """A page that says what went wrong."""
        return self._render("error.html", status=status, message=message)

    def _render(self, template: str, **content: Any) -> str:
        return templates(SERVE).get_template(template).render(**content)


def _columns(run: Run) -> list[dict[str, Any]]:
    """The columns that a run asks for; none of a damaged run, which says so when it is loaded."""
    try:
        return known_columns(run)
    except DamagedError:
        return []


def _mcc(run: Run) -> float:
    return run.metrics.get("validation", {}).get("mcc", -2.0)


def _row(run: Run) -> dict[str, Any]:
    """A run as lists show it."""
    return {"id": run.id, **about(run), "metrics": run.metrics}
