import numpy as np
import pytest
from matplotlib.colors import to_hex

from hamcache.data.workspace import Workspace
from hamcache.pipeline.show.plots.sweeps import BELOW, plot_history, plot_importance, plot_parallel, plot_sweep
from hamcache.pipeline.studies.sweeps.importance import importances
from hamcache.pipeline.studies.sweeps.results import FAILED, FINISHED, STOPPED, new_sweep, read_sweep
from hamcache.pipeline.studies.sweeps.trial_table import Trial, TrialTable

SPACE = {
    "head.loss": {"choice": ["cross_entropy", "focal"]},
    "head.loss_params.gamma": {"uniform": [0.5, 3], "when": {"head.loss": "focal"}},
    "head.lr": {"loguniform": [1e-4, 1e-2]},
    "head.batch_size": {"int": [16, 64]},
    "tau": {"choice": [None, "auto"]},
    "head.mixup": {"choice": [0.0]},
}


def made(sweep_of, workspace: Workspace, objective: str = "mcc", trials: int = 24):
    """A sweep whose score is the learning rate's alone; one trial in six was stopped, the last failed."""
    settings = sweep_of(SPACE, f"objective={objective}", experiment={"features": "a", "head": "mlp"})
    sweep, rng = new_sweep(settings, workspace), np.random.default_rng(0)
    table = TrialTable(sweep)
    for number in range(trials):
        point = {"head.loss": "cross_entropy", "head.lr": float(10 ** rng.uniform(-4, -2)), "head.batch_size": 32}
        point |= {"tau": None if number % 2 else "auto", "head.mixup": 0.0}
        if number % 3 == 0:
            point = {
                "head.loss": "focal",
                "head.loss_params.gamma": float(rng.uniform(0.5, 3)),
                **{key: value for key, value in point.items() if key != "head.loss"},
            }
        state = FAILED if number == trials - 1 else STOPPED if number % 6 == 1 else FINISHED
        score = None if state == FAILED else float(np.log10(point["head.lr"]) / 2 + 2)
        table.add(Trial(number, point, state, score, 4, 1.0, 0.1, "broken" if state == FAILED else ""), [])
    return read_sweep(sweep.folder)


def test_the_pictures_lie_in_the_sweeps_folder(sweep_of, workspace: Workspace) -> None:
    sweep = made(sweep_of, workspace)
    assert [path.name for path in plot_sweep(sweep)] == ["history.png", "parallel.png", "importance.png"]
    for path in plot_sweep(sweep):
        assert path.parent == sweep.folder and path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(("objective", "rises"), [("mcc", True), ("nll", False)])
def test_the_history_shows_every_trial_and_the_best_finished_one(
    objective: str, rises: bool, sweep_of, workspace: Workspace
) -> None:
    sweep = made(sweep_of, workspace, objective)
    (axes,) = plot_history(sweep).axes
    best = axes.lines[0].get_ydata()
    scores = sweep.trials[objective].where(sweep.trials["state"] == FINISHED)
    np.testing.assert_array_equal(best[0], scores[0])
    assert best[-1] == (scores.max() if rises else scores.min()) == sweep.best[objective]
    shown = {one.get_label(): len(one.get_offsets()) for one in axes.collections}
    counts = sweep.trials["state"].value_counts()
    assert shown == {
        f"finished ({counts[FINISHED]})": counts[FINISHED],
        f"stopped early ({counts[STOPPED]})": counts[STOPPED],
        "failed (1)": 1,
    }
    assert objective in axes.get_ylabel() and axes.get_xlabel()


def test_lines_go_through_the_values_of_their_trials(sweep_of, workspace: Workspace) -> None:
    sweep = made(sweep_of, workspace)
    axes = plot_parallel(sweep).axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["loss", "loss_params.gamma", "lr", "batch_size", "tau", "mixup"]
    lines = [line for line in axes.lines if len(line.get_xdata()) == len(names)]
    assert len(lines) == 23
    best = sweep.trials.loc[sweep.trials["mcc"].idxmax()]
    (top,) = [line for line in lines if to_hex(line.get_color()) == "#fde725"]  # the end of the colour scale
    lr = (np.log(best["head.lr"]) - np.log(1e-4)) / np.log(100)
    assert top.get_ydata()[2] == pytest.approx(lr)
    assert (top.get_linewidth() > 1) == (best["state"] == FINISHED)
    unused = [line for line in lines if line.get_ydata()[1] == BELOW]
    assert len(unused) == (sweep.trials["head.loss"] == "cross_entropy").sum() - (23 % 3 != 0)
    texts = {text.get_text() for text in axes.texts}
    assert {"cross_entropy", "focal", "null", "auto", "not in use", "0.0001", "0.01"} <= texts


def test_the_key_that_decides_is_the_most_important(sweep_of, workspace: Workspace) -> None:
    sweep = made(sweep_of, workspace)
    found = importances(sweep)
    assert found["key"][0] == "head.lr" and found["importance"][0] > 0.8
    assert set(found["key"]) == set(SPACE) - {"head.mixup"}  # one value explains nothing
    assert found["importance"].sum() == pytest.approx(1)


def test_of_few_trials_or_equal_scores_nothing_is_said(sweep_of, workspace: Workspace) -> None:
    few = made(sweep_of, workspace, trials=6)
    assert importances(few).empty and plot_importance(few) is None
    assert [path.name for path in plot_sweep(few)] == ["history.png", "parallel.png"]
    assert plot_sweep(new_sweep(few.settings, workspace)) == []
