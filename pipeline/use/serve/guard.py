"""The server's guard: it answers pages that it has served itself, and programs of this machine; no other web page."""

import re
import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Sent with every answer: nothing from elsewhere is loaded, nothing is framed, nothing is kept."""
READING = ("GET", "HEAD")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:\[\]@/]+)(:\d{1,5})?", re.IGNORECASE)


def is_loopback(host: str) -> bool:
    """Tell if a name or address can only be this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Wraps an application: refuses foreign requests before it sees them, and adds `HEADERS` to all answers.

    A page of another site can send requests here, and by a name of its own that points to this machine (DNS rebinding)
    even read the answers. So the Host header must be a name that nobody else can own, and what a browser says about
    where a request comes from (Origin, Sec-Fetch-Site) must be this server.

    Args:
        app: The application.
        host: What the server listens on. If that is not this machine only, addresses and the machine's own names are
            good Host headers, too: a rebound name is neither.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1") -> None:
        self.app = app
        self._everywhere = not is_loopback(host)
        self._names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()} if self._everywhere else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = self.app if refusal is None else PlainTextResponse(*refusal)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> tuple[str, int] | None:
        hosts = headers.getlist("host")
        found = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if found is None or not self._is_ours(found[1].strip("[]").lower()):
            return "This server answers to its own address only.", 400
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
        foreign = site in ("cross-site", "same-site") and (mode != "navigate" or method not in READING)
        if foreign or (method not in READING and not _same_origin(headers.getlist("origin"), hosts[0])):
            return "Requests from other web pages are not answered.", 403
        return None

    def _is_ours(self, name: str) -> bool:
        if is_loopback(name) or name in self._names:
            return True
        try:
            return self._everywhere and ip_address(name) is not None
        except ValueError:
            return False


def _same_origin(origins: list[str], host: str) -> bool:
    """Browsers name the origin of whatever they post; a program without a page has none."""
    return all(urlsplit(o).netloc.lower() == host.lower() and urlsplit(o).scheme == "http" for o in origins)
