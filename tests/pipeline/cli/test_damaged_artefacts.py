"""Every kind of file of every kind of artefact, damaged in every way: each reader names the folder and goes on."""

import logging
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner, Result

from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.cli.endings import our_errors
from hamcache.pipeline.errors import DamagedError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.runs.artefacts import Kind
from hamcache.pipeline.runs.records import RUNS, load_run, read_run
from hamcache.pipeline.show.report.build import ReportSettings, build_report
from hamcache.pipeline.studies.experiments import run_all
from hamcache.pipeline.studies.grid.matrix import GRIDS, save_grid
from hamcache.pipeline.studies.leakage.outcome import DEMOS
from hamcache.pipeline.studies.sweeps.results import FINISHED, SWEEPS, new_sweep, write_summary
from hamcache.pipeline.studies.sweeps.resume import sweep_like
from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable
from hamcache.pipeline.use.serve.predictors import Predictors
from tests.pipeline.conftest import World, without_checksums
from tests.pipeline.studies.grid.test_grid import planned
from tests.pipeline.studies.leakage.test_measure import demonstrate

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2 + 1],
    "null": lambda content: b"null\n",
    "list": lambda content: b"[]\n",
    "object": lambda content: b"{}\n",
    "number": lambda content: b"17\n",
    "deep": lambda content: b"[" * 5_000 + b"]" * 5_000 + b"\n",
    "nan": lambda content: b'{"validation": {"mcc": NaN}}\n',
    "garbage": lambda content: bytes(range(256)) * 8,
    "folder": lambda content: None,
}
KINDS = {"runs": RUNS, "sweeps": SWEEPS, "grids": GRIDS, "leakage": DEMOS}
RECORDS = {"runs": "provenance.json", "sweeps": "summary.json", "grids": "grid.json", "leakage": "leakage.json"}
UNSEEN = {"cut": ("config.yaml", "sweep.yaml", "epochs.csv")}
"""Damages that are seen by a checksum only; so are all of files of a head that is not loaded, and of a matrix."""


def damage(path: Path, how: str) -> None:
    content = DAMAGES[how](path.read_bytes())
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def files_of(folder: Path) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != "log.txt" and not name.endswith((".png", ".svg")))


@pytest.fixture(scope="module")
def whole(make_world: Callable[[], World]) -> World:
    """A workspace with a run of each of two heads, one of them with folds, a sweep, a grid and a demonstration."""
    world = make_world()
    world.extract()
    run_experiment(world.config("head=lda"), world.workspace)
    run_experiment(world.config("head=nearest_centroid", "split.folds=2"), world.workspace)
    cells = planned(world, ["net_a"], ["none"])
    save_grid(cells, run_all([cell.experiment for cell in cells], world.workspace, workers=1), world.workspace)
    demonstrate(world, ["nearest_centroid"], seeds=1)
    yaml = world.workspace / "mine.yaml"
    yaml.write_text(
        f"experiment: {{dataset: {world.csv}, features: net_a, head: mlp}}\nspace:\n  head.lr: {{uniform: [0.1, 1]}}\n"
        "samples: 2\n"
    )
    sweep = new_sweep(load_sweep_config(yaml), world.workspace)
    table = TrialTable(sweep)
    for number in range(2):
        table.add(Trial(number, {"head.lr": 0.5 + number / 10}, FINISHED, 0.4, 3, 1.0, 0.1), [(1, 0.3), (2, 0.4)])
    write_summary(sweep, {"state": FINISHED, "data": "d", "trials": 2, "sessions": [], "final_run": None})
    return world


def copied(whole: World, target: Path) -> Workspace:
    shutil.copytree(whole.workspace.path, target, dirs_exist_ok=True)
    return Workspace(target)


def damaged_copy(folder: Path, file: str, how: str) -> Path:
    copy = folder.with_name(f"{folder.name}--{file.replace('/', '_')}--{how}")
    shutil.copytree(folder, copy)
    damage(copy / file, how)
    return copy


@pytest.mark.parametrize("sealed", [True, False], ids=["with checksums", "without"])
@pytest.mark.parametrize("home", KINDS)
def test_each_damage_is_known_by_folder_and_file(home: str, sealed: bool, whole: World, tmp_path: Path) -> None:
    kind: Kind = KINDS[home]
    for original in kind.folders(whole.workspace)[: None if sealed else 1]:
        folder = Path(shutil.copytree(original, tmp_path / original.name))
        if not sealed:
            without_checksums(folder, RECORDS[home])
        assert kind.read(folder).flaws() == []
        for file in files_of(folder):
            content = (folder / file).read_bytes()
            for how in DAMAGES if not sealed or file == RECORDS[home] else ("empty", "cut", "object", "folder"):
                only_by_checksum = file in UNSEEN.get(how, ()) or (
                    Path(file).name in ("head.json", "head.skops", "matrix.csv") and how not in ("empty", "folder")
                )
                if not sealed and (only_by_checksum or file == "matrix.csv"):
                    continue
                damage(folder / file, how)
                try:
                    flaws = kind.read(folder).flaws()
                except DamagedError as error:
                    flaws = [error]
                assert [flaw.file for flaw in flaws] == [file], (how, flaws)
                assert str(folder) in str(flaws[0]) and kind.noun in str(flaws[0])
                shutil.rmtree(folder / file) if (folder / file).is_dir() else (folder / file).unlink()
                (folder / file).write_bytes(content)


