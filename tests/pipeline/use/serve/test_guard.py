"""Who is answered, and what every answer says to the browser."""

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from hamcache.pipeline.use.serve.guard import HEADERS, Guard, is_loopback


def guarded(host: str = "127.0.0.1") -> TestClient:
    """A client of an application that says "yes" to whatever gets through."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("yes"), methods=["GET", "POST"])])
    return TestClient(Guard(app, host), base_url="http://127.0.0.1:8000")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "127.0.0.1", "localhost:9", "LOCALHOST", "[::1]:8000", "127.1.2.3"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert guarded().get("/", headers={"host": host}).text == "yes"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "localhost.",
        "user@127.0.0.1",
        "127.0.0.1:8000:8000",
        "127.0.0.1/",
        "192.168.1.5:8000",
        "",
    ],
)
def test_a_rebound_name_is_refused(host: str) -> None:
    answer = guarded().get("/", headers={"host": host})
    assert (answer.status_code, "yes" in answer.text) == (400, False)


def test_two_host_headers_are_refused() -> None:
    assert guarded().get("/", headers=[("host", "127.0.0.1"), ("host", "evil.example")]).status_code == 400


def test_a_server_for_other_machines_answers_to_addresses_but_not_to_foreign_names() -> None:
    client = guarded("0.0.0.0")
    assert client.get("/", headers={"host": "192.168.1.5:8000"}).status_code == 200
    assert client.get("/", headers={"host": "localhost:8000"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert guarded("box.example").get("/", headers={"host": "box.example:8000"}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://127.0.0.1:8000"}, 200),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:3000"}, 403),
        ({"origin": "http://localhost:8000"}, 403),
        ({"origin": "https://127.0.0.1:8000"}, 403),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"}, 403),
    ],
)
def test_posts_of_other_pages_are_refused(headers: dict[str, str], status: int) -> None:
    assert guarded().post("/", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("none", "navigate", 200),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("cross-site", "no-cors", 403),
        ("same-site", "cors", 403),
    ],
)
def test_other_pages_may_link_here_but_embed_nothing(site: str, mode: str, status: int) -> None:
    headers = {"sec-fetch-site": site, "sec-fetch-mode": mode}
    assert guarded().get("/", headers=headers).status_code == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/runs"),
        ("GET", "/static/predict.js"),
        ("GET", "/api/runs"),
        ("GET", "/nowhere"),
        ("GET", "/api/runs/nobody"),
        ("PUT", "/api/predict"),
        ("POST", "/api/predict"),
    ],
)
def test_every_answer_has_a_strict_policy_and_is_not_kept(client: TestClient, method: str, path: str) -> None:
    headers = client.request(method, path).headers
    assert {name: headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in headers["content-security-policy"]


def test_refusals_have_the_headers_too(client: TestClient) -> None:
    answer = client.get("/", headers={"host": "evil.example"})
    assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store")


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_there_are_no_pages_that_load_from_elsewhere(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False), ("box", False)],
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
