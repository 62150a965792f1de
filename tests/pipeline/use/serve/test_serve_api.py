"""The JSON API: the same numbers as from Python, runs and images found by name only, errors in words."""

import io
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from threading import Event, Thread
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from starlette.testclient import TestClient

from hamcache.data.dataset import DatasetWords
from hamcache.data.workspace import Workspace
from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.show.web.labels import HEADLINE
from hamcache.pipeline.use.predict import predictor as predictor_module
from hamcache.pipeline.use.predict.predictor import Question, load_predictor
from hamcache.pipeline.use.serve.answers import CHOICES
from hamcache.pipeline.use.serve.photographs import Gallery, NoImageError
from hamcache.pipeline.use.serve.predictors import KEPT, MOST_WAITING, Predictors
from hamcache.pipeline.use.serve.shelf import Shelf
from tests.pipeline.use.serve.conftest import HACK, HOSTILE_RUN, Served, client_of, ids, knowing, png

NO_RUNS = (
    "nobody",
    "..",
    "../runs",
    "..%2f..%2fetc",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/etc",
    ".",
    ".partial-1",
    "%00",
    "~",
)


def post(client: TestClient, *photos: Path, **fields: Any) -> Any:
    parts: list[Any] = [(name, (None, str(value))) for name, value in {"extra": "", **fields}.items()]
    parts += [("files", (photo.name, photo.read_bytes())) for photo in photos]
    return client.post("/api/predict", files=parts)


def predictions(client: TestClient, *photos: Path, **fields: Any) -> list[dict[str, Any]]:
    answer = post(client, *photos, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


# -- predictions


def test_answers_are_those_of_the_predictor_to_the_last_bit(served: Served, client: TestClient) -> None:
    photos = served.photos(3) + served.photos(1, "test")
    found = predictions(client, *photos, run=served.runs["first"])
    expected = served.predictor.predict(photos)
    for one, other in zip(found, expected, strict=True):
        assert one["probabilities"] == other.probabilities
        assert (one["label"], one["unlike"], one["unlike_p"]) == (other.label, other.unlike, other.unlike_p)
        assert [tuple(near.values()) for near in one["neighbours"]] == [
            (near.image_id, near.label, near.similarity) for near in other.neighbours
        ]


def test_a_run_on_metadata_wants_them_with_files_and_knows_its_own_images(own: Served) -> None:
    run = knowing(own)
    (photo,), client = own.photos(1), client_of(own.workspace)
    told = post(client, photo, run=run)
    assert told.status_code == 400 and "JSON object of age, sex;" in told.json()["error"]
    for wrong in ("[1]", "{", '{"size": 3}', '{"age": [1]}'):
        assert post(client, photo, run=run, metadata=wrong).status_code == 400
    assert post(client, photo, run=run, metadata='{"age": "old"}').status_code == 422
    answer = post(client, photo, run=run, metadata='{"age": 45, "sex": "diverse"}').json()
    assert answer["metadata"] == [{"name": "age", "words": None}, {"name": "sex", "words": ["female", "male"]}]
    assert any("(diverse)" in note for note in answer["notes"])
    table = pd.read_csv(own.workspace / "known.csv").set_index("image_id")[["age", "sex"]]
    rows = pd.DataFrame([{"age": 45, "sex": "diverse"}], index=[photo.stem])
    predictor = load_predictor(run, own.workspace)
    for known, found in ((rows, answer["predictions"]), (table, predictions(client, run=run, image_id=photo.stem))):
        (expected,) = predictor.predict([photo], metadata=known)
        assert found[0]["probabilities"] == expected.probabilities
    assert found[0]["probabilities"] != answer["predictions"][0]["probabilities"]
    assert post(client, photo, run=own.runs["first"], metadata='{"age": 1}').status_code == 400


@pytest.mark.parametrize(("number", "choice"), list(enumerate(CHOICES)))
def test_every_set_to_switch_to_is_the_predictors(
    served: Served, client: TestClient, number: int, choice: tuple[float, bool]
) -> None:
    photos = served.photos(6)
    coverage, conditional = choice
    answer = post(client, *photos, run=served.runs["first"]).json()
    expected = served.predictor.predict(photos, Question(coverage=coverage, class_conditional=conditional))
    assert [tuple(one["sets"][number]) for one in answer["predictions"]] == [p.prediction_set for p in expected]
    told = answer["sets"][number]
    assert (told["coverage"], told["class_conditional"]) == choice
    assert told["notes"] == served.predictor.notes(served.predictor.sets(coverage, class_conditional=conditional))


def test_the_sets_differ_so_that_switching_shows_something(served: Served, client: TestClient) -> None:
    found = predictions(client, *served.photos(6), run=served.runs["first"])
    assert any(len({tuple(labels) for labels in one["sets"]}) > 1 for one in found)


def test_coverage_kind_and_neighbours_can_be_chosen(served: Served, client: TestClient) -> None:
    (photo,) = served.photos(1)
    choice = {"coverage": 0.7, "class_conditional": True, "neighbours": 2}
    (found,) = predictions(client, photo, run=served.runs["first"], **choice)
    (expected,) = served.predictor.predict([photo], Question(**choice))
    assert tuple(found["prediction_set"]) == expected.prediction_set
    assert [near["image_id"] for near in found["neighbours"]] == [near.image_id for near in expected.neighbours]
    assert len(found["neighbours"]) == 2


def test_an_image_of_the_data_set_has_its_label(served: Served, client: TestClient) -> None:
    row = served.run().part("validation").iloc[0]
    (found,) = predictions(client, run=served.runs["first"], image_id=row["image_id"])
    (expected,) = served.predictor.predict([served.photo(row["image_id"])])
    assert (found["true_label"], found["probabilities"]) == (row["label"], expected.probabilities)


def test_the_sample_is_a_validation_image(served: Served, client: TestClient) -> None:
    known = set(served.run().part("validation")["image_id"])
    assert {client.get(f"/api/runs/{served.runs['first']}/sample").json()["image_id"] for _ in range(5)} <= known


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "field 'run'"),
        ({"coverage": "1"}, "between 0 and 1"),
        ({"coverage": "nan"}, "between 0 and 1"),
        ({"coverage": "much"}, "a number, but got 'much'"),
        ({"class_conditional": "perhaps"}, "true or false"),
        ({"neighbours": "21"}, "0 to 20"),
        ({"neighbours": "1.5"}, "0 to 20"),
        ({"neighbours": "nan"}, "0 to 20"),
        ({"neighbours": "inf"}, "0 to 20"),
        ({"image_id": "ISIC_0000001"}, "not both"),
    ],
)
def test_wrong_fields_are_told_in_words(served: Served, client: TestClient, fields: dict[str, str], words: str) -> None:
    answer = post(client, served.photos(1)[0], **({"run": served.runs["first"], **fields} if fields else {}))
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_nothing_to_predict_is_told(served: Served, client: TestClient) -> None:
    answer = post(client, run=served.runs["first"])
    assert (answer.status_code, "1 to 8 image files" in answer.json()["error"]) == (400, True)


