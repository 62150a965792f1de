"""The README and the pages keep their word: every command and every line of Python runs, on a small drawn data set.

Commands run as they stand, each once, in the order of the pages and in one workspace, but for what `stand_ins`
replaces: backbones by tiny untrained ones, the address of a Dask cluster, names of runs, stores and sweeps, how much is
tried (of a data set this small), and one process instead of many where heads train in parallel. `hamcache serve`, which
does not end, is asked for its runs and then ended.
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
from tests.every_command import every_command

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    ROOT / "docs" / f"{name}.md"
    for tree in re.findall(r"```{toctree}\n(.*?)```", (ROOT / "docs" / "index.md").read_text("utf-8"), flags=re.DOTALL)
    for name in tree.split("\n\n")[1].split()
]
"""The pages of the site, in the order in which they are read."""

NETWORKS = {
    "tf_efficientnet_lite0": "random/test_resnet.r160_in1k",
    "tf_efficientnet_lite1": "random/test_vit.r160_in1k",
    "tf_efficientnet_lite2": "random/test_efficientnet.r160_in1k",
    "resnet34": "random/test_byobnet.r160_in1k",
    "torchvision/mobilenet_v3_small": "random/test_convnext.r160_in1k",
    "random/resnet10t": "random/test_vit2.r160_in1k",
    "resnet18": "test_resnet.r160_in1k",
}
"""Networks that are small and need no weights, instead of those that take long or whose weights would be fetched."""

SMALL = ["--features", "random/test_resnet.r160_in1k"]
LIKE_IT = ["--set", "net.backbone=random/test_resnet.r160_in1k", "--set", "net.image_size=[32,32]"]
IN_ONE = ["--workers", "1", "--no-plots"]
QUICKLY = {
    "extract --dataset": ["--backbones", "random/test_resnet.r160_in1k"],
    "extract --augmentations": ["--backbones", "random/test_byobnet.r160_in1k"],
    "train --config hybrid": [*SMALL, "--augmentation", "dihedral", "--views", "4"],
    "train --config simple_cnn": ["--set", "net.epochs=2"],
    "train --config finetune": LIKE_IT,
    "train --features": ["--no-plots"],
    "zoo": IN_ONE,
    "hybrids": IN_ONE,
    "grid": IN_ONE,
    "curve": IN_ONE,
    "study": [
        *(*IN_ONE, "--set"),
        "features.blocks=[{backbone: random/test_resnet.r160_in1k, augmentation: dihedral, views: 4}]",
    ],
    "sweep --config": [
        *("--workers", "1", "--set"),
        "features.blocks=[{backbone: random/test_resnet.r160_in1k, augmentation: dihedral, views: 4}]",
    ],
    "sweep --resume": ["--workers", "1"],
    "leakage-demo": ["--workers", "1", "--repeats", "1", *SMALL],
    "export": ["--check", "2"],
    "doctor": ["--offline"],
    "suggest-demo": ["--start", "8", "--count", "3", "--rounds", "2", "--repeats", "2"],
}
"""What is added to commands that begin so, since they would take long."""


def blocks(language: str, *documents: Path) -> list[str]:
    text = "".join(document.read_text(encoding="utf-8") for document in documents)
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(*documents: Path) -> list[str]:
    """Each command line of these documents, once."""
    lines = [line for block in blocks("bash", *documents) for line in block.replace("\\\n", " ").splitlines()]
    return list(dict.fromkeys(line.split("  #")[0].strip() for line in lines if line.strip()))


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
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, code in re.findall(r"This is `([\w/]+\.\w+)`:\n\n```(?:py|yaml)\n(.*?)```", text, flags=re.DOTALL):
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


def stand_in_networks(text: str) -> str:
    """The text with the names of small networks."""
    longest_first = "|".join(sorted(map(re.escape, NETWORKS), key=len, reverse=True))
    return re.sub(rf"(?<![\w/])({longest_first})(?![\w./])", lambda found: NETWORKS[found[1]], text)


def stand_ins(line: str, home: Path, cluster: str) -> list[str]:
    """The words of a command, with what this test cannot have replaced."""
    runs = sorted(path.name for path in (home / "workspace" / "runs").glob("[a-z]*"))
    stores = sorted((home / "workspace" / "features" / "synthetic").glob("*/*.zarr"))
    names = {"tcp://127.0.0.1:8786": cluster, "split.folds=5": "split.folds=2", "40": "2", "200": "30"}
    small = [run for run in runs if run.startswith("logreg-test_resnet-")]
    if stores:
        names |= {"STORE_A": str(stores[0]), "STORE_B": stores[-1].stem[-10:]}
    if small:
        names |= {"RUN_A": small[0], "RUN_B": runs[-1]}
    names["RUN_ON_METADATA"] = next((run for run in runs if "+metadata" in run), "RUN_ON_METADATA")
    names["RUN_OWN"] = next((path.name for path in (home / "workspace" / "runs").glob("Centroid-*")), "RUN_OWN")
    names["SWEEP"] = next((path.name for path in (home / "workspace" / "sweeps").glob("[a-z]*")), "SWEEP")
    words = [names.get(word, word) for word in shlex.split(line)]
    words = [stand_in_networks(word) for word in words]
    added = next((more for start, more in QUICKLY.items() if f"{line} ".startswith(f"hamcache {start} ")), [])
    return [*words, *added]


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
    ours = [line for line in commands(*PAGES, README) if line.startswith("hamcache ")]
    assert len(ours) > 50
    printed = {}
    for line in ours:
        words = stand_ins(line, home, cluster)
        printed[line] = serve(words) if words[1] == "serve" else run(words)
    trained = [text for line, text in printed.items() if line.startswith("hamcache train")]
    assert all("majority class" in text for text in trained)
    for name in ("views.png", "runs.csv", "predictions.csv", "workspace/report.html"):
        assert (home / name).stat().st_size > 0
    files = (ROOT / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
    for folder in ("features", "runs", "zoo", "hybrids", "sweeps", "studies", "grids", "datasets", "digests", "images"):
        assert f"`{folder}/" in files
        assert any((home / "workspace" / folder).iterdir()), folder
    for path in (home / "workspace").iterdir():
        name = f"{path.name}{'/' * path.is_dir()}"
        assert f"`{name}" in files, f"docs/reference/files.md does not say what {name} in the workspace is"


def test_other_commands_are_make_targets_and_the_environment() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    others = [line for line in commands(*PAGES, README) if not line.startswith("hamcache ")]
    assert others
    for line in others:
        assert line == "source .venv/bin/activate" or re.match(r"make ([a-z-]+)", line)[1] in targets, line
    for document in (*PAGES, README):
        for target in re.findall(r"`make ([a-z-]+)", document.read_text(encoding="utf-8")):
            assert target in targets


def test_the_python_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = set(blocks("python", ROOT / "docs" / "reference" / "python.md", README))
    exec(compile(stand_in_networks(code), "README.md", "exec"), {"__name__": "__main__"})
    assert "p_holm" in capsys.readouterr().out
    assert len(list((home / "workspace" / "runs").iterdir())) == 2


def test_every_folder_of_the_tree_exists() -> None:
    tree = README.read_text(encoding="utf-8").split("## The tree")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z]+)/` \|", tree, flags=re.MULTILINE)
    assert {"data", "cache", "extract", "heads", "pipeline", "configs", "tests"} <= set(listed)
    for folder in listed:
        assert (ROOT / folder).is_dir(), folder


def test_the_readme_leads_to_every_guide() -> None:
    guides = [page.relative_to(ROOT).as_posix() for page in PAGES if page.parent.name in ("guides", "own")]
    assert len(guides) > 12
    assert [page for page in guides if f"({page})" not in README.read_text(encoding="utf-8")] == []


def test_options_in_the_text_exist() -> None:
    offered = {
        name
        for _, command in every_command()
        for option in command.params
        for name in (*option.opts, *option.secondary_opts)
    }
    others = {"--help", "--quick", "--only", "--images", "--record"}  # of every command; of `make bench`
    for document in (*PAGES, README):
        text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        assert set(re.findall(r"`(?:hamcache [a-z -]*)?(--[a-z-]+)", text)) - others <= offered, document.name
