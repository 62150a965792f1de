import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hamcache.heads.errors import BlockError, ViewPolicyError
from hamcache.heads.views import BlockArrays, ViewPolicy, prediction_views, training_views


def telling(n: int, views: int, dim: int, block: int) -> BlockArrays:
    """Features that say where they come from: 10000 x block + 100 x image + view; the plain image is view 99."""
    image, view = np.arange(n)[:, None, None], np.arange(views)[None, :, None]
    numbers = np.broadcast_to(10000 * block + 100 * image + view, (n, views, dim))
    plain = np.broadcast_to(10000 * block + 100 * image + 99, (n, 1, dim))
    return BlockArrays(numbers.astype(np.float32), plain.astype(np.float32))


def views_of(X: np.ndarray, column: int) -> np.ndarray:
    return X[:, :, column].astype(int) % 100


def test_shared_pairing_joins_the_same_view_of_every_block():
    X = training_views([telling(5, 3, 2, 0), telling(5, 3, 4, 1)], ViewPolicy(), seed=0)
    assert X.shape == (5, 3, 6) and X.dtype == np.float32
    np.testing.assert_array_equal(views_of(X, 0), np.tile([0, 1, 2], (5, 1)))
    np.testing.assert_array_equal(views_of(X, 5), views_of(X, 0))
    np.testing.assert_array_equal(X[:, :, 5].astype(int) // 100 - 100, np.tile(np.arange(5)[:, None], (1, 3)))


@given(n=st.integers(1, 6), views=st.integers(2, 6), blocks=st.integers(2, 4), seed=st.integers(0, 99))
def test_independent_pairing_uses_every_view_once_and_never_the_same_in_two_blocks(n, views, blocks, seed):
    arrays = [telling(n, views, 1, block) for block in range(blocks)]
    X = training_views(arrays, ViewPolicy(pairing="independent"), seed)
    assert X.shape == (n, views, blocks)
    for block in range(blocks):
        np.testing.assert_array_equal(np.sort(views_of(X, block)), np.tile(np.arange(views), (n, 1)))
        np.testing.assert_array_equal(X[:, :, block] // 100, np.tile(block * 100 + np.arange(n)[:, None], views))
    if blocks <= views:
        for row in X.reshape(-1, blocks).astype(int) % 100:
            assert len(set(row)) == blocks


def test_independent_pairing_depends_on_the_seed_and_the_image():
    arrays = [telling(50, 6, 1, 0), telling(50, 6, 1, 1)]
    policy = ViewPolicy(pairing="independent")
    first, again, other = (training_views(arrays, policy, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    partner = {
        tuple(second[np.argsort(one)]) for one, second in zip(views_of(first, 0), views_of(first, 1), strict=True)
    }
    assert len(partner) > 1


def test_plain_training_takes_the_plain_image_of_every_block():
    X = training_views([telling(4, 3, 1, 0), telling(4, 2, 1, 1)], ViewPolicy(train="plain"), seed=0)
    assert X.shape == (4, 1, 2)
    assert (views_of(X, 0) == 99).all() and (views_of(X, 1) == 99).all()


def test_prediction_views_are_plain_first_or_all():
    arrays = [telling(4, 3, 1, 0), telling(4, 3, 1, 1)]
    for predict, expected in (("plain", [99]), ("first", [0]), ("mean", [0, 1, 2])):
        X = prediction_views(arrays, ViewPolicy(predict=predict))
        np.testing.assert_array_equal(views_of(X, 1), np.tile(expected, (4, 1)))


def test_a_block_with_one_view_is_repeated_under_shared_pairing():
    X = training_views([telling(4, 3, 1, 0), telling(4, 1, 1, 1)], ViewPolicy(), seed=0)
    np.testing.assert_array_equal(views_of(X, 1), np.zeros((4, 3)))


def test_unequal_view_counts_are_refused_when_shared_and_go_round_when_independent():
    arrays = [telling(4, 4, 1, 0), telling(4, 2, 1, 1)]
    with pytest.raises(ViewPolicyError, match=r"\[4, 2\]"):
        training_views(arrays, ViewPolicy(), seed=0)
    X = training_views(arrays, ViewPolicy(pairing="independent"), seed=0)
    np.testing.assert_array_equal(np.sort(views_of(X, 1)), np.tile([0, 0, 1, 1], (4, 1)))
    assert prediction_views(arrays, ViewPolicy(pairing="independent")).shape == (4, 4, 2)


def test_unfit_blocks_and_words_are_refused():
    with pytest.raises(BlockError, match="empty hybrid"):
        training_views([], ViewPolicy(), seed=0)
    with pytest.raises(BlockError, match="same images"):
        training_views([telling(4, 2, 1, 0), telling(5, 2, 1, 1)], ViewPolicy(), seed=0)
    with pytest.raises(ViewPolicyError, match="'none'"):
        training_views([BlockArrays(telling(4, 2, 1, 0).views)], ViewPolicy(train="plain"), seed=0)
    with pytest.raises(ValidationError, match="'plain', 'all' or 'random'"):
        ViewPolicy(train="randm")
    assert ViewPolicy(predict="plain").needs_plain and not ViewPolicy().needs_plain