def test_a_run_that_cannot_predict_says_why(own: Served) -> None:
    for path in own.run().folder.glob("head*"):
        path.unlink()
    client = client_of(own.workspace)
    for answer in (
        client.post(f"/api/runs/{own.runs['first']}/load"),
        post(client, own.photos(1)[0], run=own.runs["first"]),
    ):
        assert answer.status_code == 422
        assert len(answer.json()["error"]) > 20
    assert predictions(client, own.photos(1)[0], run=own.runs["second"])[0]["error"] is None


def test_a_broken_server_tells_the_page_nothing_of_its_inside(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret")

    client = client_of(served.workspace)
    monkeypatch.setattr(Shelf, "all", fail)
    answer = client.get("/api/runs")
    assert (answer.status_code, "secret" in answer.text) == (500, False)
    assert answer.headers["content-security-policy"]


# -- runs


def test_runs_are_listed_with_their_scores(served: Served, client: TestClient) -> None:
    found = {run["id"]: run for run in client.get("/api/runs").json()["runs"]}
    assert set(found) == ids(served.workspace) == set(served.runs.values())
    assert found[served.runs["first"]]["metrics"] == served.run().metrics


def test_intervals_are_those_of_the_bootstrap(served: Served, client: TestClient) -> None:
    run = served.run()
    found = client.get(f"/api/runs/{run.id}").json()["intervals"]
    assert set(found) == {"validation", "test"}
    groups = run.part("test")["group"].to_numpy(object)
    expected = bootstrap(run.labels("test"), run.probabilities("test"), groups, HEADLINE)
    assert found["test"] == {
        name: {"value": i.value, "low": i.low, "high": i.high} for name, i in zip(HEADLINE, expected, strict=True)
    }
    whole = client.get(f"/api/runs/{run.id}?all=true").json()["intervals"]
    assert whole["test"]["mcc"] == found["test"]["mcc"]
    assert {"train", "validation", "test"} == set(whole)
    assert "sensitivity_nv" in whole["validation"]


def test_loading_tells_classes_and_calibration(served: Served, client: TestClient) -> None:
    found = client.post(f"/api/runs/{served.runs['first']}/load").json()
    assert {"label": "mel", "name": "Melanoma"} in found["classes"]
    assert [one["label"] for one in found["classes"]] == list(served.run().classes)
    assert found["calibration"]["temperature"] == served.predictor.temperature.value
    listed = client.get(f"/api/runs/{served.runs['first']}").json()
    assert listed["loaded"] is True


def test_runs_come_and_go_without_a_restart(own: Served) -> None:
    client = client_of(own.workspace)
    assert len(client.get("/api/runs").json()["runs"]) == 3
    shutil.copytree(own.run("second").folder, own.workspace / "runs" / "another")
    (own.workspace / "runs" / "no run").mkdir()
    shutil.rmtree(own.run("hostile").folder)
    found = {run["id"] for run in client.get("/api/runs").json()["runs"]}
    assert found == {own.runs["first"], own.runs["second"], "another"}


@pytest.mark.parametrize("run", NO_RUNS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/runs/{}"),
        ("GET", "/runs/{}/plots/roc.png"),
        ("GET", "/api/runs/{}"),
        ("GET", "/api/runs/{}/sample"),
        ("GET", "/api/runs/{}/images/ISIC_0000001"),
        ("POST", "/api/runs/{}/load"),
    ],
)
def test_an_unknown_run_is_nowhere(address: str, method: str, path: str, run: str) -> None:
    assert as_it_is(address, method, path.format(run))[0] == 404


