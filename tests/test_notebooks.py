"""The notebooks run from top to bottom on a data set that their one variable names, and are stored without outputs.

What takes long, the features of two backbones, is extracted once, whatever the number of test processes; each notebook
then works in a copy of that workspace. A notebook that is added is tested as well.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from hamcache.data.synthetic.collection import synthesize
from hamcache.lab import Lab

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEUTRAL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
DATASET = re.compile(r'^DATASET = "synthetic".*$', flags=re.MULTILINE)

CHECKS = {
    "data_exploration": """
        assert abs(shares.sum() - 100).max() < 1e-6 and (classes["groups"] <= classes["images"]).all()
        assert several == 0 and 0.1 < leaked.mean() < 0.7
        assert set(frame["part"]) == {"train", "validation", "test"}
    """,
    "feature_cache": """
        assert (first.n_decoded, first.n_written, again.n_decoded, again.n_written) == (48, 96, 0, 0)
        assert (more.n_written, more.n_reused, mended.n_written, mended.n_reused) == (96, 96, 48, 144)
        assert whole.n_decoded == 0 and plain.shape == (len(images), 1280) and forwards == backwards
        assert np.array_equal(before, few.features(BACKBONE, "dihedral", views=4))
    """,
    "experiment_analysis": """
        assert 0.2 < mlp.metrics["validation"]["mcc"] <= 1 and 0.2 < logreg.metrics["validation"]["mcc"] <= 1
        assert "test" not in mlp.metrics and mlp.baseline("validation")["mcc"] == 0
        assert pair["low"] <= pair["difference"] <= pair["high"]
        accuracy = mlp.metrics["validation"]["accuracy"]
        assert len(mistakes) == round((1 - accuracy) * len(frame)) and mistakes["confidence"].is_monotonic_decreasing
    """,
    "hybrid": """
        assert list(runs) == [BACKBONES[0], BACKBONES[1], both] and list(adds["backbone"]) == BACKBONES
        assert all(run.metrics["validation"]["mcc"] > 0.1 for run in runs.values())
        assert independent.config.features.views.pairing == "independent" and independent.id != runs[both].id
        assert average.config.head.name == "average" and len(found.pairs) == 3
    """,
    "study": """
        assert [row.name for row in result.rows] == [row.name for row in study.study.rows] and not result.failed
        assert [run.id for run in again.runs()] == [run.id for run in result.runs()]
        assert all(run.reused for run in again.runs())
        assert table.frame["extraction"].iloc[1:].min() > 0 and list(rows) and len(adds) == 2
    """,
    "tune_analysis": """
        ended = sweep.trials[sweep.trials["state"] == "finished"]
        assert len(sweep.trials) == 16 and set(sweep.trials["state"]) <= {"finished", "stopped"}
        assert sweep.best["mcc"] == ended["mcc"].max() > 0.2 and by_state["trials"].sum() == 16
        assert abs(final.metrics["validation"]["mcc"] - sweep.best["mcc"]) < 1e-3
        assert "test" in final.metrics and "test" not in default.metrics
    """,
}
"""What must hold of the variables a notebook ends with."""


def name_of(path: Path) -> str:
    return path.stem


def read(path: Path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the features that notebooks share, and beside it the data set; made by one test process."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "notebooks"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            unfinished = folder.with_name("notebooks.unfinished")
            synthesize(unfinished / "moles", lesions=63, size=(128, 96), difficulty=0)
            lab = Lab(unfinished / "moles", unfinished / "workspace")
            lab.extract(["tf_efficientnet_lite0", "tf_efficientnet_lite1"], "dihedral", 4)
            unfinished.rename(folder)
    return folder


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[Config]:
    """Kernels are this interpreter, talk through sockets in a folder of their own, and read no settings of the user."""
    with tempfile.TemporaryDirectory(prefix="nb") as home:  # a short name, as sockets need
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (Path(home) / "kernels" / "python3").mkdir(parents=True)
        spec = {"argv": command, "display_name": "Python 3", "language": "python"}
        (Path(home) / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
        for name in ("JUPYTER_PATH", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"):
            monkeypatch.setenv(name, home)
        yield Config({"KernelManager": {"transport": "ipc", "ip": f"{home}/kernel"}})  # sockets `kernel-1`, ...


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_it_runs_on_the_data_set_its_one_variable_names(
    path: Path, prepared: Path, kernels: Config, tmp_path: Path
) -> None:
    workspace, notebook = tmp_path / "workspace", read(path)
    shutil.copytree(prepared / "workspace", workspace)
    first = code_cells(notebook)[0]
    first.source = DATASET.sub(f"DATASET = {str(prepared / 'moles')!r}", first.source)
    notebook.cells.append(nbformat.v4.new_code_cell(re.sub(r"^ +", "", CHECKS.get(path.stem, ""), flags=re.MULTILINE)))

    client = NotebookClient(
        notebook,
        timeout=300,
        startup_timeout=300,
        kernel_name="python3",
        config=kernels,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env={**os.environ, "HAMCACHE_WORKSPACE": str(workspace), "LOKY_MAX_CPU_COUNT": "1"})

    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) >= 2
    assert not (workspace / "datasets").exists()  # nothing was drawn: `synthetic` stands nowhere else


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_it_is_stored_without_outputs_in_a_neutral_form(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook, indent=1) + "\n"
    assert (notebook.nbformat, notebook.metadata) == (4, NEUTRAL)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
    assert all(cell.metadata == {} for cell in notebook.cells)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_it_is_short_and_says_what_it_shows(path: Path) -> None:
    notebook = read(path)
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert 8 <= len(notebook.cells) <= 20 and path.stat().st_size < 30_000
    assert prose[0].startswith("# ")
    assert len(DATASET.findall(code_cells(notebook)[0].source)) == 1


def test_there_are_notebooks_and_a_check_for_each_of_ours() -> None:
    assert set(CHECKS) <= {path.stem for path in NOTEBOOKS}
