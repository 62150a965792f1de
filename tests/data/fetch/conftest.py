"""A server on 127.0.0.1 that speaks what a download meets, and a tiny HAM10000 in the archives it comes in."""

import hashlib
import http.server
import io
import json
import re
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from hamcache.data.fetch.http import Http
from hamcache.data.fetch.retry import Patience

LESIONS = {"akiec": 1, "bcc": 1, "bkl": 2, "df": 1, "mel": 4, "nv": 5, "vasc": 2}


@dataclass
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, list[str]]
    sent: int = 0  # bytes of the answer's body that were written


@dataclass
class Fault:
    """What goes wrong with one request: an answer with this status, or a connection that is cut after some bytes."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None


@dataclass
class Resource:
    """A file on the server. Each request takes the next of `faults`, if there is one left."""

    body: bytes
    etag: str | None = '"v1"'
    ranges: bool = True
    if_range: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    length: bool = True


class Server:
    """Serves `resources` by path; `redirects` and `routes` (functions of the request) go first."""

    def __init__(self) -> None:
        self.resources: dict[str, Resource] = {}
        self.redirects: dict[str, str] = {}
        self.routes: dict[str, Callable[[Asked], Fault | None]] = {}
        self.asked: list[Asked] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_request(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                url = urlsplit(self.path)
                asked = Asked(self.command, url.path, self.headers, self.rfile.read(length), parse_qs(url.query))
                server.asked.append(asked)
                server.answer(self, asked)

            do_GET = do_POST = handle_request

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                if not isinstance(sys.exception(), ConnectionError):  # clients go away: that is what they do here
                    super().handle_error(request, client_address)

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def of(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    def answer(self, handler: Any, asked: Asked) -> None:
        if (route := self.routes.get(asked.path)) and (fault := route(asked)):
            self._send(handler, asked, fault.status, fault.headers, fault.body)
        elif asked.path in self.redirects:
            self._send(handler, asked, 302, {"Location": self.redirects[asked.path]}, b"")
        elif asked.path in self.resources:
            self._serve(handler, asked, self.resources[asked.path])
        else:
            self._send(handler, asked, 404, {}, b"nothing here")

    def _serve(self, handler: Any, asked: Asked, resource: Resource) -> None:
        fault = resource.faults.pop(0) if resource.faults else Fault()
        if fault.status:
            self._send(handler, asked, fault.status, fault.headers, fault.body)
            return
        headers = dict(resource.headers)
        if resource.etag:
            headers["ETag"] = resource.etag
        body, status = resource.body, 200
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("Range") or "")
        condition = asked.headers.get("If-Range")
        if wanted and resource.ranges and (not resource.if_range or condition in (None, resource.etag)):
            start = int(wanted[1])
            if start >= len(body):
                self._send(handler, asked, 416, {"Content-Range": f"bytes */{len(body)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body, status = body[start:], 206
        self._send(handler, asked, status, headers, body, fault.cut_after, resource.length)

    def _send(
        self,
        handler: Any,
        asked: Asked,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        cut_after: int | None = None,
        length: bool = True,
    ) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if length:
            handler.send_header("Content-Length", str(len(body)))
        if cut_after is not None or not length:
            handler.send_header("Connection", "close")
            handler.close_connection = True
        handler.end_headers()
        try:
            handler.wfile.write(body[:cut_after])
            asked.sent = len(body[:cut_after])
        except ConnectionError:
            handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the machine must not come between a test and its server."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def waits() -> list[float]:
    """The seconds that were waited for: nothing sleeps in these tests."""
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(attempts=4, sleep=waits.append)


class Notes:
    """A report that keeps what was said, and how far each bar came."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: dict[str, list[int]] = {}

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def bar(self, what: str, total: int | None, unit: str) -> Any:
        steps = self.bars.setdefault(what, [])
        return nullcontext(lambda done, total=None: steps.append(done))


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def patient(patience: Patience, notes: Notes) -> Http:
    return Http(patience, notes)


@pytest.fixture
def make_server() -> dict[str, Any]:
    """The classes that describe what a server has: `Resource` and `Fault`."""
    return {"Resource": Resource, "Fault": Fault}


