"""The README keeps its word: every command and every line of Python in it runs, on a small drawn data set.

Commands run as they stand, in the order they stand in, but for what `stand_ins` replaces: weights that only the model
hub has, the address of a Dask cluster, names of runs, stores and sweeps, how much is tried (of a data set this small),
and one process instead of many where heads train in parallel. `hamcache serve`, which does not end, is asked for its
runs and then ended.
"""

import io
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock
from urllib.request import urlopen

import pytest
import timm
from distributed import LocalCluster
from safetensors.torch import save_file

from hamcache.data.synthetic.collection import synthesize
from hamcache.pipeline.cli.app import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
HUB = {
    "resnet34,torchvision/mobilenet_v3_small": "random/test_resnet.r160_in1k,random/test_vit.r160_in1k",
    "resnet18=weights/resnet18.safetensors": "test_resnet.r160_in1k=weights/resnet18.safetensors",
    "resnet18": "test_resnet.r160_in1k",
    "tf_efficientnet_lite0:stages,random/resnet10t": "tf_efficientnet_lite0:stages,random/test_resnet.r160_in1k",
}
"""Networks that are small or installed instead of those whose weights would have to be fetched."""

QUICKLY = {
    "zoo": ["--workers", "1"],
    "hybrids": ["--workers", "1"],
    "grid": ["--workers", "1"],
    "curve": ["--workers", "1"],
    "sweep": ["--workers", "1"],
    "leakage-demo": ["--workers", "1", "--repeats", "1"],
    "export": ["--check", "2"],
    "doctor": ["--offline"],
}
"""What is added to a command that would take long."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the place of `--dataset synthetic`."""
    return synthesize(tmp_path_factory.mktemp("drawn") / "synthetic", lesions=42, size=(64, 48))


@pytest.fixture
def home(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a reader works in: a workspace with the drawn data set, and photographs of their own."""
    shutil.copytree(drawn, tmp_path / "workspace" / "datasets" / "synthetic")
    (tmp_path / "photos").mkdir()
    rows = ["file,diagnosis,patient,age,sex"]
    for line in (drawn / "HAM10000_metadata.csv").read_text().splitlines()[1:]:
        lesion, image, label, _, age, sex, _ = line.split(",")
        folder = tmp_path / "photos" / "by_class" / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(drawn.rglob(f"{image}.jpg")), folder)
        rows.append(f"by_class/{label}/{image}.jpg,{label},{lesion},{age},{sex}")
    (tmp_path / "photos" / "moles.csv").write_text("\n".join(rows))
    (tmp_path / "weights").mkdir()
    save_file(timm.create_model("test_resnet.r160_in1k").state_dict(), tmp_path / "weights" / "resnet18.safetensors")
    for name, code in zip(("nets.py", "mine.py"), blocks("py"), strict=True):
        (tmp_path / name).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HAMCACHE_WORKSPACE", raising=False)
    return tmp_path


@pytest.fixture
def cluster() -> Iterator[str]:
    """The address of a Dask cluster."""
    quiet = {"dashboard_address": "127.0.0.1:0"}
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        host="127.0.0.1",
        dashboard_address=None,
        worker_dashboard_address="127.0.0.1:0",
        scheduler_kwargs=quiet,
    ) as cluster:
        yield cluster.scheduler_address


def stand_ins(line: str, home: Path, cluster: str) -> list[str]:
    """The words of a command, with what this test cannot have replaced."""
    runs = sorted(path.name for path in (home / "workspace" / "runs").glob("[a-z]*"))
    stores = sorted((home / "workspace" / "features" / "synthetic").glob("*/*.zarr"))
    names = {"tcp://127.0.0.1:8786": cluster, "split.folds=5": "split.folds=2", "40": "2", "200": "30", **HUB}
    if runs and stores:
        names |= {"RUN_A": runs[0], "RUN_B": runs[-1], "STORE_A": str(stores[0]), "STORE_B": stores[-1].stem[-10:]}
    names["RUN_ON_METADATA"] = next((run for run in runs if "+metadata" in run), "RUN_ON_METADATA")
    names["RUN_OWN"] = next((path.name for path in (home / "workspace" / "runs").glob("Centroid-*")), "RUN_OWN")
    names["SWEEP"] = next((path.name for path in (home / "workspace" / "sweeps").glob("[a-z]*")), "SWEEP")
    words = [names.get(word, word) for word in shlex.split(line)]
    return [*words, *QUICKLY.get(words[1], [])]


def run(words: list[str]) -> str:
    """Run one `hamcache` command in this process; returns what it printed."""
    out = io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(out),
        mock.patch.object(sys, "argv", words),
        pytest.raises(SystemExit) as exit_,
    ):
        main()
    assert not exit_.value.code, f"{shlex.join(words)}\n{out.getvalue()}"
    return out.getvalue()


def serve(words: list[str]) -> str:
    """Start the page as a process of its own, ask it for its list of runs, and end it as Ctrl-C does."""
    program = [sys.executable, "-m", "hamcache.pipeline.cli.app", *words[1:], "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout is not None
        printed = page.stdout.readline()
        try:
            (address,) = re.findall(r"http://127\.0\.0\.1:\d+", printed)
            with urlopen(f"{address}/api/runs") as answer:
                assert answer.status == 200
        finally:
            page.send_signal(signal.SIGINT)
        assert page.wait(60) == 0
    return printed


@pytest.mark.timeout(900)
def test_every_command_runs(home: Path, cluster: str) -> None:
    ours = [line for line in commands() if line.startswith("hamcache ")]
    assert len(ours) > 20
    printed = {}
    for line in ours:
        words = stand_ins(line, home, cluster)
        printed[line] = serve(words) if words[1] == "serve" else run(words)
    trained = [text for line, text in printed.items() if line.startswith("hamcache train")]
    assert all("majority class" in text for text in trained)
    for name in ("views.png", "runs.csv", "predictions.csv", "workspace/report.html"):
        assert (home / name).stat().st_size > 0
    for folder in ("features", "runs", "zoo", "hybrids", "sweeps", "grids", "datasets", "digests", "images"):
        assert f"`{folder}/" in README
        assert any((home / "workspace" / folder).iterdir()), folder
    for path in (home / "workspace").iterdir():
        name = f"{path.name}{'/' * path.is_dir()}"
        assert f"`{name}" in README, f"the README does not say what {name} in the workspace is"


def test_other_commands_are_make_targets_and_the_environment() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    others = [line for line in commands() if not line.startswith("hamcache ")]
    assert others
    for line in others:
        assert line == "source .venv/bin/activate" or line.removeprefix("make ") in targets, line
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert target in targets


def test_the_python_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert "p_holm" in capsys.readouterr().out
    assert len(list((home / "workspace" / "runs").iterdir())) == 2


def test_every_path_and_link_in_it_exists() -> None:
    tree = README.split("## The tree")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z]+)/` \|", tree, flags=re.MULTILINE)
    assert {"data", "cache", "extract", "heads", "pipeline", "configs", "tests"} <= set(listed)
    for folder in listed:
        assert (ROOT / folder).is_dir(), folder
    headings = {re.sub(r"[^a-z ]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.+)$", README, re.M)}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", README)) <= headings


def test_options_in_the_text_exist() -> None:
    text = re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE)
    offered = "".join(
        run(["hamcache", *name.split(), "--help"])
        for name in ("extract", "train", "zoo", "sweep", "download", "cache export", "evaluate", "predict", "runs show")
    )
    for option in set(re.findall(r"`(--[a-z-]+)", text)) - {"--help"}:
        assert option in offered, option
