"""Whole sweeps on real Ray clusters: killed, interrupted, gone on with, finalised."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import yaml
from typer.testing import CliRunner

from hamcache.data.files import write_json
from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli.app import app
from hamcache.pipeline.runs.records import all_runs
from hamcache.pipeline.studies.sweeps import ray_cluster as clusters
from hamcache.pipeline.studies.sweeps.ray_cluster import PREFIX, ray_cluster, sweep_up
from hamcache.pipeline.studies.sweeps.recorder import Recorder
from hamcache.pipeline.studies.sweeps.results import SweepError, all_sweeps, load_sweep, new_sweep, write_summary
from hamcache.pipeline.studies.sweeps.resume import stopping_rule
from hamcache.pipeline.studies.sweeps.sweep_config import SweepConfig
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable
from hamcache.pipeline.studies.sweeps.tuning import finalize, run_sweep
from hamcache.pipeline.studies.sweeps.watch import Watcher

ROOT = Path(__file__).parents[3]
HEADS = [{"name": "random_forest"}, {"name": "extra_trees"}]  # slow enough to be killed, and without torch's import
SPACE = {
    "features": {"choice": ["net_a", "net_a+net_b"]},
    "head": {"choice": HEADS},
    "head.n_estimators": {"int": [300, 500]},
    "head.max_features": {"uniform": [0.2, 0.9], "when": {"head": HEADS[0]}},
}
ENOUGH = 12


class Notes(Watcher):
    """Remembers which trials were started."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def started(self, number, point) -> None:
        self.numbers.append(number)


def started(path: Path, world, home: Path, *words: str) -> subprocess.Popen:
    """A sweep in a process of its own, whose home folder is empty."""
    command = [sys.executable, "-m", "hamcache.pipeline.cli.app", "sweep", *words, "--workspace", str(world.workspace)]
    environment = {**os.environ, "HOME": str(home), "OMP_NUM_THREADS": "1"}
    with path.open("w") as out:
        return subprocess.Popen(
            command,
            env=environment,
            cwd=path.parent,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job behind a script ignores it
        )


