import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from heads.threads import one_thread
from heads.zoo import build_head

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


def test_a_head_ends_at_the_same_bits_whatever_the_number_of_threads(three_threads, blocks, features):
    X, y = features(n=300, spread=0.12)
    ends = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        head = build_head("mlp", {"max_epochs": 3, "hidden": [64]}, blocks=blocks, classes=CLASSES)
        ends.append(head.fit(X, y).predict_proba(X))
    np.testing.assert_array_equal(*ends)