@pytest.fixture(scope="module")
def damaged(whole: World, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same workspace with, beside what is whole, an artefact for every file, each with another damage."""
    workspace = copied(whole, tmp_path_factory.mktemp("damaged"))
    damages = cycle(DAMAGES)
    for home in ("runs", "sweeps", "grids"):
        for folder in KINDS[home].folders(workspace):
            for file in files_of(folder):
                damaged_copy(folder, file, next(damages))
    return workspace


def called(workspace: Workspace, *words: str) -> tuple[Result, str]:
    """A command's result and all its words, warnings included; it has ended in no traceback."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("hamcache").addHandler(handler)
    try:
        result = CliRunner().invoke(app, [*words, "--workspace", str(workspace)])
    finally:
        logging.getLogger("hamcache").removeHandler(handler)
    error = result.exception
    assert error is None or isinstance(error, (SystemExit, OSError, *our_errors())), (words, repr(error))
    return result, "\n".join([*lines, result.output, str(error or "")])


def copies(workspace: Workspace, home: str) -> list[Path]:
    return [folder for folder in KINDS[home].folders(workspace) if "--" in folder.name]


def originals(workspace: Workspace, home: str) -> list[Path]:
    return [folder for folder in KINDS[home].folders(workspace) if "--" not in folder.name]


@pytest.mark.parametrize("home", ["runs", "sweeps", "grids"])
def test_lists_show_what_is_whole_and_verify_names_the_rest(damaged: Workspace, home: str) -> None:
    result, text = called(damaged, home, "verify")
    assert result.exit_code == 1
    assert all(folder.name in text for folder in copies(damaged, home))
    result, text = called(damaged, home)
    assert result.exit_code == 0
    assert all(folder.name in text for folder in originals(damaged, home))
    result, text = called(damaged, home, "verify", *(folder.name for folder in originals(damaged, home)))
    assert result.exit_code == 0 and "nothing wrong" in text


def test_a_damaged_run_that_is_asked_for_is_one_message(damaged: Workspace) -> None:
    other = originals(damaged, "runs")[0].name
    commands = cycle((lambda run: ("predict", run, "photo.jpg"), lambda run: ("export", run)))
    for folder in copies(damaged, "runs"):
        for words in (("runs", "show", folder.name), next(commands)(folder.name)):
            result, text = called(damaged, *words)
            assert result.exit_code == 1 and str(folder) in text, (words, text)
        result, text = called(damaged, "compare", folder.name, other, "--resamples", "100")
        assert result.exit_code == 0 or str(folder) in text or "Expected runs" in text, text
    run = read_run(next(folder for folder in copies(damaged, "runs") if "head.skops" in folder.name))
    with pytest.raises(DamagedError, match=r"is not a whole run: head\.skops"):
        Predictors(damaged).get(run)
    with pytest.raises(DamagedError, match=r"is not a whole run: head\.skops"):
        run.load_head()


def test_a_damaged_sweep_is_not_gone_on_with(damaged: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    for folder in copies(damaged, "sweeps"):
        result, text = called(damaged, "sweep", "--resume", folder.name)
        assert result.exit_code == 1 and str(folder) in text, text
    (sweep,) = (SWEEPS.read(folder) for folder in originals(damaged, "sweeps"))
    found = sweep_like(sweep.settings, "d", damaged)
    assert found is not None and found.id == sweep.id


def test_a_report_names_what_it_leaves_out(damaged: Workspace, tmp_path: Path) -> None:
    with mock.patch("hamcache.pipeline.show.report.build.pictures_of", lambda runs: ((run, {}) for run in runs)):
        made = build_report([], damaged, tmp_path / "page.html", ReportSettings(gallery=0, resamples=100))
    text = made.path.read_text()
    for home in ("runs", "sweeps", "grids"):
        for folder in copies(damaged, home):
            assert folder.name in text and folder.name in made.left_out, folder.name


def test_a_damaged_run_is_not_found_again_but_made_anew(whole: World, tmp_path: Path) -> None:
    workspace, config = copied(whole, tmp_path), whole.config("head=lda")
    first = run_experiment(config, workspace)
    assert first.reused
    for file in ("head.skops", "predictions.csv", "metrics.json"):
        damage(first.folder / file, "cut")
        again = run_experiment(config, workspace)
        assert not again.reused and again.id != first.id and again.metrics == first.metrics
        assert run_experiment(config, workspace).id == again.id
        first = again


def test_files_of_another_run_are_noticed_and_those_added_later_are_not(whole: World, tmp_path: Path) -> None:
    workspace = copied(whole, tmp_path)
    folders = {folder.name.split("-")[0]: folder for folder in originals(workspace, "runs")}
    other = run_experiment(whole.config("head=lda", "seed=1"), workspace)
    for file in files_of(folders["lda"]):
        own = (folders["lda"] / file).read_bytes()
        if own == (other.folder / file).read_bytes():
            continue
        shutil.copy(other.folder / file, folders["lda"] / file)
        with pytest.raises(DamagedError, match="changed since, or is another"):
            load_run(folders["lda"].name, workspace).checked()
        assert called(workspace, "runs", "verify", folders["lda"].name)[0].exit_code == 1
        (folders["lda"] / file).write_bytes(own)
    (folders["lda"] / "plots").mkdir()
    (folders["lda"] / "plots" / "roc.png").write_bytes(b"a picture")
    (folders["lda"] / "notes.txt").write_text("mine")
    (folders["lda"] / "log.txt").open("a").write("more\n")
    named = folders["lda"].rename(folders["lda"].with_name("my favourite"))
    assert load_run(named, workspace).flaws() == []


def test_tables_of_another_sweep_or_grid_are_noticed(whole: World, tmp_path: Path) -> None:
    workspace = copied(whole, tmp_path)
    for home, file in (("sweeps", "trials.csv"), ("grids", "scores.csv"), ("leakage", "leakage.csv")):
        (folder,) = originals(workspace, home)
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace("0.", "0.0", 1))
        with pytest.raises(DamagedError, match=file):
            KINDS[home].read(folder).checked()
