"""The lesion bootstrap against slow loops, known statistics and its own promises."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import matthews_corrcoef

from hamcache.heads.errors import MetricError
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate.intervals import (
    bootstrap,
    difference,
    group_weights,
    holm,
    paired_bootstrap,
    resampled_scores,
)


def draw(seed: int, n: int = 200, n_groups: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(n_groups), rng.integers(0, n_groups, n - n_groups)]
    y = (groups * 7919) % 3
    logits = rng.normal(size=(n, 3)) + np.eye(3)[y]
    proba = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return y, proba, np.array([f"lesion{g}" for g in groups])


def test_resamples_draw_whole_lesions() -> None:
    _, _, groups = draw(0)
    for weights in group_weights(groups, 50, seed=1):
        for name in np.unique(groups):
            assert (weights[:, groups == name] == weights[:, [np.flatnonzero(groups == name)[0]]]).all()
        firsts = [np.flatnonzero(groups == name)[0] for name in np.unique(groups)]
        assert (weights[:, firsts].sum(axis=1) == len(firsts)).all()


@pytest.mark.parametrize("name", list(METRICS))
def test_each_resample_equals_scoring_the_drawn_images_one_by_one(name: str) -> None:
    y, proba, groups = draw(1)
    fast = resampled_scores(y, [proba], groups, name, resamples=40, seed=3)[0]
    slow = resampled_scores(y, [proba], groups, lambda t, p: METRICS[name](t, p), resamples=40, seed=3)[0]
    np.testing.assert_allclose(fast, slow, atol=1e-12)


def test_interval_equals_a_loop_that_concatenates_lesions() -> None:
    """Another implementation of the same draw: rows of drawn lesions, scored by scikit-learn, numpy's percentiles."""
    y, proba, groups = draw(2)
    names = np.unique(groups)
    rows = [np.flatnonzero(groups == name) for name in names]
    rng, scores = np.random.default_rng(5), []
    for _ in range(300):
        drawn = np.concatenate([rows[g] for g in rng.integers(0, len(names), len(names))])
        scores.append(matthews_corrcoef(y[drawn], proba[drawn].argmax(1)))
    (ours,) = bootstrap(y, proba, groups, ["mcc"], resamples=300, seed=5)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.percentile(scores, [2.5, 97.5])), abs=1e-12)
    assert ours.value == pytest.approx(matthews_corrcoef(y, proba.argmax(1)))
    assert ours.groups == len(names) and ours.resamples == 300


def test_accuracy_interval_is_near_the_normal_approximation() -> None:
    y, proba, _ = draw(3, n=2000, n_groups=2000)
    (ours,) = bootstrap(y, proba, np.arange(2000), ["accuracy"], resamples=4000)
    half = 1.96 * np.sqrt(ours.value * (1 - ours.value) / 2000)
    assert (ours.low, ours.high) == pytest.approx((ours.value - half, ours.value + half), abs=0.002)


def test_repeated_photographs_do_not_narrow_the_interval() -> None:
    y, proba, _ = draw(4, n=150, n_groups=150)
    (once,) = bootstrap(y, proba, np.arange(150), ["mcc"])
    (thrice,) = bootstrap(np.tile(y, 3), np.tile(proba, (3, 1)), np.tile(np.arange(150), 3), ["mcc"])
    (wrong,) = bootstrap(np.tile(y, 3), np.tile(proba, (3, 1)), np.arange(450), ["mcc"])
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), abs=1e-9)
    assert wrong.high - wrong.low < 0.75 * (once.high - once.low)


def test_intervals_do_not_depend_on_row_order_or_on_the_other_metrics() -> None:
    y, proba, groups = draw(5)
    order = np.random.default_rng(0).permutation(len(y))
    (alone,) = bootstrap(y, proba, groups, ["mcc"], seed=9)
    together = bootstrap(y[order], proba[order], groups[order], ["nll", "mcc"], seed=9)
    assert together[1] == alone
    assert bootstrap(y, proba, groups, ["mcc"], seed=10) != [alone]


