import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hamcache.configs.defaults import SETS
from hamcache.pipeline.errors import PredictionError
from hamcache.pipeline.evaluate.conformal import class_scores, fewest_images, fit_sets

COVERAGES = st.sampled_from([0.2, 0.5, 0.8, 0.9, 0.95])


@st.composite
def labelled(draw: st.DrawFn, most: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities `[n, C]` and codes `[n]`: ties, zeros and absent classes among them."""
    n, n_classes = draw(st.integers(2, most)), draw(st.integers(2, 4))
    counts = draw(arrays(np.int64, (n, n_classes), elements=st.integers(0, 5)))
    y = draw(arrays(np.int64, n, elements=st.integers(0, n_classes - 1)))
    return (counts + 1e-9) / (counts + 1e-9).sum(axis=1, keepdims=True), y


@given(labelled(), COVERAGES, st.sampled_from(SETS))
def test_of_n_images_each_held_out_once_at_least_the_promised_share_is_covered(data, coverage, score) -> None:
    """The law itself: whichever of n exchangeable images is the new one, on average it is covered."""
    proba, y = data
    covered = []
    for new in range(len(y)):
        others = np.arange(len(y)) != new
        covered.append(fit_sets(proba[others], y[others], coverage, score)(proba[new : new + 1])[0, y[new]])
    assert sum(covered) >= coverage * len(y) - 1e-9


@given(labelled(), COVERAGES, st.sampled_from(SETS))
def test_class_conditional_sets_keep_the_promise_in_every_class(data, coverage, score) -> None:
    proba, y = data
    covered = np.zeros(len(y), dtype=bool)
    for new in range(len(y)):
        others = np.arange(len(y)) != new
        sets = fit_sets(proba[others], y[others], coverage, score, class_conditional=True)
        covered[new] = sets(proba[new : new + 1])[0, y[new]]
    for code in np.unique(y):
        assert covered[y == code].sum() >= coverage * (y == code).sum() - 1e-9


@pytest.mark.parametrize("score", SETS)
def test_coverage_is_what_was_asked_for_and_not_much_more(score: str) -> None:
    """Over many draws the coverage of new images lies between 1 - alpha and 1 - alpha + 1/(n + 1)."""
    rng = np.random.default_rng(3)
    n, coverage, draws = 40, 0.8, 400
    hits = []
    for _ in range(draws):
        logits = rng.normal(size=(n + 50, 3))
        proba = np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)
        weights = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)  # the head is too sure of itself
        y = (weights.cumsum(axis=1) < rng.random((len(proba), 1))).sum(axis=1)
        sets = fit_sets(proba[:n], y[:n], coverage, score)
        # The class that is always in is left aside here: the law of the thresholds themselves.
        inside = class_scores(proba[n:], score) <= sets.thresholds
        hits.append(inside[np.arange(50), y[n:]].mean())
    noise = 4 * np.std(hits) / np.sqrt(draws)
    assert coverage - noise <= np.mean(hits) <= coverage + 1 / (n + 1) + noise


@given(labelled(), st.sampled_from(SETS), st.booleans())
def test_more_coverage_means_larger_sets_and_the_most_probable_class_is_always_in(data, score, conditional) -> None:
    proba, y = data
    sets = [fit_sets(proba, y, coverage, score, conditional)(proba) for coverage in (0.5, 0.8, 0.99)]
    assert (sets[0] <= sets[1]).all() and (sets[1] <= sets[2]).all()
    assert sets[0][np.arange(len(y)), proba.argmax(axis=1)].all()


@given(st.floats(0.01, 0.995))
def test_fewest_images_is_where_a_finite_threshold_begins(coverage: float) -> None:
    n = fewest_images(coverage)
    proba, y = np.full((n, 2), 0.5), np.zeros(n, dtype=np.int64)
    assert not fit_sets(proba, y, coverage).unlimited.any()
    if n > 1:
        assert fit_sets(proba[1:], y[1:], coverage).unlimited.all()


def test_a_class_without_images_is_in_every_conditional_set() -> None:
    proba = np.array([[0.9, 0.1, 0.0]] * 20)
    sets = fit_sets(proba, np.zeros(20, dtype=np.int64), 0.9, class_conditional=True)
    assert sets.unlimited.tolist() == [False, True, True] and sets.images.tolist() == [20, 0, 0]
    assert sets(proba[:1]).tolist() == [[True, True, True]]


def test_thresholds_are_the_ranks_of_the_textbook() -> None:
    """99 images with scores 0.01 .. 0.99 and coverage 0.9: the 90th smallest score."""
    p = 1 - np.arange(1, 100) / 100
    proba, y = np.column_stack([p, 1 - p]), np.zeros(99, dtype=np.int64)
    assert fit_sets(proba, y, 0.9).thresholds[0] == pytest.approx(0.90)


def test_aps_scores_add_up_the_probabilities_of_the_classes_above() -> None:
    scores = class_scores(np.array([[0.2, 0.5, 0.3]]), "aps")
    np.testing.assert_allclose(scores, [[0.8, 0.0, 0.5]])


@pytest.mark.parametrize(
    ("coverage", "score", "words"),
    [(0, "lac", "between 0 and 1"), (1.0, "lac", "between 0 and 1"), (0.9, "lax", "did you mean 'lac'")],
)
def test_unknown_choices_are_refused(coverage: float, score: str, words: str) -> None:
    with pytest.raises(PredictionError, match=words):
        fit_sets(np.full((4, 2), 0.5), np.zeros(4, dtype=np.int64), coverage, score)
