from datetime import datetime
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest

from hamcache.data.files import write_json
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import ArtefactInUseError, ArtefactNotFoundError, DamagedError
from hamcache.pipeline.runs.artefacts import held
from hamcache.pipeline.studies.sweeps.results import (
    FAILED,
    FINISHED,
    STOPPED,
    SweepError,
    all_sweeps,
    load_sweep,
    new_sweep,
    read_sweep,
)
from hamcache.pipeline.studies.sweeps.search import Known
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable

SPACE = {
    "head.hidden": {"choice": [[], [8]]},
    "head.loss": {"choice": ["cross_entropy", "focal"]},
    "head.loss_params.gamma": {"uniform": [0.5, 3], "when": {"head.loss": "focal"}},
    "head.batch_size": {"int": [16, 64]},
    "tau": {"choice": [None, "auto"]},
}
CE = {"head.hidden": [], "head.loss": "cross_entropy", "head.batch_size": 16, "tau": None}
FOCAL = {
    "head.hidden": [8],
    "head.loss": "focal",
    "head.loss_params.gamma": 1 / 3 + 1,
    "head.batch_size": 64,
    "tau": "auto",
}
TRIALS = [
    Trial(0, CE, FINISHED, 0.1 + 0.2, 7, 1.5, None),
    Trial(2, FOCAL, STOPPED, 0.1, 2, 0.5, 0.03),
    Trial(1, CE | {"head.batch_size": 17}, FAILED, None, 0, 0.1, 0.02, 'TypeError: a, "b"\n; 名'),
]


@pytest.fixture
def settings(sweep_of):
    return sweep_of(SPACE, experiment={"features": "a", "head": "mlp"})


def filled(settings, workspace: Workspace, trials=TRIALS):
    sweep = new_sweep(settings, workspace)
    table = TrialTable(sweep)
    for trial in trials:
        table.add(trial, [(1, 0.05), (2, 0.1)])
    return read_sweep(sweep.folder)


def test_trials_come_back_as_they_were(settings, workspace: Workspace) -> None:
    sweep = filled(settings, workspace)
    assert TrialTable(sweep).trials == TRIALS
    assert list(sweep.trials.columns) == ["trial", "state", "mcc", "epochs", "seconds", "overhead", "error", *SPACE]
    assert [sweep.point(row) for _, row in sweep.trials.iterrows()] == [trial.point for trial in TRIALS]
    assert sweep.trials["mcc"].iloc[0] == 0.1 + 0.2
    assert list(sweep.epochs["trial"]) == [0, 0, 2, 2, 1, 1]
    assert sweep.settings == settings


def test_a_search_learns_what_became_of_them(settings, workspace: Workspace) -> None:
    table = TrialTable(filled(settings, workspace))
    assert table.known() == [Known(CE, 0.1 + 0.2), Known(FOCAL, 0.1, 2), Known(TRIALS[2].point, None)]
    assert list(islice(TrialTable(filled(settings, workspace, TRIALS[1:2])).free_numbers(), 3)) == [0, 1, 3]


@pytest.mark.parametrize(("objective", "best"), [("mcc", 3), ("nll", 0)])
def test_the_best_is_a_finished_trial_by_the_objective(
    objective: str, best: int, sweep_of, workspace: Workspace
) -> None:
    settings = sweep_of(SPACE, f"objective={objective}", experiment={"features": "a", "head": "mlp"})
    more = [
        Trial(3, FOCAL, FINISHED, 0.5, 7, 1.5, 0.1),
        Trial(4, CE, FINISHED, 0.5, 7, 1.5, 0.1),
        Trial(5, CE, STOPPED, {"mcc": 0.9, "nll": 0.01}[objective], 7, 1.5, 0.1),
    ]
    sweep = filled(settings, workspace, TRIALS + more)
    assert sweep.best["trial"] == best
    assert sweep.best_config == settings.config_at(dict(enumerate([CE, 0, 0, FOCAL]))[best])
    assert list(sweep.ranking["trial"]) == ([3, 4, 0] if best == 3 else [0, 3, 4])
    sign = -1 if objective == "nll" else 1
    assert TrialTable(sweep).known()[0].score == sign * (0.1 + 0.2)


def test_without_a_finished_trial_there_is_no_best(settings, workspace: Workspace) -> None:
    assert new_sweep(settings, workspace).trials.empty
    with pytest.raises(SweepError, match="no finished trial; go on with `hamcache sweep --resume"):
        _ = filled(settings, workspace, TRIALS[1:]).best


