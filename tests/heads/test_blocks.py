import numpy as np
import pytest

from hamcache.heads.blocks import Block, BlockTransformer
from hamcache.heads.errors import BlockError, FeatureShapeError, UnknownNameError


@pytest.fixture
def rows() -> np.ndarray:
    return (np.random.default_rng(0).gamma(0.5, 3.0, size=(200, 15))).astype(np.float32)


def test_every_block_is_transformed_on_its_own(rows):
    both = BlockTransformer((10, 5), ("standardize", "pca:3")).fit(rows)
    out = both.transform(rows)
    assert out.dtype == np.float32 and both.output_dims_ == (10, 3)
    np.testing.assert_allclose(out[:, :10], (rows - rows.mean(0))[:, :10] / rows.std(0)[:10], atol=1e-4)
    alone = BlockTransformer((5,), ("pca:3",)).fit(rows[:, 10:]).transform(rows[:, 10:])
    np.testing.assert_allclose(out[:, 10:], alone, atol=1e-5)


def test_only_the_fitted_rows_decide_the_scale(rows):
    transformer = BlockTransformer((15,), ("standardize",)).fit(rows[:100])
    before = transformer.transform(rows[:10])
    transformer.transform(1000 * rows)
    np.testing.assert_array_equal(transformer.transform(rows[:10]), before)


@pytest.mark.parametrize("transform", ["standardize", "l2", "power"])
def test_standardised_transforms_give_mean_zero_and_variance_one(rows, transform):
    out = BlockTransformer((15,), (transform,)).fit(rows).transform(rows)
    np.testing.assert_allclose(out.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(0), 1, atol=1e-3)


def test_l2_forgets_the_length_of_a_row(rows):
    transformer = BlockTransformer((15,), ("l2",)).fit(rows)
    np.testing.assert_allclose(transformer.transform(7 * rows), transformer.transform(rows), atol=1e-4)


def test_power_takes_negative_numbers_and_keeps_their_order(rows):
    out = BlockTransformer((15,), ("power",)).fit(rows - 2).transform(rows - 2)
    assert (np.argsort(out[:, 0]) == np.argsort(rows[:, 0])).all()


def test_components_have_mean_variance_one_and_are_cut_to_the_rows(rows):
    out = BlockTransformer((15,), ("pca:4",)).fit(rows).transform(rows)
    assert out.var(axis=0, ddof=1).mean() == pytest.approx(1, rel=1e-3)
    assert BlockTransformer((15,), ("pca:12",)).fit(rows[:6]).transform(rows).shape == (200, 6)


def test_none_leaves_rows_and_drop_removes_them(rows):
    out = BlockTransformer((10, 5), ("drop", "none")).fit(rows).transform(rows)
    np.testing.assert_array_equal(out, rows[:, 10:])


def test_a_constant_column_stays_finite(rows):
    rows[:, 0] = 3
    for transform in ("standardize", "l2", "power", "pca:2"):
        assert np.isfinite(BlockTransformer((15,), (transform,)).fit(rows).transform(rows)).all()


def test_unfit_blocks_are_refused(rows):
    with pytest.raises(UnknownNameError, match="did you mean 'standardize'"):
        Block("a", 8, "standardise")
    for transform in ("pca:0", "pca:9", "pca:x", "pca:<k>"):
        with pytest.raises(BlockError, match="from 1 to 8"):
            Block("a", 8, transform)
    with pytest.raises(BlockError, match="empty hybrid"):
        BlockTransformer((), ()).fit(rows)
    with pytest.raises(FeatureShapeError, match="Expected 14"):
        BlockTransformer((14,), ("none",)).fit(rows)


@pytest.mark.parametrize("transform", ["standardize", "l2", "power"])
def test_many_rows_are_transformed_a_part_at_a_time_to_the_same_numbers(transform, monkeypatch) -> None:
    X = np.random.default_rng(0).normal(3, 2, size=(1000, 4)).astype(np.float32)
    whole = BlockTransformer((4,), (transform,)).fit(X).transform(X)
    monkeypatch.setattr("hamcache.heads.blocks.ROWS", 64)
    np.testing.assert_allclose(BlockTransformer((4,), (transform,)).fit(X).transform(X), whole, atol=1e-5)
