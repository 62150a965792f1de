import numpy as np
import pytest

from hamcache.heads.metrics import compute_metrics
from hamcache.pipeline.evaluate.calibration import fit_temperature
from hamcache.pipeline.evaluate.class_map import map_classes
from hamcache.pipeline.evaluate.conformal import fit_sets
from hamcache.pipeline.evaluate.external_scores import Answered, Judge, share
from hamcache.pipeline.evaluate.intervals import bootstrap, resampled_scores

CLASSES = ("bcc", "mel", "nv")


def drawn(n: int, skill: float, seed: int, prefix: str = "") -> Answered:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[y]
    proba = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
    return Answered(y, proba, np.array([f"{prefix}{number // 2}" for number in range(n)], dtype=object))


@pytest.fixture(scope="module")
def judge() -> Judge:
    validation = drawn(300, 1.5, 0)
    temperature = fit_temperature(validation.proba, validation.y)
    sets = fit_sets(temperature(validation.proba), validation.y)
    return Judge(map_classes(CLASSES, CLASSES), temperature, sets, "mel", {0.9: 0.6}, resamples=200)


def test_scores_of_unrelated_sets_are_those_of_each_alone_and_the_difference_is_not_paired(judge) -> None:
    theirs, ours = drawn(120, 0.5, 1, "t"), drawn(200, 1.5, 2, "o")
    scores, own, gaps = judge.compared(theirs, ours, paired=False)
    (alone,) = bootstrap(theirs.y, theirs.proba, theirs.groups, ["mcc"], resamples=200)
    assert scores["mcc"] == alone
    expected = compute_metrics(theirs.y, theirs.proba, CLASSES, positive="mel", thresholds={0.9: 0.6, 0.95: 0.6})
    for name in ("accuracy", "auc_nv", "mel_sensitivity_at_90", "mel_specificity_at_90"):
        assert scores[name].value == pytest.approx(expected[name])
        assert scores[name].low <= scores[name].value <= scores[name].high
    assert gaps["mcc"].value == pytest.approx(scores["mcc"].value - own["mcc"].value) and gaps["mcc"].high < 0
    assert gaps["mcc"].high - gaps["mcc"].low > max(b["mcc"].high - b["mcc"].low for b in (scores, own))


def test_the_same_lesions_are_compared_as_pairs(judge) -> None:
    ours = drawn(200, 1.0, 3)
    theirs = Answered(ours.y, np.roll(ours.proba, 1, axis=1) * 0.1 + ours.proba * 0.9, ours.groups)
    _, _, gaps = judge.compared(theirs, ours, paired=True)
    rows = resampled_scores(ours.y, [theirs.proba, ours.proba], ours.groups, "mcc", resamples=200)
    low, high = np.percentile(rows[0, 1:] - rows[1, 1:], [2.5, 97.5])
    assert (gaps["mcc"].low, gaps["mcc"].high) == (pytest.approx(low), pytest.approx(high))


def test_coverage_counts_the_sets_that_hold_the_true_class(judge) -> None:
    like, unlike = drawn(400, 1.5, 4), drawn(400, 0.0, 5)
    found = judge.coverage(like)
    inside = judge.sets(judge.temperature(like.proba))
    hits = inside[np.arange(400), like.y]
    assert found["share"].value == hits.mean() > 0.85 and found["size"].value == inside.sum(axis=1).mean()
    assert found["by_class"]["mel"] == {"share": hits[like.y == 1].mean(), "images": (like.y == 1).sum()}
    assert judge.coverage(unlike)["share"].high < 0.9


def test_a_share_has_an_interval_over_lesions() -> None:
    values = np.repeat(np.arange(30) % 2, 2)
    alone, in_pairs = share(values, np.arange(60), 500), share(values, np.arange(60) // 2, 500)
    assert alone.value == in_pairs.value == 0.5 and in_pairs.groups == 30
    assert in_pairs.high - in_pairs.low > 1.2 * (alone.high - alone.low)


def test_a_set_without_images_of_a_class_has_no_scores_of_it(judge) -> None:
    theirs = drawn(100, 1.0, 6)
    rest = theirs[theirs.y != 0]
    scores, own, _ = judge.compared(rest, drawn(100, 1.0, 7, "o"), paired=False)
    assert "sensitivity_bcc" not in scores and "auc_bcc" not in own and "sensitivity_nv" in scores
