"""Every metric against an independent implementation: scikit-learn's, or a loop written from the definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.dummy import DummyClassifier

from hamcache.heads.errors import MetricError
from hamcache.heads.metrics import (
    ECE_BINS,
    METRICS,
    compute_metrics,
    get_metric,
    majority_baseline,
    specificity_threshold,
)
from hamcache.heads.scored import scored

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def draw(seed: int, n: int = 300, n_classes: int = 7, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Imbalanced labels, every class present, and probabilities that know something about them; some are tied."""
    rng = np.random.default_rng(seed)
    frequencies = rng.dirichlet(np.ones(n_classes))
    y = np.r_[np.arange(n_classes), rng.choice(n_classes, n - n_classes, p=frequencies)]
    logits = rng.normal(size=(n, n_classes)) + skill * np.eye(n_classes)[y]
    proba = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    proba = np.round(proba, 2)  # ties, also across classes
    proba[proba.sum(axis=1) == 0] = 1
    return y, proba / proba.sum(axis=1, keepdims=True)


def sklearn_scores(y: np.ndarray, p: np.ndarray, w: np.ndarray | None = None) -> dict[str, float]:
    predicted, codes, onehot = p.argmax(1), np.arange(p.shape[1]), np.eye(p.shape[1])[y]
    present = np.unique(y if w is None else y[w > 0])
    aucs = [sk.roc_auc_score(y == c, p[:, c], sample_weight=w) for c in present]
    return {
        "mcc": sk.matthews_corrcoef(y, predicted, sample_weight=w),
        "accuracy": sk.accuracy_score(y, predicted, sample_weight=w),
        "balanced_accuracy": sk.recall_score(
            y, predicted, labels=present, average="macro", sample_weight=w, zero_division=0
        ),
        "weighted_f1": sk.f1_score(y, predicted, average="weighted", sample_weight=w, zero_division=0),
        "macro_f1": sk.f1_score(y, predicted, labels=present, average="macro", sample_weight=w, zero_division=0),
        "macro_auc": float(np.mean(aucs)),
        "nll": sk.log_loss(y, np.clip(p, 1e-15, 1), labels=codes, sample_weight=w),
        "brier": float(np.average(np.square(p - onehot).sum(1), weights=w)),
    }


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_scores_equal_scikit_learns(seed: int, n_classes: int) -> None:
    y, p = draw(seed, n_classes=n_classes)
    ours = compute_metrics(y, p, [str(c) for c in range(n_classes)])
    theirs = sklearn_scores(y, p)
    # log_loss renormalises nothing here but clips zeros at its own epsilon, so compare where no true class has zero.
    if (p[np.arange(len(y)), y] == 0).any():
        theirs.pop("nll")
    assert {k: ours[k] for k in theirs} == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_weighted_scores_equal_scikit_learns_with_sample_weights(seed: int) -> None:
    y, p = draw(seed)
    p = 0.99 * p + 0.01 / 7
    weights = np.random.default_rng(seed).integers(0, 4, size=(6, len(y))).astype(float)
    s = scored(y, p, weights)
    ours = {name: METRICS[name].compute(s) for name in METRICS}
    for r, row in enumerate(weights):
        theirs = sklearn_scores(y, p, row)
        assert {k: ours[k][r] for k in theirs} == pytest.approx(theirs, abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(7, 60))
def test_whole_weights_are_repeated_images(seed: int, n: int) -> None:
    y, p = draw(seed, n=n)
    counts = np.random.default_rng(seed).integers(0, 3, size=n)
    counts[0] = max(counts[0], 1)
    for name, metric in METRICS.items():
        weighted = metric.compute(scored(y, p, counts[None].astype(float)))[0]
        repeated = metric.compute(scored(np.repeat(y, counts), np.repeat(p, counts, axis=0)))[0]
        assert weighted == pytest.approx(repeated, abs=1e-12, nan_ok=True), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_scores_do_not_depend_on_the_order_of_images(seed: int) -> None:
    y, p = draw(seed, n=80)
    order = np.random.default_rng(seed).permutation(80)
    assert compute_metrics(y, p, CLASSES) == pytest.approx(compute_metrics(y[order], p[order], CLASSES), abs=1e-12)