def test_sweeps_are_found_by_id_beginning_and_folder(settings, sweep_of, workspace: Workspace) -> None:
    first = new_sweep(settings, workspace, datetime(2026, 1, 2))
    other = sweep_of(SPACE, experiment={"features": "a", "head": "mlp"}, name="zzz")
    second = new_sweep(other, workspace, datetime(2026, 1, 1))
    twin = new_sweep(settings, workspace, datetime(2026, 1, 2))
    assert [one.id for one in all_sweeps(workspace)] == [second.id, first.id, twin.id]
    for name in (second.id, "zz", second.folder):
        assert load_sweep(name, workspace).id == second.id
    for wrong in ("mine", "", "nobody", "../runs", "/etc"):
        with pytest.raises(ArtefactNotFoundError, match="Expected the id of one sweep"):
            load_sweep(wrong, workspace)


def test_a_folder_that_is_no_sweep_is_passed_over(settings, workspace: Workspace, caplog) -> None:
    sweep = filled(settings, workspace)
    write_json(sweep.folder / "summary.json", {"state": "finished"})
    (workspace / "sweeps" / "empty").mkdir()
    broken = workspace / "sweeps" / "broken"
    broken.mkdir()
    (broken / "sweep.yaml").write_text("space: {}\n")
    assert [one.id for one in all_sweeps(workspace)] == [sweep.id]
    assert "broken" in caplog.text and read_sweep(sweep.folder).summary == {"state": "finished"}


def test_a_kill_between_two_files_costs_no_trial(
    settings, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = filled(settings, workspace)
    table = TrialTable(sweep)
    from hamcache.pipeline.studies.sweeps import trial_table

    written = trial_table.write_csv

    def die_at_trials(path: Path, frame: pd.DataFrame) -> None:
        if path.name == "trials.csv":
            path.with_name(".trials.csv.0.partial").write_text(frame.to_csv()[:50])
            raise KeyboardInterrupt
        written(path, frame)

    monkeypatch.setattr(trial_table, "write_csv", die_at_trials)
    with pytest.raises(KeyboardInterrupt):
        table.add(Trial(7, CE, FINISHED, 0.9, 1, 1.0, None), [(1, 0.9)])
    again = TrialTable(read_sweep(sweep.folder))
    assert again.trials == TRIALS and {number for number, _, _ in again.epochs} == {0, 1, 2}


def test_two_processes_do_not_run_one_sweep(settings, workspace: Workspace) -> None:
    sweep = new_sweep(settings, workspace)
    with held(sweep.folder), pytest.raises(ArtefactInUseError, match="another process"), held(sweep.folder):
        pass
    with held(sweep.folder):
        pass


def test_a_value_that_was_written_by_hand_is_named(settings, workspace: Workspace) -> None:
    sweep = filled(settings, workspace)
    path = sweep.folder / "trials.csv"
    path.write_text(path.read_text().replace("focal", "fokal"))
    with pytest.raises(DamagedError, match=r"trial 2: head\.loss: expected one of cross_entropy, focal, got 'fokal'"):
        TrialTable(read_sweep(sweep.folder))


def test_a_sweep_of_former_names_is_read_and_has_the_same_digest(sweep_of, workspace: Workspace) -> None:
    space = {"head.objective": {"choice": ["mcc"]}, "head.lr": {"uniform": [0.1, 1], "when": {"head.objective": "mcc"}}}
    settings = sweep_of(space, experiment={"features": "a", "head": {"name": "mlp", "objective": "mcc"}})
    point = {"head.objective": "mcc", "head.lr": 0.5}
    sweep = filled(settings, workspace, [Trial(0, point, FINISHED, 0.5, 7, 1.5, 0.1)])
    text = (sweep.folder / "sweep.yaml").read_text().replace("head.objective", "head.monitor")
    (sweep.folder / "sweep.yaml").write_text(text.replace("    objective: mcc", "    monitor: mcc"))
    table = (sweep.folder / "trials.csv").read_text()
    (sweep.folder / "trials.csv").write_text(table.replace("head.objective", "head.monitor"))
    assert (sweep.folder / "sweep.yaml").read_text().count("monitor") == 3
    again = read_sweep(sweep.folder)
    assert again.settings == settings and again.settings.digest == settings.digest
    assert again.point(again.best) == point and again.best_config == settings.config_at(point)
