"""Scores of subgroups: whose they are, what they are beside the plain bootstrap, and where there is none."""

import numpy as np
import pandas as pd
import pytest

from hamcache.data.errors import MetadataError
from hamcache.pipeline.evaluate.intervals import bootstrap
from hamcache.pipeline.evaluate.subgroups import Subgroup, run_subgroups, subgroup_scores
from hamcache.pipeline.experiment.runner import run_experiment
from tests.pipeline.cli.test_app import hamcache
from tests.pipeline.conftest import World


@pytest.fixture
def run(known_world: World):
    known_world.extract()
    return run_experiment(known_world.config(), known_world.workspace)


def test_each_group_has_the_score_and_interval_of_its_images(run, known_world: World) -> None:
    found = run_subgroups(run, known_world.workspace, "validation", resamples=100)
    assert [group.column for group in found if group.name == "not known"] == ["age", "sex"]
    assert list(dict.fromkeys(group.column for group in found)) == ["age", "sex", "localization", "dx_type"]
    rows = run.part("validation")
    known = known_world.table().frame.set_index("image_id").loc[rows["image_id"]]
    inside = (known["sex"] == "female").to_numpy()
    y, proba, lesions = (values[inside] for values in run.answers("validation"))
    (women,) = [group for group in found if group.name == "female"]
    expected = bootstrap(y, proba, lesions, ["mcc", "sensitivity_mel"], classes=run.classes, resamples=100)
    assert [women.scores["mcc"], women.scores["sensitivity_mel"]] == expected
    assert (women.images, women.lesions) == (inside.sum(), len(set(lesions)))
    assert sum(group.images for group in found if group.column == "age") == len(rows)
    ages = [group.name for group in found if group.column == "age"]
    order = ["below 30", "30 to below 45", "45 to below 60", "60 to below 75", "75 and above", "not known"]
    assert ages == [name for name in order if name in ages] and len(ages) > 3


def scores(y: list[int], values: list, metrics: list[str]) -> list[Subgroup]:
    proba = np.tile([0.6, 0.3, 0.1], (len(y), 1))
    frame = pd.DataFrame({"site": values})
    return subgroup_scores((np.array(y), proba, np.arange(len(y))), frame, ("nv", "mel", "df"), metrics, 20)


def test_where_a_class_lacks_there_is_no_score_of_it_and_small_groups_are_shown_with_a_note() -> None:
    metrics = ["mcc", "accuracy", "sensitivity_mel", "balanced_accuracy", "auc_mel"]
    whole, partial, alone = scores([0, 1, 2] * 3 + [0, 1] * 2 + [0], ["a"] * 9 + ["b"] * 4 + ["c"], metrics)
    assert None not in whole.scores.values() and whole.note == "few: 9 lesions; only 3 mel"
    assert [name for name, score in partial.scores.items() if score is None] == ["balanced_accuracy"]
    assert partial.note == "few: 4 lesions; only 2 mel; no df"
    assert [name for name, score in alone.scores.items() if score is not None] == ["accuracy"]
    assert alone.images == 1 and alone.note == "few: 1 lesions; no mel, df"


def test_numbers_fall_into_quartiles_and_few_of_them_stand_alone() -> None:
    many = scores([0, 1] * 50, list(range(100)), ["accuracy"])
    assert [group.name for group in many] == [
        "below 24.75",
        "24.75 to below 49.5",
        "49.5 to below 74.25",
        "74.25 and above",
    ]
    assert [group.images for group in many] == [25] * 4
    few = scores([0, 1, 0, 1], [2, 1, None, 2], ["accuracy"])
    assert [(group.name, group.images) for group in few] == [("1", 1), ("2", 2), ("not known", 1)]


def test_runs_show_prints_them_and_takes_any_column(run, known_world: World) -> None:
    shown = hamcache(f"runs show {run.id} --by localization", known_world.workspace).ok()
    assert "Subgroups on validation" in shown and "localization\tback" in shown and "\tage\t" not in shown
    assert (
        "did you mean 'localization'"
        in hamcache(f"runs show {run.id} --by localisation", known_world.workspace).failed()
    )
    assert "of at most 50" in hamcache(f"runs show {run.id} --by path --part train", known_world.workspace).failed()


def test_a_data_set_that_is_gone_costs_only_the_subgroups(own_world: World) -> None:
    own_world.extract()
    made = run_experiment(own_world.config(), own_world.workspace)
    own_world.csv.unlink()
    assert "there is no data set" in run_subgroups(made, own_world.workspace, "validation")
    assert "No subgroups: there is no data set" in hamcache(f"runs show {made.id}", own_world.workspace).ok()


def test_an_unknown_column_is_an_error_of_its_own(run, known_world: World) -> None:
    with pytest.raises(MetadataError, match="unknown column 'x'"):
        run_subgroups(run, known_world.workspace, "validation", ["x"])