def test_per_class_scores_equal_counts_from_the_definition() -> None:
    y, p = draw(3)
    ours, predicted = compute_metrics(y, p, CLASSES), p.argmax(1)
    for code, label in enumerate(CLASSES):
        hit = sum(1 for t, g in zip(y, predicted, strict=True) if t == code and g == code)
        refused = sum(1 for t, g in zip(y, predicted, strict=True) if t != code and g != code)
        assert ours[f"sensitivity_{label}"] == pytest.approx(hit / (y == code).sum())
        assert ours[f"specificity_{label}"] == pytest.approx(refused / (y != code).sum())
        assert ours[f"auc_{label}"] == pytest.approx(sk.roc_auc_score(y == code, p[:, code]))


def test_calibration_error_equals_a_loop_over_bins() -> None:
    y, p = draw(5, n=500)
    confidence, right = p.max(1), p.argmax(1) == y
    expected = 0.0
    for b in range(ECE_BINS):
        inside = (confidence > b / ECE_BINS) & (confidence <= (b + 1) / ECE_BINS)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert METRICS["ece"](y, p) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_a_worked_example() -> None:
    # Four images at confidence 0.9, three right: gap 0.15. One at 0.6, wrong: gap 0.6. (4 * 0.15 + 0.6) / 5 = 0.24.
    p = np.array([[0.9, 0.1]] * 4 + [[0.6, 0.4]])
    assert METRICS["ece"](np.array([0, 0, 0, 1, 1]), p) == pytest.approx(0.24)


def test_brier_score_equals_scikit_learns() -> None:
    y, p = draw(9)
    assert METRICS["brier"](y, p) == pytest.approx(sk.brier_score_loss(y, p, scale_by_half=False))


def test_matthews_correlation_of_a_worked_example() -> None:
    # tp 6, fn 2, fp 1, tn 3: (6 * 3 - 1 * 2) / sqrt(7 * 8 * 4 * 5) = 16 / sqrt(1120)
    y = np.array([1] * 8 + [0] * 4)
    guess = np.array([1] * 6 + [0] * 2 + [1] + [0] * 3)
    assert METRICS["mcc"](y, np.eye(2)[guess]) == pytest.approx(16 / np.sqrt(1120))


@pytest.mark.parametrize("specificity", [0.9, 0.95])
@pytest.mark.parametrize("seed", range(5))
def test_melanoma_sensitivity_is_the_best_that_keeps_the_specificity(seed: int, specificity: float) -> None:
    y, p = draw(seed)
    mel, score = y == 4, p[:, 4]
    best = max(float((score[mel] > t).mean()) for t in [-1.0, *score] if (score[~mel] <= t).mean() >= specificity)
    ours = compute_metrics(y, p, CLASSES, positive="mel")
    per_cent = round(100 * specificity)
    assert ours[f"mel_sensitivity_at_{per_cent}"] == pytest.approx(best)
    assert ours[f"mel_specificity_at_{per_cent}"] >= specificity


def test_melanoma_sensitivity_agrees_with_the_roc_curve() -> None:
    y, p = draw(11)
    false_alarms, hits, _ = sk.roc_curve(y == 4, p[:, 4], drop_intermediate=False)
    ours = compute_metrics(y, p, CLASSES, positive="mel")
    assert ours["mel_sensitivity_at_90"] == pytest.approx(hits[false_alarms <= 0.1 + 1e-12].max())


def test_threshold_of_the_validation_images_is_used_on_others() -> None:
    y, p = draw(1)
    ours = compute_metrics(y, p, CLASSES, positive="mel", thresholds={0.9: 0.25, 0.95: 0.5})
    assert ours["mel_sensitivity_at_90"] == pytest.approx((p[y == 4, 4] > 0.25).mean())
    assert ours["mel_specificity_at_95"] == pytest.approx((p[y != 4, 4] <= 0.5).mean())


