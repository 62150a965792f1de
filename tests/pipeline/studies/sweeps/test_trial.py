import numpy as np
import pytest

from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.studies.sweeps.search import LAST, SCORE
from hamcache.pipeline.studies.sweeps.shared import Shared, open_sweep, read_shared
from hamcache.pipeline.studies.sweeps.trial import Clock, run_trial

MLP = {"name": "mlp", "max_epochs": 4, "patience": 4, "batch_size": 32, "lr": 0.01}
HYBRID = {"blocks": [{"backbone": name, "augmentation": "flip", "views": 2} for name in ("net_a", "net_b")]}


@pytest.fixture
def shared_of(world, sweep_of):
    """A function that gives what the trials of a sweep share."""
    for name in ("net_a", "net_b"):
        world.extract(name, "flip", 2)

    def make(space: dict, *overrides: str, **experiment) -> Shared:
        settings = sweep_of(space, *overrides, experiment={"features": HYBRID, "head": MLP, **experiment})
        shared = read_shared(settings, open_sweep(settings, world.workspace), print)
        for block in shared.inputs.blocks.values():
            block._views.flags.writeable = False  # as Ray hands them out
        return shared

    return make


def told(point: dict, shared: Shared, clock: Clock | None = None) -> list[dict]:
    reports: list[dict] = []
    run_trial(point, shared, reports.append, clock or Clock())
    return reports


@pytest.mark.parametrize(
    ("point", "overrides"),
    [
        ({"head.hidden": [8], "features.views.train": "random"}, ["tau=auto"]),
        ({"head.hidden": [], "features.views.train": "all"}, ["objective=nll"]),
        ({"head.hidden": [8], "features.views.train": "all"}, ["split.folds=2", "split.policy=grouped"]),
        (
            {"head.hidden": [4], "features.views.train": "random"},
            ["features.views.pairing=independent", "head.mixup=0.2"],
        ),
    ],
)
def test_a_trial_scores_what_its_run_scores(point: dict, overrides: list[str], shared_of, world) -> None:
    space = {"head.hidden": {"choice": [[], [4], [8]]}, "features.views.train": {"choice": ["random", "all"]}}
    shared = shared_of(space, *overrides)
    config = shared.settings.config_at(point)
    last = told(point, shared)[-1]
    run = run_experiment(config, world.workspace)
    sign = -1 if config.objective == "nll" else 1
    assert last[SCORE] == pytest.approx(sign * run.metrics["validation"][config.objective], abs=1e-12)
    assert last[LAST] and last["done"]


@pytest.mark.parametrize("head", ["logreg", "lda", "average"])
def test_heads_without_epochs_are_told_once(head: str, shared_of, world) -> None:
    shared = shared_of({"seed": {"choice": [0, 1]}}, head={"name": head})
    (report,) = told({"seed": 1}, shared)
    run = run_experiment(shared.settings.config_at({"seed": 1}), world.workspace)
    assert report[SCORE] == pytest.approx(run.metrics["validation"]["mcc"], abs=1e-12)
    assert report["epoch"] == 0


def test_the_best_score_so_far_is_told_at_the_rungs(shared_of, world) -> None:
    shared = shared_of({"head.lr": {"loguniform": [1e-3, 0.5]}}, "head.max_epochs=9", "head.patience=9")
    shared.settings = shared.settings.model_copy(update={"grace": 2, "reduction": 2})
    *reports, last = told({"head.lr": 0.2}, shared)
    history = run_experiment(shared.settings.config_at({"head.lr": 0.2}), world.workspace).history["valid_mcc"]
    best = np.maximum.accumulate(history)
    assert [(one["epoch"], one[LAST]) for one in reports] == [(2, False), (4, False), (8, False)]
    np.testing.assert_allclose([one[SCORE] for one in reports], best[[1, 3, 7]])
    assert last["epoch"] == 9 and last[SCORE] == pytest.approx(best.iloc[-1])


def test_with_a_tau_epochs_are_scored_as_the_end_result_will_be(shared_of, world) -> None:
    space = {"head.loss": {"choice": ["cross_entropy", "balanced_softmax"]}}
    point = {"head.loss": "balanced_softmax"}
    shared = shared_of(space, "tau=auto", "head.max_epochs=2")
    shared.settings = shared.settings.model_copy(update={"grace": 2})
    report, last = told(point, shared)
    assert report["epoch"] == 2
    run = run_experiment(shared.settings.config_at(point), world.workspace)
    if run.history["valid_mcc"].idxmax() == 1:  # else the end result is that of the first epoch
        assert run.history["valid_mcc"].max() <= report[SCORE] <= last[SCORE]
    fixed = shared_of(space, "tau=1", "head.max_epochs=1")
    fixed.settings = fixed.settings.model_copy(update={"grace": 1})
    report, last = told(point, fixed)
    assert report[SCORE] == pytest.approx(last[SCORE])


def test_slow_epochs_are_told_one_by_one(shared_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamcache.pipeline.studies.sweeps.trial.PAUSE", 0.0)
    shared = shared_of({"head.lr": {"loguniform": [1e-3, 0.5]}})
    assert [one["epoch"] for one in told({"head.lr": 0.2}, shared)] == [1, 2, 3, 4, 4]


def test_what_goes_wrong_is_told_and_the_next_trial_is_not_hurt(shared_of) -> None:
    shared = shared_of({"head.lr": {"loguniform": [1e-3, 1e30]}})
    (failed,) = [one for one in told({"head.lr": 1e30}, shared) if one[LAST]]
    assert failed["error"].startswith("TrainingDivergedError: ") and "\n" not in failed["error"]
    assert "Traceback" in failed["traceback"] and SCORE not in failed
    assert told({"head.lr": 0.01}, shared)[-1][SCORE] > -1
    (wrong,) = told({"head.nonsense": 1}, shared)
    assert "head.nonsense" in wrong["error"]


def test_a_trial_that_is_stopped_leaves_no_trace(shared_of) -> None:
    shared, clock = shared_of({"head.lr": {"loguniform": [1e-3, 1]}}), Clock()

    def stop_at_the_rung(report: dict) -> None:
        if report["epoch"] == 4:
            raise SystemExit(0)  # as Ray ends a trial in the middle

    with pytest.raises(SystemExit):
        run_trial({"head.lr": 0.1}, shared, stop_at_the_rung, clock)
    again = told({"head.lr": 0.01}, shared, clock)
    assert [one[SCORE] for one in again] == [one[SCORE] for one in told({"head.lr": 0.01}, shared)]


def test_the_clock_keeps_training_and_the_rest_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("hamcache.pipeline.studies.sweeps.trial.perf_counter", lambda: now)
    clock = Clock()
    clock.begin()
    clock.train(True)
    now += 10
    clock.train(False)
    assert clock.stamp() == {"seconds": 10, "overhead": None}
    now += 0.5  # the gap to the next trial
    clock.begin()
    now += 0.25  # it gets ready
    clock.train(True)
    now += 3
    assert clock.stamp() == {"seconds": 3, "overhead": 0.75}
    now += 0.125  # it waits until its report was taken
    clock.waited(0.125)
    now += 2
    clock.train(False)
    now += 0.0625  # it is scored
    assert clock.stamp() == {"seconds": 5, "overhead": 0.75 + 0.125 + 0.0625}
