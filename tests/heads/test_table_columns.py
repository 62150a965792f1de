"""The transform of a metadata block, beside scikit-learn's."""

import numpy as np
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from hamcache.heads.blocks import Block, BlockTransformer
from hamcache.heads.persist import load_head, save_head
from hamcache.heads.table_columns import TableColumns, table_columns, transform_of
from hamcache.heads.zoo import build_head

X = np.array([[30, 1, 1], [50, 1, 2], [0, 0, 2], [70, 1, 0]], dtype=np.float32)  # number, whether it is there, word


def test_numbers_are_standardised_and_words_one_hot_as_scikit_learn_does_it() -> None:
    found = TableColumns("nw").fit(X).transform(X)
    scaler = StandardScaler().fit(X[X[:, 1] > 0, :1])
    known = X[:, 1] > 0
    np.testing.assert_allclose(found[known, 0], scaler.transform(X[known, :1])[:, 0], rtol=1e-6)
    assert found[2, 0] == 0 and found[:, 1].tolist() == [0, 0, 1, 0]
    np.testing.assert_array_equal(found[:, 2:], OneHotEncoder(sparse_output=False).fit_transform(X[:, 2:]))
    np.testing.assert_array_equal(TableColumns("nw", 3.0).fit(X).transform(X), 3 * found)


def test_what_training_rows_lack_gets_no_column_and_counts_as_nothing() -> None:
    fitted = TableColumns("nw").fit(X[:2])
    found = fitted.transform(np.array([[0, 0, 1], [40, 1, 3], [40, 1, -1], [40, 1, 0]], dtype=np.float32))
    assert found.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]  # the mean; words 1 and 2


def test_its_name_is_that_of_a_blocks_transform() -> None:
    made = table_columns(transform_of("nw", 2.0))
    assert made is not None and (made.kinds, made.weight) == ("nw", 2.0)
    assert table_columns("pca:3") is None and table_columns("metadata:") is None
    rows = np.hstack([np.arange(8, dtype=np.float32).reshape(4, 2), X])
    blocks = BlockTransformer((2, 3), ("standardize", transform_of("nw", 1.0))).fit(rows)
    np.testing.assert_array_equal(blocks.transform(rows)[:, 2:], TableColumns("nw").fit(X).transform(X))


def test_a_head_keeps_it_without_pickle(tmp_path) -> None:
    blocks = [Block("metadata", 3, transform_of("nw", 1.0))]
    head = build_head("logreg", {}, blocks=blocks, classes=("a", "b")).fit(X, np.array([0, 1, 0, 1]))
    save_head(head, tmp_path)
    np.testing.assert_array_equal(load_head(tmp_path).predict_proba(X), head.predict_proba(X))
