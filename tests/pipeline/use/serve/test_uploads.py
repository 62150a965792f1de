"""Uploads: limits that hold while reading, memory only, images only."""

import asyncio
import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from hamcache.data.errors import BadImageError
from hamcache.pipeline.use.serve.api import create_app
from hamcache.pipeline.use.serve.uploads import LARGEST, MOST_FIELDS, MOST_FILES, Upload, plain_name
from tests.pipeline.use.serve.conftest import Served, png

BOUNDARY = "b0undary"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'.encode()


def ask(served: Served, chunks: Callable[[], Iterator[bytes]], **headers: str) -> tuple[int, int]:
    """POST a body chunk by chunk; the status, and how many chunks were taken."""
    app = create_app(served.workspace)
    named = {"host": "127.0.0.1", "content-type": f"multipart/form-data; boundary={BOUNDARY}"} | headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]
    scope = {"type": "http", "method": "POST", "path": "/api/predict", "query_string": b"", "headers": raw}
    body, taken, sent = chunks(), 0, []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        chunk = next(body, None)
        return (
            {"type": "http.disconnect"} if chunk is None else {"type": "http.request", "body": chunk, "more_body": True}
        )

    async def send(message: Any) -> None:
        sent.append(message)

    whole = scope | {"http_version": "1.1", "scheme": "http", "raw_path": b"", "root_path": ""}
    with ThreadPoolExecutor(1) as pool:  # this thread may have a browser's event loop
        pool.submit(lambda: asyncio.run(app(whole, receive, send))).result()
    return sent[0]["status"], taken


@pytest.mark.parametrize("body", [b"", HEAD[:20], HEAD, HEAD + b"x" * 100_000])
def test_an_upload_that_breaks_off_is_no_error_of_the_server(served: Served, body: bytes) -> None:
    status, _ = ask(served, lambda: iter([body]))  # then the client is gone
    assert status == 400


def test_a_body_that_says_it_is_too_large_is_not_read(served: Served) -> None:
    status, taken = ask(served, lambda: iter([]), content_length=str(LARGEST + 1_000_000))
    assert (status, taken) == (413, 0)


@pytest.mark.parametrize("headers", [{}, {"content_length": "100"}])
def test_a_body_that_goes_on_is_left_at_the_limit(served: Served, headers: dict[str, str]) -> None:
    def body() -> Iterator[bytes]:
        yield HEAD
        for _ in range(3 * LARGEST // 1_000_000):
            yield bytes(1_000_000)

    status, taken = ask(served, body, **headers)
    assert (status, taken) == (413, LARGEST // 1_000_000 + 2)


def test_a_large_photograph_never_touches_the_disk(
    served: Served, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("written to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    data = png(1500, 1100)
    assert len(data) > 4_000_000
    answer = client.post("/api/predict", data={"run": served.runs["first"]}, files={"files": ("a.png", data)})
    assert answer.json()["predictions"][0]["error"] is None


def test_too_many_files_are_refused(served: Served, client: TestClient) -> None:
    files = [("files", (f"{n}.png", png())) for n in range(MOST_FILES + 1)]
    answer = client.post("/api/predict", data={"run": served.runs["first"]}, files=files)
    assert answer.status_code == 413
    assert str(MOST_FILES) in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/json", 415),
        (b"", "", 415),
        (b"run=a", "application/x-www-form-urlencoded", 415),
        (b"nonsense", f"multipart/form-data; boundary={BOUNDARY}", 400),
        (b"nonsense", "multipart/form-data", 400),
        (HEAD.replace(b'name="files"; ', b""), f"multipart/form-data; boundary={BOUNDARY}", 400),
    ],
)
def test_a_body_that_is_no_form_is_refused(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post("/api/predict", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize(
    "fields", [{"run": "x" * 5000}, {f"field{n}": "1" for n in range(MOST_FIELDS + 1)}], ids=["long", "many"]
)
def test_fields_have_limits(client: TestClient, fields: dict[str, str]) -> None:
    assert client.post("/api/predict", data=fields, files={"files": ("a.png", png())}).status_code == 400


def bomb() -> bytes:
    """A PNG of a few hundred bytes that says it has 30,000 x 30,000 pixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tga() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (40, 30)).save(content, "TGA")
    return content.getvalue()


NO_IMAGES = {
    "empty": (b"", "empty file"),
    "text": (b"no image", "not an image of a kind"),
    "script": (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image of a kind"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image of a kind"),
    "another kind": (tga(), "not an image of a kind"),
    "truncated": (png()[:1000], "can't be decoded"),
    "bomb": (bomb(), "pixels, more than|can't be decoded"),
    "tiny": (png(4, 4), "4x4 pixels"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_what_is_no_image_is_refused_in_words(name: str) -> None:
    data, words = NO_IMAGES[name]
    with pytest.raises(BadImageError, match=words):
        Upload("a.png", data).image()


def test_a_bad_file_costs_only_itself(served: Served, client: TestClient) -> None:
    files = [("files", (f"{name}.png", data)) for name, (data, _) in list(NO_IMAGES.items())[:3]]
    files.insert(1, ("files", ("good.png", png())))
    answer = client.post("/api/predict", data={"run": served.runs["first"]}, files=files).json()["predictions"]
    assert [one["image"] for one in answer] == ["empty.png", "good.png", "text.png", "script.png"]
    assert [one["error"] is None for one in answer] == [False, True, False, False]
    assert sum(answer[1]["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_usual_kinds_of_images_are_read(kind: str) -> None:
    content = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(content, kind)
    image = Upload("a", content.getvalue()).image()
    assert (image.mode, image.size) == ("RGB", (40, 30))


@given(st.text())
def test_a_name_is_never_a_path(name: str) -> None:
    plain = plain_name(name)
    assert plain
    assert plain.strip(".")
    assert len(plain) <= 120
    assert plain.isprintable()
    assert not {"/", "\\"} & set(plain)
