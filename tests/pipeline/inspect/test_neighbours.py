"""Nearest neighbours: the same as a whole matrix of similarities gives."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.pipeline.errors import NeighboursError
from hamcache.pipeline.inspect.neighbours import nearest, unit_rows


@given(
    n=st.integers(0, 30), m=st.integers(1, 40), k=st.integers(1, 8), block=st.integers(1, 50), seed=st.integers(0, 99)
)
def test_blocks_find_what_the_whole_matrix_says(n: int, m: int, k: int, block: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    queries, base = rng.normal(size=(n, 5)), rng.normal(size=(m, 5))
    groups, base_groups = rng.integers(0, 4, n), rng.integers(0, 4, m)
    found = nearest(queries, base, k, query_groups=groups, base_groups=base_groups, block=block)
    whole = unit_rows(queries) @ unit_rows(base).T
    whole[groups[:, None] == base_groups] = -np.inf
    expected = -np.sort(-np.pad(whole, ((0, 0), (0, k)), constant_values=-np.inf), axis=1)[:, :k]
    np.testing.assert_allclose(found.similarity, expected, rtol=1e-5, atol=1e-6)
    there = found.index >= 0
    assert (there == np.isfinite(expected)).all()
    rows = np.broadcast_to(np.arange(n)[:, None], there.shape)
    np.testing.assert_allclose(whole[rows[there], found.index[there]], found.similarity[there], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("descending", [False, True], ids=["nearest last", "nearest first"])
def test_any_order_of_the_base_gives_the_same_neighbours(descending: bool) -> None:
    """Blocks that hardly change anything, and blocks that change all, are both merged."""
    rng = np.random.default_rng(0)
    base, queries = unit_rows(rng.normal(size=(3000, 6))), unit_rows(rng.normal(size=(1, 6)) + np.zeros((40, 6)))
    order = np.argsort(base @ queries[0])
    base = base[order[::-1] if descending else order]
    found = nearest(queries, base, 7, block=64)
    expected = range(7) if descending else range(2999, 2992, -1)
    assert found.index.tolist() == [list(expected)] * 40


def test_of_equally_similar_rows_the_first_are_taken() -> None:
    found = nearest(np.ones((3, 4)), np.ones((500, 4)), 5, block=32)
    assert found.index.tolist() == [[0, 1, 2, 3, 4]] * 3


def test_a_row_is_its_own_nearest_neighbour() -> None:
    features = np.random.default_rng(0).normal(size=(50, 8))
    found = nearest(features, features, 1, block=7)
    assert found.index[:, 0].tolist() == list(range(50))
    np.testing.assert_allclose(found.similarity, 1, rtol=1e-5)


def test_length_does_not_count() -> None:
    base = np.array([[100.0, 1.0], [0.1, 0.1]])
    assert nearest(np.array([[1.0, 1.0]]), base, 1).index.tolist() == [[1]]


def test_features_of_two_widths_are_refused() -> None:
    with pytest.raises(NeighboursError, match="one width"):
        nearest(np.ones((2, 3)), np.ones((2, 4)), 1)
    with pytest.raises(NeighboursError, match="at least 1"):
        nearest(np.ones((2, 3)), np.ones((2, 3)), 0)
    with pytest.raises(NeighboursError, match="groups"):
        nearest(np.ones((2, 3)), np.ones((2, 3)), 1, query_groups=np.zeros(2))
