"""The command: where it listens, how it ends, what it says if it can't start."""

import io
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import httpx
import pytest

from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import main
from hamcache.pipeline.errors import ServingError
from hamcache.pipeline.use.serve.server import address_of, listen
from tests.pipeline.use.serve.conftest import Served

ROOT = Path(__file__).parents[3]


def hamcache(*words: str, workspace: Workspace) -> tuple[int, str]:
    """Run `hamcache` in this process: its exit code and what it wrote."""
    text = io.StringIO()
    with (
        redirect_stdout(text),
        redirect_stderr(text),
        mock.patch.object(sys, "argv", ["hamcache", *words]),
        mock.patch.dict("os.environ", {"HAMCACHE_WORKSPACE": str(workspace)}),
        pytest.raises(SystemExit) as end,
    ):
        main()
    return int(end.value.code or 0), text.getvalue()


def test_a_taken_port_is_one_message_that_offers_another(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, text = hamcache("serve", "--port", str(port), workspace=tmp_path)
    assert code == 1
    assert f"Port {port} is taken" in text
    assert f"--port {port + 1}" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("host", ["203.0.113.7", "no such host"])
def test_an_address_of_another_machine_is_told(host: str) -> None:
    with pytest.raises(ServingError, match=re.escape(host)):
        listen(host, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "box.example"])
def test_other_machines_are_let_in_only_on_demand(tmp_path: Path, host: str) -> None:
    code, text = hamcache("serve", "--host", host, workspace=tmp_path)
    assert (code, "--allow-network" in text) == (2, True)


@pytest.mark.parametrize("words", [("nobody",), ("--weights", "x"), ("--device", "tpu"), ("--port", "99999")])
def test_what_cannot_be_served_is_told_before_anything_listens(tmp_path: Path, words: tuple[str, ...]) -> None:
    with mock.patch("hamcache.pipeline.use.serve.server.listen", side_effect=AssertionError):
        assert hamcache("serve", *words, workspace=tmp_path)[0] in (1, 2)


def test_a_run_of_another_workspace_is_told(served: Served, tmp_path: Path) -> None:
    code, text = hamcache("serve", str(served.run().folder), workspace=tmp_path)
    assert (code, "lies elsewhere" in text) == (1, True)


@pytest.mark.parametrize("package", ["fastapi", "uvicorn", "python_multipart"])
def test_a_missing_package_is_told_with_what_installs_it(tmp_path: Path, package: str) -> None:
    loaded = {name: None for name in sys.modules if name.startswith("hamcache.pipeline.use.serve.")}
    with mock.patch.dict(sys.modules):
        for name in loaded:
            del sys.modules[name]
        sys.modules[package] = None  # type: ignore[assignment]
        code, text = hamcache("serve", workspace=tmp_path)
    assert code == 1
    assert "pip install 'hamcache[serve]'" in text
    assert package in text


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "http://127.0.0.1:{}/"), ("::1", "http://[::1]:{}/"), ("0.0.0.0", "http://127.0.0.1:{}/")],
)
def test_the_address_is_one_to_type(host: str, address: str) -> None:
    if host == "::1" and not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        made = listen(host, 0)
    except ServingError:
        assert host == "::1"  # not every machine has it
        return
    with made:
        assert address_of(made) == address.format(made.getsockname()[1])


@contextmanager
def running(*command: str, workspace: Workspace) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    environment = os.environ | {"HAMCACHE_WORKSPACE": str(workspace), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            found = re.search(r"http://[\d.:]+/", first)
            assert found, first + process.stdout.read()
            yield process, found[0]
        finally:
            process.kill()


def test_the_command_serves_and_ends_cleanly(served: Served) -> None:
    words = ("-m", "hamcache.pipeline.cli.app", "serve", served.runs["second"][:8], "--port", "0")
    with running(*words, workspace=served.workspace) as (process, address):
        page = httpx.get(address, timeout=60).text
        assert re.search(rf'value="{re.escape(served.runs["second"])}"[^>]* selected', page)
        process.send_signal(signal.SIGINT)
        assert the_end(process) == "Ended.\n"


def the_end(process: subprocess.Popen[str]) -> str:
    """What a process that ends well still writes."""
    assert process.stdout is not None
    text = process.stdout.read()
    assert process.wait(60) == 0, text
    return text


SLOW = """
import sys, time, types
def load(*args, **kwargs):
    print("loading", flush=True)
    time.sleep(3600)
sys.modules["hamcache.pipeline.use.predict.predictor"] = types.SimpleNamespace(load_predictor=load)
from hamcache.pipeline.cli.app import main
sys.argv = ["hamcache", "serve", "--port", "0"]
main()
"""


def test_nobody_waits_for_a_network_to_end(served: Served) -> None:
    with running("-c", SLOW, workspace=served.workspace) as (process, address):
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{address}api/runs/{served.runs['first']}/load", timeout=1)
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        assert the_end(process) == "Ended.\n"