def as_it_is(address: str, method: str, path: str) -> tuple[int, bytes]:
    """Status and body of a request whose path no client has tidied up."""
    connection = HTTPConnection(address.removeprefix("http://"))
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.mark.parametrize("run", ["nobody", "../runs", "..", "/", ".", ""])
def test_a_run_in_a_form_is_looked_up_too(served: Served, client: TestClient, run: str) -> None:
    assert post(client, served.photos(1)[0], run=run).status_code in (404, 400)


def test_no_runs_are_no_error(tmp_path: Path) -> None:
    client = client_of(Workspace(tmp_path))
    assert client.get("/api/runs").json() == {"runs": []}
    assert "hamcache train" in client.get("/").text
    assert "hamcache train" in client.get("/runs").text


# -- images and files


def test_thumbnails_are_small_pictures_of_the_table(served: Served, client: TestClient) -> None:
    row = served.run().part("train").iloc[0]
    answer = client.get(f"/api/runs/{served.runs['first']}/images/{row['image_id']}")
    assert answer.headers["content-type"] == "image/jpeg"
    with Image.open(served.photo(row["image_id"])) as photo, Image.open(io.BytesIO(answer.content)) as thumbnail:
        assert thumbnail.size == photo.size  # it is smaller than a thumbnail already
        assert np.abs(np.asarray(photo, int) - np.asarray(thumbnail, int)).mean() < 10


@pytest.mark.parametrize(
    "image_id",
    [
        "nobody",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2fetc%2fpasswd",
        "HAM10000_metadata.csv",
        "ISIC_0000001.jpg",
        "..",
        "%00",
    ],
)
def test_only_images_of_the_table_are_served(address: str, served: Served, image_id: str) -> None:
    status, body = as_it_is(address, "GET", f"/api/runs/{served.runs['first']}/images/{image_id}")
    assert status == 404
    assert b"error" in body


def test_a_file_beside_the_table_is_not_served(address: str, served: Served) -> None:
    secret = served.photos(1)[0].with_name("ISIC_9999999.jpg")
    secret.write_bytes(png())
    try:
        for image_id in (secret.stem, secret.name, quote(str(secret), safe="")):
            assert as_it_is(address, "GET", f"/api/runs/{served.runs['first']}/images/{image_id}")[0] == 404
    finally:
        secret.unlink()


def test_images_of_a_data_set_that_is_elsewhere_are_told_not_to_be_here(own: Served) -> None:
    config = own.run().folder / "config.yaml"
    config.write_text(config.read_text().replace(str(own.folder), str(own.folder.with_name("moved"))))
    client, run = client_of(own.workspace), own.runs["first"]
    for path in ("sample", f"images/{own.run().part('train')['image_id'].iloc[0]}"):
        answer = client.get(f"/api/runs/{run}/{path}")
        assert (answer.status_code, "not on this machine" in answer.json()["error"]) == (404, True)
    assert "not on this machine" in client.get(f"/runs/{run}").text
    found = predictions(client, own.photos(1)[0], run=run)[0]
    assert found["neighbours"] and found["error"] is None


def test_images_of_another_table_of_the_same_name_are_not_shown(own: Served) -> None:
    path = own.run().folder / "provenance.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"table": "0" * 64}))
    image_id = own.run().part("train")["image_id"].iloc[0]
    answer = client_of(own.workspace).get(f"/api/runs/{own.runs['first']}/images/{image_id}")
    assert (answer.status_code, "another one" in answer.json()["error"]) == (404, True)