def test_threshold_counts_negatives_exactly() -> None:
    score = np.arange(20) / 20
    negatives = np.zeros(20, dtype=bool)
    assert specificity_threshold(negatives, score, 0.95) == score[18]  # 19 of 20 are no higher
    assert specificity_threshold(negatives, score, 0.9) == score[17]
    assert specificity_threshold(np.ones(20, dtype=bool), score, 0.9) == 0.0


def test_classes_without_images_are_left_out_and_never_counted() -> None:
    y = np.array([0, 0, 1, 1])
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1]])
    ours = compute_metrics(y, p, ["a", "b", "c"], positive="c")
    assert not {"sensitivity_c", "auc_c", "c_sensitivity_at_90"} & ours.keys()
    assert ours["specificity_c"] == 0.75 and "c_specificity_at_90" in ours
    assert ours["balanced_accuracy"] == pytest.approx((0.5 + 1) / 2)
    assert ours["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)
    assert ours["macro_auc"] == pytest.approx((ours["auc_a"] + ours["auc_b"]) / 2)
    assert all(np.isfinite(v) for v in ours.values())


def test_one_class_only_has_no_auc_and_mcc_zero() -> None:
    ours = compute_metrics(np.zeros(3, dtype=int), np.array([[0.9, 0.1]] * 3), ["a", "b"])
    assert ours["mcc"] == 0 and ours["accuracy"] == 1
    assert not {"macro_auc", "auc_a", "auc_b", "specificity_a", "sensitivity_b"} & ours.keys()


def test_a_certain_and_wrong_prediction_has_a_finite_loss() -> None:
    assert METRICS["nll"](np.array([1]), np.array([[1.0, 0.0]])) == pytest.approx(-np.log(1e-15))


def test_majority_baseline_equals_scikit_learns_dummy() -> None:
    y_train, _ = draw(0)
    y, _ = draw(1, n=120)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(y_train), 1)), y_train)
    expected = sklearn_scores(y, dummy.predict_proba(np.zeros((len(y), 1))))
    ours = majority_baseline(y_train, y, CLASSES)
    assert {k: ours[k] for k in expected} == pytest.approx(expected, abs=1e-12)
    assert ours["mcc"] == 0 and ours["balanced_accuracy"] == pytest.approx(1 / 7)


def test_directions_say_which_of_two_scores_is_better() -> None:
    assert METRICS["mcc"].better(0.6, 0.5) and METRICS["nll"].better(0.5, 0.6)
    assert {name for name, m in METRICS.items() if not m.higher_is_better} == {"nll", "brier", "ece"}


def test_unknown_metric_offers_the_nearest_name() -> None:
    with pytest.raises(MetricError, match="did you mean 'balanced_accuracy'"):
        get_metric("balanced_acuracy")
    with pytest.raises(MetricError, match="did you mean 'sensitivity_mel'"):
        get_metric("sensitivity_me", CLASSES)
    y, p = draw(2)
    assert get_metric("sensitivity_mel", CLASSES)(y, p) == compute_metrics(y, p, CLASSES)["sensitivity_mel"]


@pytest.mark.parametrize(
    ("y", "p", "words"),
    [
        ([0, 1], [[2.0, -1.0], [0.5, 0.5]], "logits"),
        ([0, 1], [[np.nan, 1.0], [0.5, 0.5]], "NaN"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "codes 0 to 1"),
        ([0.0, 1.0], [[0.5, 0.5], [0.5, 0.5]], "integer"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "Expected 2 integer"),
        ([], np.empty((0, 2)), "none"),
        ([0, 1], [0.5, 0.5], "shape"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(y: list, p: list, words: str) -> None:
    codes = np.array(y, dtype=float if y and isinstance(y[0], float) else int)
    with pytest.raises(MetricError, match=words):
        METRICS["mcc"](codes, np.array(p))
    with pytest.raises(MetricError, match="columns"):
        compute_metrics(np.array([0]), np.array([[0.5, 0.5]]), ["a", "b", "c"])
