"""New attempts at what fails for a while: a connection that is cut, a server that is busy."""

import email.utils
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests
import urllib3

from hamcache.data.errors import CredentialsError, DownloadError
from hamcache.data.fetch.reporting import Report

FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError)
"""What the network and servers raise. Trouble with the disk is not among them."""


class Interrupted(requests.ConnectionError):
    """A transfer that broke off; the message is a whole clause and says how."""


_HOPELESS = (
    requests.TooManyRedirects,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
)
_PASSING = {408, 425, 429}  # and all of 500 and above


@dataclass(frozen=True)
class Patience:
    """Limits of trying again: failures in a row, and seconds between them, which double each time."""

    attempts: int = 7
    first_attempts: int = 3  # while there was no answer at all: then it is rarely the server that is at fault
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_asked: float = 600.0  # a server that asks for more than this is not waited for
    sleep: Callable[[float], None] = time.sleep


class Attempts:
    """The failures in a row of one thing: waits after each, until there were too many or one that does not pass.

    what: its name, for messages. advice: what to do when the server refuses it, from the HTTP status.
    """

    def __init__(self, what: str, patience: Patience, report: Report, advice: Callable[[int], str]):
        self.what = what
        self.patience = patience
        self.report = report
        self.advice = advice
        self.failures = 0
        self.answered = False

    def progressed(self) -> None:
        """Start counting anew, as something came."""
        self.failures = 0
        self.answered = True

    def failed(self, error: Exception) -> None:
        """Wait before the next attempt.

        Raises:
            CredentialsError: the server wants other credentials (401).
            DownloadError: no further attempt would help, or enough were made.
        """
        status, reason = status_of(error), _reason(error)
        if isinstance(error, _HOPELESS) or (status and status < 500 and status not in _PASSING):
            kind = CredentialsError if status == 401 else DownloadError
            raise kind(f"{self.what}: {reason}. {self.advice(status)}".rstrip()) from None
        self.failures += 1
        self.answered |= not _no_connection(error)
        most = self.patience.attempts if self.answered else min(self.patience.first_attempts, self.patience.attempts)
        if self.failures >= most:
            raise DownloadError(
                f"{self.what}: gave up after {self.failures} attempts in a row; {reason}. What has come is kept: the "
                "same command goes on from there." + ("" if self.answered else f"\n{self.advice(0)}".rstrip())
            ) from None
        wait = self._wait(error)
        self.report.say(f"{self.what}: {reason}; trying again in {wait:.0f} s ({self.failures} of {most})")
        self.patience.sleep(wait)

    def _wait(self, error: Exception) -> float:
        asked = _retry_after(error)
        if asked is not None and asked > self.patience.longest_asked:
            raise DownloadError(
                f"{self.what}: the server asks to come back in {asked / 60:.0f} minutes. Run the same command then: "
                "what has come is kept."
            ) from None
        wait = min(self.patience.first_wait * 2 ** (self.failures - 1), self.patience.longest_wait)
        return max(asked or 0.0, wait)


def status_of(error: Exception) -> int:
    """The HTTP status that an error is about; 0 where there was no answer at all."""
    response = error.response if isinstance(error, requests.HTTPError) else None
    if response is None:
        return 0
    if response.status_code >= 400:
        return response.status_code
    try:  # Kaggle also puts the status of a failure into the body of a 200
        return int(response.json()["code"])
    except (ValueError, KeyError, TypeError):
        return response.status_code


def _retry_after(error: Exception) -> float | None:
    """Seconds that the server asks to wait: given as such, or as a date."""
    response = error.response if isinstance(error, requests.HTTPError) else None
    asked = response.headers.get("Retry-After", "").strip() if response is not None else ""
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    """The failure as a clause: the server's own words where it has some, never a link with a secret in it."""
    text = (str(error).strip().splitlines() or [""])[0][:200]
    if isinstance(error, Interrupted):
        return text
    if status := status_of(error):
        response = error.response if isinstance(error, requests.HTTPError) else None
        words = (response.reason or "") if response is not None and " for url: " in text else text
        return f"the server answered {status} ({words})" if words else f"the server answered {status}"
    return _no_connection(error) or f"the connection failed ({text or type(error).__name__})"


def _no_connection(error: Exception) -> str:
    """The reason why no connection came about, as a clause; empty where there was one."""
    whole = error.args[0] if error.args else None
    if not isinstance(whole, urllib3.exceptions.MaxRetryError):
        return ""
    host, cause = getattr(whole.pool, "host", "the server"), whole.reason
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return f"the name {host} cannot be looked up (is this machine connected to the internet?)"
    if isinstance(cause, urllib3.exceptions.ProxyError):
        return f"the proxy that this machine is told to use does not connect it to {host}"
    if isinstance(cause, urllib3.exceptions.SSLError):
        return f"there is no secure connection to {host} ({str(cause)[:120]})"
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        words = getattr(cause.__cause__, "strerror", None) or "no connection"
        return f"{host} cannot be reached ({words})"
    return f"{host} does not answer" if isinstance(cause, urllib3.exceptions.ConnectTimeoutError) else ""
