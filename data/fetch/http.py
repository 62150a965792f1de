"""Files over HTTP: a broken download goes on where it stopped, and a wrong one is never kept.

The bytes go to `NAME.part`; beside it `NAME.part.json` remembers what the server said the file was. A later attempt,
or a later process, asks for the rest only (RFC 9110, section 14), on the condition that the file is still the same
one (If-Range, section 13.1.5). Only a file of the right size and digest gets its name.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests

from hamcache.data.errors import DownloadError
from hamcache.data.fetch.checksums import Digest, digest_in, digest_of
from hamcache.data.fetch.disk_space import require_space
from hamcache.data.fetch.reporting import Report, Silence
from hamcache.data.fetch.retry import FAILURES, Attempts, Interrupted, Patience
from hamcache.data.files import flush, write_text

CHUNK = 1 << 20  # bytes
TIMEOUT = (20, 60)  # seconds to connect, and between two pieces of an answer


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched.

    name: the file's name here.
    locate: makes the request for its bytes; called for each attempt, since links may expire.
    advice: what to do when the server refuses it, from the HTTP status.
    size: in bytes; digest: of the whole; both None where only the answer will tell.
    """

    name: str
    locate: Callable[[], requests.PreparedRequest]
    advice: Callable[[int], str] = lambda status: ""
    size: int | None = None
    digest: Digest | None = None


class _Changed(Interrupted):
    """The bytes so far belong to another file than the server has now."""


@dataclass
class _Known:
    """The file as the server described it. `tag` is a strong ETag or a date, as If-Range wants it."""

    tag: str | None = None
    size: int | None = None
    digest: tuple[str, str] | None = None


