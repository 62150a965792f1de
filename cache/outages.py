"""Remote file systems that go away for a while: an operation lasts as long as an outage may, then is one error."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hamcache.cache.errors import RootRefusedError, RootUnreachableError

FIRST_CONTACT = 60.0
"""Seconds that a root which never answered yet in this process is tried: more often than not it is mistyped."""
LONGEST_OUTAGE = 600.0
"""Seconds that a root which has answered before may be away."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
"""Seconds between two tries; each pause is twice the one before."""
KEPT = "What was written is kept; the same command goes on from there."

TRANSIENT = frozenset(
    {
        *("ConnectionError", "TimeoutError"),  # built in; botocore's and requests' own have the same names
        *("HTTPClientError", "ResponseParserError", "IncompleteReadError", "ResponseStreamingError"),  # botocore
        *("ClientConnectionError", "ClientPayloadError", "gaierror", "IncompleteRead"),  # aiohttp, sockets
        *("TransportError", "ServiceRequestError", "ServiceResponseError"),  # Google's and Azure's
    }
)
"""Names of exceptions, or of what they derive from, after which another try may help."""
TRUST = ("SSLError", "ClientConnectorCertificateError", "ClientConnectorSSLError")
"""Those of them that no waiting mends."""
PASSED_ON = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)

stopping = threading.Event()
"""Set, it makes the threads that wait for a root give up: what they work for was interrupted."""

T = TypeVar("T")
_log = logging.getLogger(__name__)
_lock = threading.Lock()
_answered: set[str] = set()
_waiting: dict[str, int] = {}


def lasting(url: str, operation: Callable[[], T]) -> T:
    """The outcome of an operation on a remote root, tried again while the root is away.

    Args:
        url: the root's.
        operation: may be called several times.

    Raises:
        RootUnreachableError: no answer for LONGEST_OUTAGE seconds.
        RootRefusedError: wrong credentials, no access, no such bucket; at once.
        FileNotFoundError, FileExistsError: what the answer was.
    """
    try:
        outcome = operation()
    except Exception as error:
        if not _may_pass(url, error):
            raise
        last = error
    else:
        _answered.add(url)
        return outcome
    since, pause = time.monotonic(), FIRST_PAUSE
    limit = LONGEST_OUTAGE if url in _answered else FIRST_CONTACT
    with _announced(url, last, limit):
        while time.monotonic() - since < limit:
            if stopping.wait(pause):
                break
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                outcome = operation()
            except Exception as error:
                if not _may_pass(url, error):
                    raise
                last = error
            else:
                _answered.add(url)
                return outcome
    raise RootUnreachableError(
        f"Expected the features root {url} to answer, got none for {_duration(limit)} ({_said(last)}). {KEPT}"
    ) from last


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status behind an error of a remote file system."""
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        for name in ("status", "code", "status_code"):
            if isinstance(getattr(error, name, None), int):
                return int(getattr(error, name))
        error = error.__cause__
    return None


def _may_pass(url: str, error: Exception) -> bool:
    """True for an outage, False for an answer; raises where the root refuses."""
    status = status_of(error)
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & TRANSIENT and names.isdisjoint(TRUST):
        return True
    if status in (408, 409, 425, 429) or (status is not None and status >= 500 and status != 501):
        return True
    if isinstance(error, OSError) and error.errno in (errno.EBUSY, errno.EREMOTEIO):
        return True
    no_bucket = "bucket" in _code(error).lower()
    if (isinstance(error, PASSED_ON) and not no_bucket) or status in (412, 501):
        return False
    if isinstance(error, OSError) or type(error).__module__ != "builtins":
        raise RootRefusedError(
            f"Expected to read and write {url}, but it is refused ({_said(error)}). "
            f"{'Make the bucket first.' if no_bucket else 'Check the address, the credentials and their rights.'}"
        ) from error
    return False


@contextmanager
def _announced(url: str, error: Exception, limit: float) -> Iterator[None]:
    """Say once that a root is waited for, however many threads do, and once that it is back."""
    with _lock:
        _waiting[url] = _waiting.get(url, 0) + 1
        if _waiting[url] == 1:
            _log.warning("Waiting for %s (%s), %s at most ...", url, _said(error), _duration(limit))
    try:
        yield
    finally:
        with _lock:
            _waiting[url] -= 1


def _code(error: BaseException | None) -> str:
    while error is not None:
        response: Any = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