def wait_for_trials(process: subprocess.Popen, world, number: int) -> pd.DataFrame:
    """The table of the only sweep, once it has so many rows."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        sweeps = all_sweeps(world.workspace)
        if sweeps and len(sweeps[0].trials) >= number:
            return sweeps[0].trials
        time.sleep(0.05)
    raise AssertionError(f"the sweep did not get so far (exit code {process.poll()})")


def leftovers(pid: int) -> list[str]:
    """Processes and folders of the Ray that a process had started."""
    mark = f"{PREFIX}{pid}-"
    running = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(mark in word for word in process.cmdline()):
                running.append(process.name())
        except psutil.Error:
            continue
    return running + [path.name for path in Path(tempfile.gettempdir()).glob(f"{mark}*")]


def test_interrupted_and_killed_a_sweep_loses_only_what_was_in_flight(world, sweep_of, cluster, tmp_path: Path) -> None:
    for name in ("net_a", "net_b"):
        world.extract(name)
    settings = sweep_of(SPACE, samples=ENOUGH, stopping="none")
    home = tmp_path / "home"
    home.mkdir()

    first = started(tmp_path / "out1.txt", world, home, "--config", str(tmp_path / "mine.yaml"), "--workers", "1")
    wait_for_trials(first, world, 1)
    first.send_signal(signal.SIGINT)
    assert first.wait(60) == 130 and "Trials that ended are kept" in (tmp_path / "out1.txt").read_text()
    assert leftovers(first.pid) == []
    (sweep,) = all_sweeps(world.workspace)
    after_interrupt = sweep.trials
    assert sweep.summary["state"] == "interrupted" and 1 <= len(after_interrupt) < ENOUGH

    second = started(tmp_path / "out2.txt", world, home, "--resume", sweep.id, "--workers", "1")
    after_kill = wait_for_trials(second, world, len(after_interrupt) + 2)
    os.killpg(second.pid, signal.SIGKILL)
    second.wait(60)
    after_kill = load_sweep(sweep.id, world.workspace).trials
    assert len(after_kill) < ENOUGH
    sweep_up()
    assert not list(Path(tempfile.gettempdir()).glob(f"{PREFIX}{second.pid}-*"))

    notes = Notes()
    done = run_sweep(settings, world.workspace, workers=2, ray_address=cluster, watcher=notes)
    assert done.id == sweep.id and done.summary["state"] == "finished"
    pd.testing.assert_frame_equal(done.trials.iloc[: len(after_kill)], after_kill)
    assert sorted(done.trials["trial"]) == list(range(ENOUGH)) and not done.trials.duplicated(list(SPACE)).any()
    assert len(notes.numbers) == ENOUGH - len(after_kill) and not set(notes.numbers) & set(after_kill["trial"])
    assert set(done.trials["state"]) == {"finished"}
    assert [session["trials"] > 0 for session in done.summary["sessions"]] == [True] * 3
    assert sum(session["trials"] for session in done.summary["sessions"]) == ENOUGH
    assert 0 < done.summary["overhead"]["median"] < done.summary["seconds"]

    last = started(tmp_path / "out3.txt", world, home, "--config", str(tmp_path / "mine.yaml"))
    assert last.wait(120) == 0 and "history.png" in (tmp_path / "out3.txt").read_text()
    assert load_sweep(sweep.id, world.workspace).summary == done.summary and len(all_sweeps(world.workspace)) == 1
    assert list(home.iterdir()) == []


def test_a_finished_sweep_is_found_and_its_best_is_tested_once(
    world, sweep_of, cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.extract("net_a", "flip", 2)
    blocks = [{"backbone": "net_a", "augmentation": "flip", "views": 2}]
    experiment = {
        "features": {"blocks": blocks},
        "head": {"name": "mlp", "max_epochs": 9, "patience": 9},
        "tau": "auto",
    }
    space = {
        "head.hidden": {"choice": [[], [8]]},
        "head.lr": {"choice": [1e-3, 1e-1, 1e30]},
        "features.views.train": {"grid": ["random"]},
    }
    sweep_of(space, experiment=experiment, name="grid")
    words = ["sweep", "--config", str(tmp_path / "mine.yaml"), "--workspace", str(world.workspace)]
    words += ["--search", "grid", "--objective", "f1"]
    result = CliRunner().invoke(app, [*words, "--ray-address", cluster, "--workers", "1"])
    assert result.exit_code == 0, result.output
    (sweep,) = all_sweeps(world.workspace)
    assert sweep.objective == "weighted_f1" and sweep.summary["exhausted"]
    assert len(sweep.trials) == 6 and list(sweep.trials["state"]).count("failed") == 2
    assert "FAILED: MetricError: Expected finite probabilities" in result.output
    assert "Traceback" not in result.output
    assert "Traceback" in (sweep.folder / "log.txt").read_text()
    assert {path.name for path in sweep.folder.iterdir()} == {
        *("sweep.yaml", "trials.csv", "epochs.csv", "summary.json", "log.txt"),
        *("history.png", "parallel.png"),  # too few trials for importance.png
    }
    assert all_runs(world.workspace) == []

    monkeypatch.setattr(
        "hamcache.pipeline.studies.sweeps.tuning.read_shared", lambda *_: pytest.fail("features were read again")
    )
    before = (sweep.folder / "trials.csv").stat().st_mtime_ns
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 0, again.output
    assert (sweep.folder / "trials.csv").stat().st_mtime_ns == before and len(all_sweeps(world.workspace)) == 1

    final = CliRunner().invoke(app, ["sweep", "--resume", sweep.id, "--finalize", "--workspace", str(world.workspace)])
    assert final.exit_code == 0, final.output
    (run,) = all_runs(world.workspace)
    best = load_sweep(sweep.id, world.workspace)
    assert best.final_run == run.id and run.config == best.best_config and run.provenance["test_opened"]
    assert run.metrics["validation"]["weighted_f1"] == pytest.approx(best.best["weighted_f1"], abs=1e-9)
    assert finalize(best, world.workspace).id == run.id and len(all_runs(world.workspace)) == 1
    more = best.settings.model_copy(update={"samples": 30, "search": "random"})
    with pytest.raises(SweepError, match=f"finalised as run {run.id}"):
        run_sweep(more, world.workspace, sweep=_unexhausted(best))


def _unexhausted(sweep):
    """The same sweep, as if its space were not at its end."""
    write_summary(sweep, sweep.summary | {"exhausted": False})
    return load_sweep(sweep.folder, Workspace(sweep.folder.parents[1]))


def test_if_all_trials_fail_so_does_the_sweep(world, sweep_of, cluster) -> None:
    world.extract()
    experiment = {"features": "net_a", "head": {"name": "average", "heads": [{"name": "logreg", "blocks": ["nobody"]}]}}
    settings = sweep_of({"head.each": {"choice": [{"name": "lda"}, {"name": "knn"}]}}, experiment=experiment, samples=2)
    with pytest.raises(SweepError, match=r"one of 2 trials to finish, all failed; trial \d: .*nobody"):
        run_sweep(settings, world.workspace, ray_address=cluster, workers=1)
    (sweep,) = all_sweeps(world.workspace)
    assert sweep.summary["failed"] == 2 and sweep.summary["best"] is None
    with pytest.raises(SweepError, match="no finished trial"):
        finalize(sweep, world.workspace)
    with pytest.raises(SweepError, match="all failed"):
        run_sweep(settings, world.workspace)


def test_killed_after_its_last_trial_a_sweep_is_finished_all_the_same(world, sweep_of) -> None:
    world.extract()
    space = {"head.C": {"choice": [0.1, 0.2]}}
    settings = sweep_of(space, experiment={"features": "net_a", "head": "logreg"}, samples=1)
    sweep = new_sweep(settings, world.workspace)
    TrialTable(sweep).add(Trial(0, {"head.C": 0.2}, "finished", 0.5, 0, 1.0, None), [])
    with pytest.raises(SweepError, match="not finished, so its best trial is not known"):
        finalize(sweep, world.workspace)
    done = run_sweep(settings, world.workspace, sweep=sweep)
    assert done.summary["state"] == "finished" and done.summary["best"] == {"trial": 0, "mcc": 0.5}
    run = finalize(done, world.workspace)
    assert run.config.head.params["C"] == 0.2 and load_sweep(sweep.id, world.workspace).final_run == run.id


def test_a_net_is_swept_from_the_images(
    make_ham10000: Callable[..., Path], workspace: Workspace, tmp_path: Path, cluster
) -> None:
    folder = make_ham10000(tmp_path / "ham")
    words = ["sweep", "--config", "cnn", "--dataset", str(folder), "--samples", "2", "--workspace", str(workspace)]
    small = ["--set", "net.image_size=[16, 24]", "--set", "net.epochs=2", "--set", "net.precision=fp32"]
    result = CliRunner().invoke(app, [*words, *small, "--ray-address", cluster, "--workers", "1", "--finalize"])
    assert result.exit_code == 0, result.output
    (sweep,) = all_sweeps(workspace)
    (run,) = all_runs(workspace)
    assert (sweep.trials["epochs"] == 2).all() and sweep.final_run == run.id
    assert run.metrics["validation"]["weighted_f1"] == pytest.approx(sweep.best["weighted_f1"], abs=1e-6)
    assert not (workspace / "checkpoints").exists() or not list((workspace / "checkpoints").iterdir())


def test_a_sweep_of_other_data_is_not_gone_on_with(own_world, sweep_of) -> None:

    own_world.extract()
    settings = sweep_of(
        {"head.C": {"uniform": [0.1, 1]}},
        f"dataset={own_world.csv}",
        experiment={"features": "net_a", "head": "logreg"},
    )
    sweep = new_sweep(settings, own_world.workspace)
    write_json(sweep.folder / "summary.json", {"data": "0" * 64, "state": "interrupted"})
    with pytest.raises(SweepError, match="other images or features"):
        run_sweep(settings, own_world.workspace, sweep=load_sweep(sweep.id, own_world.workspace))


def test_an_address_without_a_cluster_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)

    def refuse(**_: object) -> None:
        raise ConnectionError("nobody\nanswers")

    monkeypatch.setattr("ray.init", refuse)
    with (
        pytest.raises(SweepError, match=r"at .127\.0\.0\.1:9., but cannot connect: ConnectionError: nobody answers"),
        ray_cluster(1, 0, "127.0.0.1:9"),
    ):
        pass
    assert dict(os.environ) == before
    assert leftovers(os.getpid()) == []


@pytest.mark.parametrize(
    "words",
    [[], ["--config", "mlp", "--resume", "x"], ["--resume", "x", "--set", "seed=1"], ["--resume", "x", "--seed", "0"]],
)
def test_settings_that_contradict_each_other_are_wrong_usage(words: list[str], workspace: Workspace) -> None:
    assert CliRunner().invoke(app, ["sweep", *words, "--workspace", str(workspace)]).exit_code == 2
    result = CliRunner().invoke(app, ["sweep", "--config", "mlp", "--search", "hyperopt"])
    assert result.exit_code == 2 and "hyperopt" in result.output


def test_a_worker_that_dies_twice_costs_its_trial_only(world, sweep_of) -> None:
    world.extract()
    settings = sweep_of({"head.C": {"choice": [0.1, 0.2]}}, experiment={"features": "net_a", "head": "logreg"})
    table = TrialTable(new_sweep(settings, world.workspace))
    recorder = Recorder(all_sweeps(world.workspace)[0], table, "0" * 64, Watcher())
    config = {"number": 3, "point": {"head.C": 0.2}}
    dead = SimpleNamespace(config=config, last_result=None, get_error=lambda: None)
    recorder.on_trial_error(0, [], dead)
    assert recorder.take_dead() == {3: {"head.C": 0.2}} and recorder.take_dead() == {}
    recorder.on_trial_error(0, [], dead)
    last = {"epoch": 2, "score": 0.5, "last": False, "seconds": 1.5, "overhead": 0.1}
    gone = SimpleNamespace(config=config | {"number": 4}, last_result=last, get_error=lambda: OSError("no\nspace"))
    recorder.on_trial_error(0, [], gone)
    assert table.trials == []  # had Ray itself died now, neither would be to blame
    recorder.keep_dead()
    (sweep,) = all_sweeps(world.workspace)
    assert list(sweep.trials["state"]) == ["failed", "failed"] and sweep.trials["mcc"].isna().all()
    assert "most often for lack of memory" in sweep.trials["error"][0]
    assert sweep.trials["error"][1] == "OSError: no space" and list(sweep.trials["epochs"]) == [0, 2]
    assert sweep.summary["failed"] == 2 and "no\nspace" in (sweep.folder / "log.txt").read_text()


def test_a_trial_whose_worker_dies_once_is_begun_once_more(world, sweep_of, tmp_path: Path) -> None:
    world.extract()
    killer, flag = tmp_path / "killer.py", tmp_path / "killed"
    settings = sweep_of({"head.C": {"choice": [0.1, 0.2]}}, experiment={"features": "net_a", "head": "logreg"})
    killer.write_text(KILLER.format(flag=str(flag)), encoding="utf-8")
    (tmp_path / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    words = [sys.executable, str(killer), str(tmp_path / "settings.yaml"), str(world.workspace)]
    subprocess.run(words, check=True, timeout=240)
    (sweep,) = all_sweeps(world.workspace)
    assert flag.exists() and list(sweep.trials["state"]) == ["finished", "finished"]


KILLER = """
import os, sys
from pathlib import Path
from hamcache.data.workspace import Workspace
from hamcache.pipeline.studies.sweeps import tuning
from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config