class Http:
    """A session that is patient with networks and servers."""

    def __init__(self, patience: Patience | None = None, report: Report | None = None):
        self.patience = patience or Patience()
        self.report = report or Silence()
        self.session = requests.Session()
        self.session.headers["User-Agent"] = "hamcache"

    def json(self, url: str, what: str, advice: Callable[[int], str] = lambda status: "") -> Any:
        """The JSON at a URL.

        Raises:
            DownloadError: the server refuses it, or too many attempts failed.
        """
        attempts = Attempts(what, self.patience, self.report, advice)
        while True:
            try:
                answer = self.session.get(url, timeout=TIMEOUT)
                answer.raise_for_status()
                return self._json_of(answer)
            except FAILURES as error:
                attempts.failed(error)

    @staticmethod
    def _json_of(answer: requests.Response) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise Interrupted(f"expected JSON, but the server answered {answer.status_code} without any") from None

    def request(self, url: str) -> requests.PreparedRequest:
        """A plain request for a URL."""
        return self.session.prepare_request(requests.Request("GET", url))

    def fetch(self, remote: RemoteFile, path: Path) -> Path:
        """Fetch a file to `path`, unless it is there; go on where an earlier attempt or process stopped.

        Raises:
            DownloadError: the server refuses it, too many attempts in a row brought nothing, the disk is too small, or
                what came has another size or digest than it should; then nothing is kept.
        """
        if path.is_file():
            return path
        part = path.with_name(f"{path.name}.part")
        attempts = Attempts(remote.name, self.patience, self.report, remote.advice)
        most = _size(part)
        with self.report.bar(remote.name, remote.size, "B") as advance:
            while True:
                try:
                    known = self._transfer(remote, part, advance)
                    break
                except FAILURES as error:
                    if isinstance(error, _Changed):
                        _discard(part)
                    elif _size(part) > most:
                        most = _size(part)
                        attempts.progressed()
                    attempts.failed(error)
        self._check(remote, part, known)
        flush(part)
        part.replace(path)
        flush(path.parent)
        _memory(part).unlink(missing_ok=True)
        return path

    def _transfer(self, remote: RemoteFile, part: Path, advance: Callable[[int, int | None], None]) -> _Known:
        """Make one attempt: ask for the bytes that are lacking, append them; return the server's words on the file."""
        known = _recall(part)
        have = _size(part)
        total = remote.size if remote.size is not None else known.size
        if have and have == total:
            return known
        if have and known.tag is None and remote.digest is None:
            have = 0  # nothing could show that the rest belongs to the same file
        with self._ask(remote, have, known.tag) as answer:
            if answer.status_code == 416:  # there is no rest
                if _total(answer) != have:
                    raise _Changed("the server's file is shorter than what has come")
                return known
            answer.raise_for_status()
            if answer.status_code not in (200, 206):
                raise Interrupted(f"expected the file, but the server answered {answer.status_code}")
            if answer.status_code == 200:
                have = 0
            elif _start(answer) != have:
                raise _Changed("the server sent another part than was asked for")
            told = _told(answer)
            if have and (_differ(told.tag, known.tag) or _differ(told.size, known.size)):
                raise _Changed("the file changed at the server")
            if _differ(told.size, remote.size):
                raise DownloadError(
                    f"{remote.name}: expected {remote.size:,} bytes, but the server offers {told.size:,}. Run the "
                    "command again later; if that persists, the file was changed: fetch it by hand and give it with "
                    "--source FILE."
                )
            told.digest = told.digest or (known.digest if have else None)
            if not have:
                write_text(_memory(part), json.dumps(asdict(told)))
            total = told.size if told.size is not None else remote.size
            if total is not None:
                require_space(part.parent, total - have, remote.name)
            with part.open("ab" if have else "wb") as file:
                advance(have, total)
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    file.write(chunk)
                    have += len(chunk)
                    advance(have, total)
            if total is not None and have < total:
                raise Interrupted(f"the connection was cut after {have:,} of {total:,} bytes")
        return told

    def _ask(self, remote: RemoteFile, have: int, tag: str | None) -> requests.Response:
        request = remote.locate()
        request.headers["Accept-Encoding"] = "identity"  # offsets and digests are of the file as it is
        if have:
            request.headers["Range"] = f"bytes={have}-"
            if tag is not None:
                request.headers["If-Range"] = tag
        settings = self.session.merge_environment_settings(request.url, {}, True, None, None)
        return self.session.send(request, timeout=TIMEOUT, **settings)

    def _check(self, remote: RemoteFile, part: Path, known: _Known) -> None:
        """Raise DownloadError, and remove the file, where its size or digest is not what it should be."""
        size, expected = _size(part), remote.size if remote.size is not None else known.size
        wrong = f"{expected:,} bytes, but {size:,} came" if _differ(size, expected) else ""
        digest = remote.digest or (Digest(*known.digest) if known.digest else None)
        if not wrong and digest is not None:
            with self.report.bar(f"checking {remote.name}", size, "B") as advance:
                came = digest_of(part, digest.algorithm, lambda done: advance(done, None))
            if came != digest.value:
                wrong = f"{digest.algorithm} {digest.value}, but what came has {came}"
        if wrong:
            _discard(part)
            raise DownloadError(
                f"{remote.name}: expected {wrong}. It was damaged on its way and has been removed: run the command "
                "again. If that persists, fetch it by hand and give it with --source FILE."
            )


def _recall(part: Path) -> _Known:
    """Memory of a file that has come in part; empty where there is none, or none to trust."""
    try:
        return _Known(**json.loads(_memory(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return _Known()


def _told(answer: requests.Response) -> _Known:
    """The whole file as an answer describes it."""
    etag = answer.headers.get("ETag", "")
    tag = etag if etag.startswith('"') else answer.headers.get("Last-Modified")
    if answer.status_code == 206:
        size = _total(answer)
    else:
        size = int(length) if (length := answer.headers.get("Content-Length", "")).isdecimal() else None
    digest = digest_in(answer.headers, whole=answer.status_code == 200)
    return _Known(tag, size, (digest.algorithm, digest.value) if digest else None)


def _start(answer: requests.Response) -> int | None:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _total(answer: requests.Response) -> int | None:
    found = re.search(r"/(\d+)$", answer.headers.get("Content-Range", ""))
    return int(found[1]) if found else None


def _differ(a: object, b: object) -> bool:
    """True where two things are both known and are not the same."""
    return a is not None and b is not None and a != b


def _memory(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _memory(part).unlink(missing_ok=True)
