"""The application behind `hamcache serve`: three pages, and beneath them a JSON API that programs may use, too.

`GET /api/runs`
    `{"runs": [...]}`, the latest first: `id, head, features, dataset, policy, seed, finished, loaded, metrics` (part ->
    name -> score).

`GET /api/runs/{id}`
    One of them, with `intervals`: part -> name -> `{value, low, high}` of the headline scores (95 %, bootstrap over
    lesions); `?all=true` gives those of every score.

`POST /api/runs/{id}/load`
    Loads the run's networks and head, if they are not in memory: `{run, classes, sets, calibration}` as below.

`GET /api/runs/{id}/sample`
    `{image_id}` of a random validation image whose file is on this machine.

`GET /api/runs/{id}/images/{image_id}?size=small|large`
    An image of the run's data set as a JPEG.

`POST /api/predict`
    A multipart form with `run`, and `files` (8 at most, 20 MB together) or the `image_id` of one image of the run's
    data set. For a run that was trained on metadata, the files come with `metadata`, a JSON object of its columns
    (`{"age": 45, "sex": null}`). Also, if you like: `coverage` (0.9), `class_conditional` (false), `neighbours` (5).
    Answers `{run, seconds, coverage, class_conditional, notes, disclaimer, classes, metadata, sets, calibration,
    predictions}`:

    - `classes`: `[{label, name}]`;
    - `metadata`: the columns that the run asks for, `[{name, words}]`, words null for a number;
    - `sets`: the choices of sets that each prediction brings, `[{coverage, class_conditional, notes}]`;
    - `calibration`: `{temperature, images, ece_before, ece_after}`;
    - `predictions`: `[{image, label, probabilities, prediction_set, sets, unlike, unlike_p, neighbours, true_label,
      error}]`: probabilities by class, one list of classes for each of `sets`, neighbours as `{image_id, label,
      similarity}`, the label in the data set of an image that is in it, and why an image could not be used.

Errors are `{"error": sentence}` with a status: 400 a wrong request, 403 from another page, 404 no such run or image,
413 too large, 415 no form, 422 a run that can't predict here, 503 too many waiting. A request from a program needs no
header beyond those that every client sends:
`curl -F run=logreg-... -F files=@mole.jpg http://127.0.0.1:8000/api/predict`
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from hamcache.data.errors import DataError
from hamcache.data.workspace import Workspace
from hamcache.extract.errors import ExtractError
from hamcache.heads.errors import HeadError
from hamcache.pipeline.errors import ArtefactNotFoundError, PipelineError
from hamcache.pipeline.show.web.labels import HEADLINE
from hamcache.pipeline.show.web.skin import FAVICON
from hamcache.pipeline.use.serve.answers import answer, choices
from hamcache.pipeline.use.serve.guard import Guard
from hamcache.pipeline.use.serve.pages import ASSETS, Pages, asset
from hamcache.pipeline.use.serve.photographs import Gallery, NoImageError
from hamcache.pipeline.use.serve.predictors import Predictors, UnavailableError, Worker
from hamcache.pipeline.use.serve.shelf import KINDS, Shelf, about, bounds, picture, with_intervals
from hamcache.pipeline.use.serve.uploads import read_form

OURS = (DataError, ExtractError, HeadError, PipelineError)
STATUS: Mapping[type[Exception], int] = {ArtefactNotFoundError: 404, NoImageError: 404, UnavailableError: 503}


def create_app(
    workspace: Workspace,
    *,
    run: str | None = None,
    host: str = "127.0.0.1",
    worker: Worker | None = None,
    **options: object,
) -> ASGIApp:
    """The application, guarded (see `use.serve.guard`).

    Args:
        workspace: Whose runs are served.
        run: Id of the run that the page begins with (default: the best of the latest run's data set).
        host: What the server listens on.
        worker: The thread in which networks compute.
        options: Options of `use.predict.predictor.Predictor`.
    """
    shelf, gallery = Shelf(workspace), Gallery(workspace)
    predictors, worker = Predictors(workspace, **options), worker or Worker()
    pages = Pages(shelf, gallery, run)
    # The documentation pages of FastAPI would load scripts from elsewhere.
    app = FastAPI(title="hamcache", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/", response_class=HTMLResponse)
    def predict_page(run: str | None = None) -> str:
        return pages.predict(run)

    @app.get("/runs", response_class=HTMLResponse)
    def runs_page() -> str:
        return pages.runs()

    @app.get("/runs/{run_id}", response_class=HTMLResponse)
    def run_page(run_id: str) -> str:
        return pages.run(shelf.get(run_id))

    @app.get("/runs/{run_id}/plots/{name}.{kind}")
    def plot(run_id: str, name: str, kind: str) -> Response:
        path = picture(shelf.get(run_id), name, kind)
        if path is None:
            raise HTTPException(404, "This run has no such picture.")
        return FileResponse(path, media_type=KINDS[kind])

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404, "There is no such file.")
        return Response(asset(name), media_type=ASSETS[name])

    @app.get("/favicon.ico")
    def favicon() -> Response:
        return Response(FAVICON, media_type="image/svg+xml")

    def described(run_id: str) -> dict[str, Any]:
        run = shelf.get(run_id)
        return {"id": run.id, **about(run), "loaded": predictors.is_loaded(run), "metrics": run.metrics}

    @app.get("/api/runs")
    def list_runs() -> dict[str, Any]:
        return {"runs": [described(run.id) for run in shelf.all()]}

    @app.get("/api/runs/{run_id}")
    def one_run(run_id: str, all: bool = False) -> dict[str, Any]:
        run = shelf.get(run_id)
        names = {part: with_intervals(run, part) if all else list(HEADLINE) for part in run.metrics}
        found = {part: shelf.intervals(run, part, names[part]) for part in names if all or part != "train"}
        return {
            **described(run_id),
            "intervals": {part: {name: bounds(i) for name, i in scores.items()} for part, scores in found.items()},
        }

    @app.post("/api/runs/{run_id}/load")
    async def load(run_id: str) -> dict[str, Any]:
        return await worker(lambda: choices(predictors.get(shelf.get(run_id))))

    @app.get("/api/runs/{run_id}/sample")
    def sample(run_id: str) -> dict[str, str]:
        return {"image_id": gallery.sample(shelf.get(run_id))}

    @app.get("/api/runs/{run_id}/images/{image_id}")
    def image(run_id: str, image_id: str, size: str = "small") -> Response:
        content = gallery.thumbnail(shelf.get(run_id), image_id, "large" if size == "large" else "small")
        return Response(content, media_type="image/jpeg")

    @app.post("/api/predict")
    async def predict(request: Request) -> dict[str, Any]:
        worker.check()
        form = await read_form(request)
        return await worker(lambda: answer(form, shelf, gallery, predictors))

    _answer_errors(app, pages)
    return Guard(app, host)


def _answer_errors(app: FastAPI, pages: Pages) -> None:
    """Every error as a sentence: JSON below /api, a page elsewhere."""

    def answered(request: Request, status: int, message: str) -> Response:
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": message}, status)
        return HTMLResponse(pages.error(status, message), status)

    def ours(request: Request, error: Exception) -> Response:
        fitting = [status for kind, status in STATUS.items() if isinstance(error, kind)]
        return answered(request, (fitting or [422])[0], str(error))

    def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return answered(request, error.status_code, _SENTENCES.get(error.detail, error.detail))

    def invalid(request: Request, error: Exception) -> Response:
        return answered(request, 400, "A parameter of this request is not of its kind.")

    def gone(request: Request, error: Exception) -> Response:
        return answered(request, 400, "The request broke off.")  # nobody reads it

    def unexpected(request: Request, error: Exception) -> Response:
        return answered(request, 500, "Something went wrong here that should not. The terminal shows what.")

    handlers: dict[type[Exception], Callable[[Request, Exception], Response]] = {
        **dict.fromkeys(OURS, ours),
        HTTPException: http,
        RequestValidationError: invalid,
        ClientDisconnect: gone,
        Exception: unexpected,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


_SENTENCES = {"Not Found": "There is no such page.", "Method Not Allowed": "This can't be done with this address."}