@dataclass
class Tiny:
    """A small HAM10000 on disk, and the archives it comes in."""

    folder: Path
    images: int

    def image_ids(self) -> list[str]:
        return sorted(path.stem for path in self.folder.rglob("*.jpg"))

    def metadata(self) -> bytes:
        return (self.folder / "HAM10000_metadata.csv").read_bytes()

    def kaggle_zip(self, extra: Mapping[str, bytes] | None = None) -> bytes:
        """As Kaggle's: both folders, the metadata, the folders again in lower case, and tables of pixels."""
        files = {str(path.relative_to(self.folder)): path.read_bytes() for path in sorted(self.folder.rglob("*.*"))}
        again = {name.replace("HAM", "ham"): body for name, body in files.items() if name.endswith(".jpg")}
        return zipped({**files, **again, "hmnist_28_28_L.csv": b"pixel0000,label\n190,2\n" * 50, **(extra or {})})

    def part_zip(self, part: int) -> bytes:
        """As the Dataverse's: the images of one part, in no folder."""
        folder = self.folder / f"HAM10000_images_part_{part}"
        return zipped({path.name: path.read_bytes() for path in sorted(folder.iterdir())})

    def assert_is(self, folder: Path) -> None:
        """Every file is there with the same bytes, and no other."""
        expected = {path.relative_to(self.folder): path.read_bytes() for path in self.folder.rglob("*.*")}
        found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert found == expected


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return content.getvalue()


@pytest.fixture(scope="session")
def tiny(make_ham10000: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A HAM10000 of 20 images of 16 lesions; not to be changed."""
    folder = make_ham10000(tmp_path_factory.mktemp("tiny") / "ham10000", lesions=LESIONS)
    return Tiny(folder, len(list(folder.rglob("*.jpg"))))


@pytest.fixture
def dataverse(server: Server, tiny: Tiny) -> str:
    """A Dataverse with the data set: a catalogue, links that redirect to a store; returns its address."""
    parts = {3172585: tiny.part_zip(1), 3172584: tiny.part_zip(2)}
    listed = [
        {
            "dataFile": {
                "id": number,
                "filename": f"{number}.zip",
                "filesize": len(body),
                "checksum": {"type": "MD5", "value": hashlib.md5(body).hexdigest()},
            }
        }
        for number, body in parts.items()
    ]
    # The Dataverse has converted the table: what it lists is of that other form.
    table = {"id": 4338392, "filesize": 1, "md5": "0" * 32, "originalFileFormat": "text/csv", "filename": "x.tab"}
    catalogue = {"status": "OK", "data": {"latestVersion": {"files": [*listed, {"dataFile": table}]}}}
    server.resources["/api/datasets/:persistentId/"] = Resource(json.dumps(catalogue).encode())
    for number, body in {**parts, 4338392: tiny.metadata()}.items():
        server.redirects[f"/api/access/datafile/{number}"] = f"{server.url}/store/{number}"
        server.resources[f"/store/{number}"] = Resource(body)
    return server.url


class FakeKaggle:
    """What Kaggle's client talks to: it is sent to a link that is valid for two requests only."""

    API = "/api/v1/datasets.DatasetApiService/DownloadDataset"

    def __init__(self, server: Server, archive: bytes):
        self.server = server
        self.file = Resource(archive)
        self.failures: list[Fault] = []
        self.links = 0
        self.anonymous = False
        self.credentials = {"Basic YWRhOnNlY3JldA==", "Bearer token-of-ada"}  # ada:secret
        server.routes[self.API] = self._download
        server.routes["/bucket/archive.zip"] = self._link
        server.resources["/bucket/archive.zip"] = self.file
        self._uses: dict[str, int] = {}

    def _download(self, asked: Asked) -> Fault:
        if self.failures:
            return self.failures.pop(0)
        signature = asked.headers.get("Authorization")
        if signature not in self.credentials and not (self.anonymous and signature is None):
            return Fault(401, {"Content-Type": "application/json"}, b'{"code": 401, "message": "Unauthenticated"}')
        wanted = json.loads(asked.body)
        assert (wanted["ownerSlug"], wanted["datasetSlug"]) == ("kmader", "skin-cancer-mnist-ham10000")
        self.links += 1
        return Fault(302, {"Location": f"{self.server.url}/bucket/archive.zip?signature={self.links}"})

    def _link(self, asked: Asked) -> Fault | None:
        assert "Authorization" not in asked.headers  # the key is for Kaggle alone, not for where it stores files
        (signature,) = asked.query["signature"]
        self._uses[signature] = self._uses.get(signature, 0) + 1
        return Fault(403, body=b"the link has expired") if self._uses[signature] > 2 else None


@pytest.fixture
def kaggle_environment(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sends Kaggle's client to the local server (as its proxy), without credentials; returns its folder for these."""
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_PROXY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "kaggle"
    config.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(config))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")  # http://localhost, port 80: hence the proxy
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return config


@pytest.fixture
def kaggle(server: Server, tiny: Tiny, kaggle_environment: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKaggle:
    """A Kaggle that has the data set, and the credentials of its user ada."""
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    return FakeKaggle(server, tiny.kaggle_zip())