def trial(config, held):
    from hamcache.pipeline.studies.sweeps.trial import ray_trial
    try:
        os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return ray_trial(config, held)
    os.kill(os.getpid(), 9)

tuning.ray_trial = trial
tuning.run_sweep(load_sweep_config(Path(sys.argv[1])), Workspace(Path(sys.argv[2])), workers=1)
"""


def test_a_part_of_ray_that_dies_interrupts_the_sweep_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    part = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(clusters, "_head", lambda: [psutil.Process(part.pid)])
    lost, before = Event(), signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), clusters._watched(lost):
        part.kill()
        time.sleep(20)
    assert lost.is_set() and signal.getsignal(signal.SIGINT) == before
    part.wait()


def test_what_ray_tells_of_its_parts_is_kept_from_the_screen(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from ray._private import worker
from hamcache.pipeline.studies.sweeps.ray_cluster import _core_aside
aside = _core_aside(Path(sys.argv[1]))
os.write(2, b"core\\n"); print("within", file=sys.stderr)
news = {"lines": ["Raylet is terminated, 20 lines of its log:"], "pid": "raylet", "is_err": False}
worker.print_to_stdstream(news, ignore_prefix=False)
aside.close()
os.write(2, b"after\\n"); print("and Python", file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "log")], capture_output=True, text=True, check=True
    )
    assert (
        done.stderr.split("\n")[:3] == ["within", "after", "and Python"] and (tmp_path / "log").read_text() == "core\n"
    )
    assert not done.stdout


def test_asha_knows_how_earlier_trials_stood(world, sweep_of) -> None:
    from hamcache.pipeline.studies.sweeps.search import SCORE

    settings = sweep_of(
        {"head.lr": {"loguniform": [1e-3, 1e-1]}}, experiment={"features": "a", "head": "mlp"}, grace=2, reduction=2
    )
    table = TrialTable(new_sweep(settings, world.workspace))
    for number, score in enumerate((0.2, 0.5, 0.6, 0.7)):
        table.add(Trial(number, {"head.lr": 0.01}, "finished", score, 2, 1.0, 0.1), [(1, 0.0), (2, score)])

    def verdict(table: TrialTable, score: float) -> str:
        asha, trial = stopping_rule(settings, table), SimpleNamespace(trial_id="new")
        asha.on_trial_add(None, trial)
        return asha.on_trial_result(None, trial, {"epoch": 2, SCORE: score})

    assert (verdict(table, 0.5), verdict(table, 0.65)) == ("STOP", "CONTINUE")
    table.epochs.clear()
    assert verdict(table, 0.5) == "CONTINUE"
    assert stopping_rule(SweepConfig(**(settings.model_dump() | {"stopping": "none"})), table) is None


def test_the_yaml_in_a_sweeps_folder_is_a_configuration_again(world, sweep_of, tmp_path: Path) -> None:
    from hamcache.pipeline.studies.sweeps.sweep_config import load_sweep_config

    settings = sweep_of(SPACE)
    sweep = new_sweep(settings, world.workspace)
    again = load_sweep_config(sweep.folder / "sweep.yaml")
    assert again == settings and yaml.safe_load((sweep.folder / "sweep.yaml").read_text())["name"] == "mine"
