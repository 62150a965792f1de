import numpy as np
import pytest

from hamcache.heads.errors import MetricError
from hamcache.pipeline.errors import ComparisonError
from hamcache.pipeline.evaluate.compare import check_same_images, compare_runs, leaderboard
from hamcache.pipeline.evaluate.intervals import bootstrap, paired_bootstrap
from hamcache.pipeline.experiment.runner import run_experiment


@pytest.fixture(scope="module")
def runs(make_world):
    """Three heads on the same split: a good one, a weaker one and one that knows nothing."""
    world = make_world()
    world.extract("good", skill=1.5)
    world.extract("weak", skill=0.8)
    world.extract("blind", skill=0.0)
    made = {}
    for name in ("good", "weak", "blind"):
        made[name] = run_experiment(world.config(base={"features": name}), world.workspace, test=True)
    made["closed"] = run_experiment(world.config("head.C=2", base={"features": "good"}), world.workspace)
    made["seed"] = run_experiment(world.config("seed=1", base={"features": "good"}), world.workspace)
    return made


def test_comparison_equals_the_paired_bootstrap_of_each_pair(runs) -> None:
    a, b = runs["good"], runs["weak"]
    result = compare_runs([a, b, runs["blind"]])
    assert result.part == "test" and len(result.pairs) == 3
    groups = a.part("test")["group"].to_numpy(dtype=object)
    gap = paired_bootstrap(a.labels("test"), a.probabilities("test"), b.probabilities("test"), groups)
    row = result.pairs.iloc[0]
    assert (row["run"], row["other"]) == (a.id, b.id)
    assert (row["difference"], row["low"], row["high"], row["p"]) == (gap.value, gap.low, gap.high, gap.p_value)
    assert row["difference"] == pytest.approx(a.metrics["test"]["mcc"] - b.metrics["test"]["mcc"])
    (interval,) = bootstrap(a.labels("test"), a.probabilities("test"), groups)
    best = result.scores.iloc[0]
    assert (best["run"], best["mcc"], best["low"], best["high"]) == (a.id, interval.value, interval.low, interval.high)
    assert list(result.scores["mcc"]) == sorted(result.scores["mcc"], reverse=True)
    assert result.images == len(groups) and result.groups == len(set(groups))


def test_p_values_are_corrected_for_the_number_of_pairs(runs) -> None:
    pairs = compare_runs([runs["good"], runs["weak"], runs["blind"]]).pairs
    smallest = pairs["p"].idxmin()
    assert pairs.loc[smallest, "p_holm"] == pytest.approx(3 * pairs.loc[smallest, "p"])
    assert (pairs["p_holm"] >= pairs["p"]).all()
    against = compare_runs([runs["good"], runs["weak"], runs["blind"]], reference=runs["blind"].id).pairs
    assert len(against) == 2 and set(against["other"]) == {runs["blind"].id}


def test_a_closed_test_set_means_a_comparison_on_validation(runs) -> None:
    assert compare_runs([runs["good"], runs["closed"]]).part == "validation"
    with pytest.raises(ComparisonError, match=r"test set.*--test"):
        compare_runs([runs["good"], runs["closed"]], part="test")


def test_smaller_is_better_for_losses(runs) -> None:
    scores = compare_runs([runs["blind"], runs["good"]], "nll").scores
    assert scores.loc[0, "run"] == runs["good"].id and scores.loc[0, "nll"] < scores.loc[1, "nll"]


def test_runs_on_different_images_are_refused_saying_which(runs) -> None:
    with pytest.raises(ComparisonError) as caught:
        compare_runs([runs["closed"], runs["seed"]])
    ours, theirs = (set(runs[name].part("validation")["image_id"]) for name in ("closed", "seed"))
    words = str(caught.value)
    assert f"{len(ours - theirs)} of {len(ours)} images are only in {runs['closed'].id}" in words
    assert sorted(ours - theirs)[0] in words and "seed 0 and 1" in words


@pytest.mark.parametrize(
    ("column", "words"), [("label", "different labels for 1 of"), ("group", "different lesions for 1")]
)
def test_changed_labels_or_lesions_are_refused(runs, column: str, words: str) -> None:
    from hamcache.pipeline.runs.records import read_run

    changed = read_run(runs["weak"].folder)
    row = changed.predictions.index[changed.predictions["part"] == "test"][0]
    changed.predictions.loc[row, column] = "nv" if changed.predictions.loc[row, "label"] != "nv" else "mel"
    with pytest.raises(ComparisonError, match=words):
        check_same_images(runs["good"], changed, "test")


def test_other_classes_or_another_order_of_them_are_refused(runs) -> None:
    from dataclasses import replace

    reordered = replace(runs["weak"], classes=("nv", "mel", "bkl"))
    with pytest.raises(ComparisonError, match="stand in another order"):
        check_same_images(runs["good"], reordered, "test")
    fewer = replace(runs["weak"], classes=("mel", "nv"))
    with pytest.raises(ComparisonError, match="only one has bkl"):
        check_same_images(runs["good"], fewer, "test")


def test_comparisons_that_make_no_sense_are_refused(runs) -> None:
    with pytest.raises(ComparisonError, match="two or more"):
        compare_runs([runs["good"]])
    with pytest.raises(ComparisonError, match="two or more different"):
        compare_runs([runs["good"], runs["good"]])
    with pytest.raises(ComparisonError, match="reference"):
        compare_runs([runs["good"], runs["weak"]], reference="nobody")
    with pytest.raises(MetricError, match="did you mean"):
        compare_runs([runs["good"], runs["weak"]], "sensitivity_ml")


def test_per_class_metrics_can_be_compared(runs) -> None:
    row = compare_runs([runs["good"], runs["weak"]], "sensitivity_mel").pairs.iloc[0]
    expected = runs["good"].metrics["test"]["sensitivity_mel"] - runs["weak"].metrics["test"]["sensitivity_mel"]
    assert row["difference"] == pytest.approx(expected)


def test_leaderboard_ends_with_the_majority_baseline(runs) -> None:
    table = leaderboard([runs["blind"], runs["good"], runs["weak"]])
    assert list(table["run"]) == [runs["good"].id, runs["weak"].id, runs["blind"].id, "majority baseline"]
    good = table.iloc[0]
    assert good["low"] < good["mcc"] < good["high"] and good["mcc"] == runs["good"].metrics["validation"]["mcc"]
    y, y_train = runs["good"].labels("validation"), runs["good"].labels("train")
    assert table.iloc[-1]["accuracy"] == pytest.approx((y == np.bincount(y_train).argmax()).mean())
    assert table.iloc[-1]["mcc"] == 0
    assert leaderboard([]).empty
