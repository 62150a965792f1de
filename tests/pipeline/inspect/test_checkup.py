"""What `hamcache doctor` finds: here, and where something is amiss."""

import tomllib
from pathlib import Path

import pytest
import requests

from hamcache.pipeline.inspect import checkup
from tests.pipeline.cli.test_app import hamcache


def found(world) -> dict[str, checkup.Finding]:
    return {finding.what: finding for finding in checkup.look_around(world.workspace, servers=False)}


def test_machine_workspace_and_extras_are_on_one_screen(world) -> None:
    world.extract("net_a")
    findings = found(world)
    assert {"hamcache", "processor", "bfloat16", "GPU", "memory", "disk", "runs", "extra serve"} <= set(findings)
    assert findings["feature stores"].found == f"1 in {world.workspace.features}"
    said = hamcache("doctor --offline", world.workspace).ok()
    assert "feature stores\t1 in" in said and len(said.splitlines()) < 30


def test_what_is_amiss_has_its_advice(world, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(world.workspace.features) / "moles" / "net" / "none-0123456789.zarr").mkdir(parents=True)
    (world.workspace.runs / "run-a").mkdir(parents=True)
    monkeypatch.setattr(checkup, "_is_there", lambda package: package != "onnx")
    findings = found(world)
    assert "runs verify" in findings["runs"].advice and findings["runs"].found == "0, 1 damaged"
    assert findings["extra export"].advice == "pip install 'hamcache[export]'"
    assert "feature stores" in findings


def test_servers_are_asked_with_patience_for_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    def head(url: str, timeout: float, allow_redirects: bool) -> None:
        assert timeout == 3.0
        if "kaggle" in url:
            raise requests.ConnectTimeout

    monkeypatch.setattr(requests, "head", head)
    hub, kaggle = (checkup._server(name, url) for name, url in checkup.SERVERS.items())
    assert hub.found == "https://huggingface.co answers" and not hub.advice
    assert kaggle.found.endswith("does not answer (ConnectTimeout)") and "--source FILE" in kaggle.advice


def test_every_extra_that_is_for_users_is_looked_at() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(checkup.EXTRAS) == set(project["optional-dependencies"]) - {"dev", "docs"}
