import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from hamcache.heads.base import BaseHead
from hamcache.heads.threads import one_thread

CLASSES = ("akiec", "bcc", "bkl", "df")


def blas_threads():
    np.ones((2, 2)) @ np.ones((2, 2))
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_one_thread_computes_and_the_others_come_back(three_threads):
    before = blas_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1 and blas_threads() == {1}
        raise ZeroDivisionError
    assert torch.get_num_threads() == 3 and blas_threads() == before


class Spy(BaseHead):
    def __init__(self, classes):
        self.classes = classes

    def _fit(self, X, y, options):
        self.fitted_with = torch.get_num_threads(), blas_threads()

    def _predict_rows(self, X):
        self.predicted_with = torch.get_num_threads(), blas_threads()
        return np.full((len(X), len(self.classes)), 0.25)


def test_every_head_is_fitted_and_predicts_with_one_thread(three_threads, features):
    X, y = features(n=50)
    head = Spy(CLASSES).fit(X, y)
    head.predict_proba(X)
    assert head.fitted_with == head.predicted_with == (1, {1})
