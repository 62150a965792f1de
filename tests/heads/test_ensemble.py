import numpy as np

from hamcache.heads.base import BaseHead
from hamcache.heads.ensemble import StackHead
from hamcache.heads.folds import image_folds


class Memory(BaseHead):
    """Sure of the label of every lesion it has seen, and clueless otherwise: what leaks into a stack would show."""

    def __init__(self, classes=("a", "b")):
        self.classes = classes

    def _fit(self, X, y, options):
        self.seen_ = dict(zip(X[:, 0, 0].tolist(), y.tolist(), strict=True))

    def _predict_rows(self, X):
        codes = [self.seen_.get(lesion) for lesion in X[:, 0].tolist()]
        return np.array([[0.5, 0.5] if code is None else np.eye(2)[code] for code in codes])


def test_folds_keep_groups_together_and_classes_in_proportion():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, size=200)
    y = (groups % 3 == 0).astype(np.int64)
    folds = image_folds(y, groups, 5, seed=0, classes=("a", "b"))
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(200))
    for train, held_out in folds:
        assert not set(groups[train]) & set(groups[held_out])
        assert set(y[train]) == set(y[held_out]) == {0, 1}


def test_rare_classes_cut_the_number_of_folds():
    y = np.array([0] * 20 + [1] * 3)
    assert len(image_folds(y, None, 5, seed=0, classes=("a", "b"))) == 3


def test_a_stack_learns_nothing_from_members_that_only_remember():
    rng = np.random.default_rng(0)
    lesions = np.repeat(np.arange(40), 2)
    y = rng.integers(0, 2, size=40)[lesions]
    X = lesions[:, None, None].astype(np.float32)
    stack = StackHead(("a", "b"), [Memory()], n_folds=4).fit(X, y, groups=lesions)
    assert np.abs(stack.top_.coef_).max() < 1e-6
    leaky = StackHead(("a", "b"), [Memory()], n_folds=4).fit(X, y)
    assert np.abs(leaky.top_.coef_).max() > 0.05