def test_looking_for_images_draws_no_data_set(tmp_path: Path) -> None:
    config = SimpleNamespace(dataset_words=DatasetWords("synthetic"))
    run: Any = SimpleNamespace(id="a", config=config, provenance={"table": ""})
    with pytest.raises(NoImageError, match="not on this machine"):
        Gallery(Workspace(tmp_path)).path(run, "ISIC_0000001")
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_served_if_they_are_the_runs_own(own: Served, tmp_path: Path) -> None:
    client, plots = client_of(own.workspace), own.run().folder / "plots"
    address = f"/runs/{own.runs['first']}/plots"
    (tmp_path / "secret.png").write_bytes(png())
    (plots / "confusion.png").symlink_to(tmp_path / "secret.png")
    (plots / "other.png").write_bytes(png())
    assert client.get(f"{address}/roc.png").content == (plots / "roc.png").read_bytes()
    for name in ("confusion", "other", "curves", "..%2fhead", "..%2f..%2fplots%2froc"):
        assert client.get(f"{address}/{name}.png").status_code == 404
    page = client.get(f"/runs/{own.runs['first']}").text
    assert ("plots/roc.png" in page, "plots/confusion.png" in page) == (True, False)


@pytest.mark.parametrize("name", ["base.html", "app.py", "..%2fapp.py", "../app.py", "__init__.py", "", "style.css%00"])
def test_static_files_are_those_of_the_pages_only(address: str, name: str) -> None:
    assert as_it_is(address, "GET", f"/static/{name}")[0] == 404


def test_hostile_names_are_found_by_their_addresses(address: str, client: TestClient) -> None:
    run = quote(HOSTILE_RUN, safe="")
    sample = json.loads(as_it_is(address, "GET", f"/api/runs/{run}/sample")[1])["image_id"]
    assert sample.startswith(HACK)
    assert as_it_is(address, "GET", f"/api/runs/{run}/images/{quote(sample, safe='')}")[0] == 200
    (found,) = predictions(client, run=HOSTILE_RUN, image_id=sample)
    assert set(found["probabilities"]) == {HACK, "<b>bold</b>", "__proto__"}


@pytest.mark.parametrize("path", ["/", "/runs", f"/runs/{quote(HOSTILE_RUN, safe='')}", f"/?run={quote(HACK)}"])
def test_pages_escape_hostile_names(client: TestClient, path: str) -> None:
    text = client.get(path).text
    assert "&lt;" in text
    for name in (HACK, HOSTILE_RUN, "<b>bold</b>"):
        assert name not in text


# -- one at a time


def test_however_many_ask_at_once_a_run_is_loaded_once(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(run: str, workspace: Workspace, **options: Any) -> Any:
        loaded.append(run)
        sleep(0.05)
        return served.predictor

    monkeypatch.setattr(predictor_module, "load_predictor", load)
    predictors, run = Predictors(served.workspace), served.run()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: predictors.get(run), range(8)))
    assert loaded == [run.id]
    assert all(one is served.predictor for one in found)


def test_only_the_last_runs_stay_in_memory(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []

    def load(run: str, workspace: Workspace, **options: Any) -> Any:
        loaded.append(run)
        return SimpleNamespace(notes=lambda _: [], sets=lambda: None)

    monkeypatch.setattr(predictor_module, "load_predictor", load)
    predictors = Predictors(served.workspace)
    runs: list[Any] = [SimpleNamespace(id=name) for name in "abc"]
    for number in (0, 1, 0, 2, 0, 1):
        predictors.get(runs[number])
    assert KEPT == 2
    assert loaded == ["a", "b", "c", "b"]
    assert [predictors.is_loaded(run) for run in runs] == [True, True, False]


def test_pages_answer_while_a_run_loads_and_too_many_are_sent_away(
    own_address: str, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, started = Event(), Event()

    def load(run: str, workspace: Workspace, **options: Any) -> Any:
        started.set()
        go_on.wait(60)
        return load_predictor(run, workspace, **options)

    monkeypatch.setattr(predictor_module, "load_predictor", load)
    url = f"{own_address}/api/runs/{quote(HOSTILE_RUN)}/load"
    answers: list[int] = []

    def ask() -> None:
        answers.append(httpx.post(url, timeout=60).status_code)

    threads = [Thread(target=ask) for _ in range(MOST_WAITING + 3)]
    try:
        threads[0].start()
        assert started.wait(60)
        assert httpx.get(f"{own_address}/api/runs", timeout=60).status_code == 200
        for thread in threads[1:]:
            thread.start()
        until = monotonic() + 60
        while answers.count(503) < 3 and monotonic() < until:
            sleep(0.01)
        assert httpx.get(f"{own_address}/", timeout=60).status_code == 200
    finally:
        go_on.set()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [200] * MOST_WAITING + [503] * 3