def test_a_class_absent_from_some_resamples_leaves_only_those_out() -> None:
    y, proba = np.array([0] * 20 + [1]), np.tile([0.6, 0.4], (21, 1))
    (ours,) = bootstrap(y, proba, np.arange(21), ["auc_b"], classes=["a", "b"], resamples=500)
    assert 200 < ours.resamples < 400  # a lesion is drawn with chance 1 - 1/e
    assert ours.value == ours.low == ours.high == 0.5


def test_a_run_does_not_differ_from_itself() -> None:
    y, proba, groups = draw(6)
    same = paired_bootstrap(y, proba, proba, groups)
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)


def test_difference_changes_sign_with_the_order_of_the_runs() -> None:
    y, a, groups = draw(7)
    b = 0.5 * a + 0.5 * np.roll(a, 1, axis=0)
    ab, ba = paired_bootstrap(y, a, b, groups), paired_bootstrap(y, b, a, groups)
    assert (ab.value, ab.low, ab.high) == pytest.approx((-ba.value, -ba.high, -ba.low))
    assert ab.p_value == ba.p_value
    assert ab.value == pytest.approx(METRICS["mcc"](y, a) - METRICS["mcc"](y, b))


def test_pairing_makes_the_interval_of_a_small_change_narrow() -> None:
    y, a, groups = draw(8, n=600, n_groups=400)
    b = a.copy()
    worse = np.random.default_rng(0).choice(600, 40, replace=False)
    b[worse] = np.roll(b[worse], 1, axis=1)
    gap, (alone,) = paired_bootstrap(y, a, b, groups), bootstrap(y, a, groups)
    assert gap.high - gap.low < 0.6 * (alone.high - alone.low)


def test_p_value_is_near_mcnemars_for_accuracy() -> None:
    """For accuracy of independent images the paired test has a textbook answer (a sign test of the discordant ones)."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 800)
    a, b = np.eye(2)[y].copy(), np.eye(2)[y].copy()
    order = rng.permutation(800)
    a[order[:60]] = a[order[:60], ::-1]
    b[order[60:145]] = b[order[60:145], ::-1]
    ours = paired_bootstrap(y, a, b, np.arange(800), "accuracy", resamples=20_000)
    assert ours.p_value == pytest.approx(2 * stats.norm.sf(25 / np.sqrt(145)), abs=0.015)


def test_p_value_is_uniform_under_the_null() -> None:
    rng, small = np.random.default_rng(2), 0
    for trial in range(200):
        y = rng.integers(0, 2, 150)
        a, b = (np.eye(2)[np.where(rng.random(150) < 0.3, 1 - y, y)] for _ in range(2))
        small += paired_bootstrap(y, a, b, np.arange(150), "accuracy", resamples=400, seed=trial).p_value < 0.1
    assert 8 <= small <= 36  # 20 expected


def test_p_value_is_never_zero() -> None:
    y = np.arange(60) % 2
    sure = paired_bootstrap(y, np.eye(2)[y], np.eye(2)[1 - y], np.arange(60), resamples=500)
    assert sure.p_value == pytest.approx(2 / 501)


def test_undefined_resamples_are_left_out_of_a_difference() -> None:
    gap = difference(np.array([0.5, np.nan, 0.6, 0.7]), np.array([0.4, 0.1, 0.5, np.nan]), groups=3)
    assert gap.resamples == 1 and gap.value == pytest.approx(0.1) and gap.low == pytest.approx(0.1)


def test_holm_of_a_worked_example() -> None:
    # Four tests: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 raised to the one before it.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.9, 0.6]), [1.0, 1.0])
    assert holm([]).size == 0


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = rng.random(6) ** 3
        rejected, remaining = set(), sorted(range(6), key=lambda i: p[i])
        while remaining and p[remaining[0]] <= 0.05 / len(remaining):
            rejected.add(remaining.pop(0))
        assert set(np.flatnonzero(holm(p) <= 0.05)) == rejected


def test_bad_input_is_refused() -> None:
    y, proba, groups = draw(0)
    with pytest.raises(MetricError, match="lesion of each of 200"):
        bootstrap(y, proba, groups[:-1])
    with pytest.raises(MetricError, match="did you mean 'mcc'"):
        bootstrap(y, proba, groups, ["mc"])
    with pytest.raises(MetricError, match="1 resample or more"):
        bootstrap(y, proba, groups, resamples=0)
