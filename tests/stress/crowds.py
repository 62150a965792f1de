"""A crowd in front of `hamcache serve`: many requests at once, slow and broken uploads; then it answers as before."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import signal
import socket
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from time import monotonic, sleep
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.stress.processes import PATIENCE, Command
from tests.stress.tally import LOST, WRONG, Tally
from tests.stress.world import NET, Bench, draw_images, extract_words, must

BOUNDARY = "stress"
GROWTH = 600 << 20
"""Bytes by which the server may grow under the crowd."""
ROW = 100
"""Broken uploads at a time."""


@dataclass(frozen=True)
class Served:
    """A running server, the run it predicts with, and an image with the prediction that it made at first."""

    port: int
    run: str
    image: bytes

    def post(self, seconds: float = PATIENCE) -> tuple[int, Any]:
        """Upload the image; returns the status, and the prediction or the reason."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request("POST", "/api/predict", self.form(), {"Content-Type": self.kind})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            return answer.status, content["predictions"] if answer.status == 200 else content.get("error")
        finally:
            connection.close()

    @property
    def kind(self) -> str:
        """The type of `form`."""
        return f"multipart/form-data; boundary={BOUNDARY}"

    def form(self) -> bytes:
        """The upload's body."""
        head = 'Content-Disposition: form-data; name="{}"'
        run = f"--{BOUNDARY}\r\n{head.format('run')}\r\n\r\n{self.run}\r\n"
        file = f'--{BOUNDARY}\r\n{head.format("files")}; filename="mole.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
        return run.encode() + file.encode() + self.image + f"\r\n--{BOUNDARY}--\r\n".encode()


def crowd(bench: Bench, tally: Tally) -> None:
    """Ask 100 things at once, break 300 uploads, and ask again."""
    csv, workspace = draw_images(bench.folder / "data", 150), bench.folder / "workspace"
    must(extract_words(csv, workspace), bench.folder)
    train = f"train --dataset {csv} --features {NET} --head logreg --no-plots --workspace {workspace}"
    must(shlex.split(train), bench.folder)
    (run,) = (path.name for path in (workspace / "runs").iterdir() if not path.name.startswith("."))
    server = Command(["serve", run, "--port", "0", "--workspace", workspace], bench.folder)
    try:
        served = Served(_port(server), run, (csv.parent / "images" / "img0001.jpg").read_bytes())
        status, expected = served.post()
        if status != 200:
            raise RuntimeError(f"the first prediction: {status} {expected}")
        bench.begin()
        before = psutil.Process(server.pid).memory_info().rss
        _ask_at_once(served, expected, bench, tally)
        _break_uploads(served, bench, tally)
        grown = psutil.Process(server.pid).memory_info().rss - before
        tally.notes["MB more memory in the end"] = grown >> 20
        status, answer = served.post()
        good = status == 200 and answer == expected
        tally.count("right" if good else WRONG, "a prediction after the crowd", "" if good else f"{status} {answer}")
        tally.count(
            "right" if grown < GROWTH else WRONG, "memory after the crowd", "" if grown < GROWTH else str(grown)
        )
    finally:
        server.send(signal.SIGINT)
        ended = server.wait(60)
    calm = ended.done and "rror" not in ended.output
    tally.count("right" if calm else WRONG, "the server's end, and its log", "" if calm else str(ended))


def _port(server: Command) -> int:
    until = monotonic() + PATIENCE
    while monotonic() < until and server.alive:
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", server.output):
            return int(found[1])
        sleep(0.05)
    raise RuntimeError(f"no server: {server.output}")


def _ask_at_once(served: Served, expected: Any, bench: Bench, tally: Tally) -> None:
    number = bench.count(100)
    line = threading.Barrier(number)

    def ask() -> tuple[int, Any]:
        line.wait()
        try:
            return served.post()
        except OSError as error:
            return 0, repr(error)

    with ThreadPoolExecutor(number) as pool:
        answers = [task.result() for task in [pool.submit(ask) for _ in range(number)]]
    for status, answer in answers:
        if status == 200:
            tally.count("right" if answer == expected else WRONG, "one of 100 requests at once", str(answer))
        elif status == 503 and answer:
            tally.count("refused", "one of 100 requests at once")
        else:
            tally.count(LOST, "one of 100 requests at once", f"{status} {answer}")


def _break_uploads(served: Served, bench: Bench, tally: Tally) -> None:
    """Uploads that stop in the middle, in several ways; the page must answer others all the while."""
    body, number = served.form(), bench.count(300)
    head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nContent-Type: {served.kind}\r\n"
    for first in range(0, number, ROW):
        if bench.late:
            return
        broken = [socket.create_connection(("127.0.0.1", served.port), 30) for _ in range(min(ROW, number - first))]
        for opened in broken:
            length = bench.random.choice((len(body), 15_000_000))
            opened.sendall(
                f"{head}Content-Length: {length}\r\n\r\n".encode() + body[: bench.random.randrange(len(body))]
            )
        status, reason = _page(served)
        for opened in broken:
            _leave(opened, bench.random)
            good = status == 200
            tally.count("refused" if good else LOST, "a broken upload", "" if good else f"the page says {reason}")


def _leave(opened: socket.socket, random: Random) -> None:
    """End a connection as clients do: politely, by vanishing, or after a few bytes more."""
    way = random.choice(("close", "reset", "drip"))
    try:
        if way == "reset":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way == "drip":
            for _ in range(3):
                opened.sendall(b"x")
                sleep(0.005)
        opened.close()
    except OSError:  # the server has left first
        opened.close()


def _page(served: Served) -> tuple[int, str]:
    """The list of runs, while uploads hang."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=60)
    try:
        connection.request("GET", "/api/runs")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")[:200]
    except OSError as error:
        return 0, repr(error)
    finally:
        connection.close()
