"""The trial of ways to choose: same start, same judges, random beside, and the numbers of an experiment."""

import numpy as np
import pytest

from hamcache.pipeline.errors import SuggestionError
from hamcache.pipeline.experiment.runner import run_experiment
from hamcache.pipeline.inspect.choice_trial import Trial, try_choices
from hamcache.pipeline.show.plots.choice import plot_trial


@pytest.fixture
def config(world):
    world.extract(skill=0.8)
    return world.config()


def test_scores_rise_with_labels_and_stand_beside_random_choice(world, config, tmp_path) -> None:
    seen = []
    trial = Trial(("margin", "coverage"), start=8, portion=8, rounds=3, repeats=2)
    scores = try_choices(config, world.workspace, trial, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (2 * (3 * 3 + 2), 2 * (3 * 3 + 2))
    frame = scores.frame
    assert frame["strategy"].unique().tolist() == ["margin", "coverage", "random"]
    assert frame["labels"].tolist() == [8, 16, 24, 32] * 3
    first = frame[frame["labels"] == 8]
    assert first["score"].nunique() == 1 and (first["gain"] == 0).all()  # all begin with the same images
    assert (frame.loc[frame["strategy"] == "random", "gain"] == 0).all()
    whole = [
        run_experiment(world.config(f"seed={seed}"), world.workspace).metrics["validation"]["mcc"] for seed in (0, 1)
    ]
    assert scores.whole == pytest.approx(np.mean(whole), abs=1e-12)
    again = try_choices(config, world.workspace, trial)
    assert again.frame.equals(frame)
    plot_trial(scores, tmp_path / "trial.png", "a trial")
    assert (tmp_path / "trial.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("trial", "words"),
    [
        (Trial(start=500), "lesions or more to choose from"),
        (Trial(start=2, portion=2, rounds=1), "one of each class, got 2"),
    ],
)
def test_what_cannot_be_tried_is_told(world, config, trial: Trial, words: str) -> None:
    with pytest.raises(SuggestionError, match=words):
        try_choices(config, world.workspace, trial)
    with pytest.raises(SuggestionError, match="strategy"):
        Trial(("best",))
