"""Ensembles of decision trees as tensor arithmetic: all trees go down one level at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Trees(nn.Module):
    """Sum of the leaves that rows end in.

    The nodes of all trees stand one after the other. A leaf's children are itself, so after as many steps as the
    deepest tree has levels, every row is in its leaf.

    Args:
        trees: Each as `feature` int, `threshold` float, `left` and `right` int (all `[nodes]`; a row goes left where
            its feature is not above the threshold; a leaf's children are negative) and `value` `[nodes, outputs]`.
    """

    def __init__(self, trees: Sequence[dict[str, np.ndarray]]) -> None:
        super().__init__()
        sizes = [len(tree["feature"]) for tree in trees]
        starts = np.cumsum([0, *sizes[:-1]])
        numbers = [np.arange(size) for size in sizes]
        sides = {
            side: np.concatenate(
                [
                    np.where(tree[side] < 0, nodes, tree[side]) + start
                    for tree, nodes, start in zip(trees, numbers, starts, strict=True)
                ]
            )
            for side in ("left", "right")
        }
        joined = {name: np.concatenate([tree[name] for tree in trees]) for name in ("feature", "threshold", "value")}
        self.levels = max(_depth(tree) for tree in trees)
        self.roots = nn.Buffer(torch.from_numpy(starts.astype(np.int64)))
        self.features = nn.Buffer(torch.from_numpy(np.maximum(joined["feature"], 0).astype(np.int64)))
        self.thresholds = nn.Buffer(torch.from_numpy(joined["threshold"].astype(np.float64)))
        self.ways = nn.Buffer(torch.from_numpy(np.stack([sides["left"], sides["right"]], axis=1).astype(np.int64)))
        self.values = nn.Buffer(torch.from_numpy(joined["value"].astype(np.float64)))

    def forward(self, X: Tensor) -> Tensor:
        """Float64 `[rows, outputs]` of float64 `[rows, dim]`."""
        at = self.roots.expand(X.shape[0], -1)
        ways = self.ways.flatten()
        for _ in range(self.levels):
            goes_right = X.gather(1, self.features[at]) > self.thresholds[at]
            at = ways[2 * at + goes_right.long()]
        return self.values[at].sum(dim=1)


def forest_trees(forest: Any) -> list[dict[str, np.ndarray]]:
    """The trees of a fitted scikit-learn forest; leaves hold the classes' shares, divided by the number of trees."""
    return [
        {
            "feature": tree.tree_.feature,
            "threshold": tree.tree_.threshold,
            "left": tree.tree_.children_left,
            "right": tree.tree_.children_right,
            "value": tree.tree_.value[:, 0, :] / len(forest.estimators_),
        }
        for tree in forest.estimators_
    ]


def boosted_trees(booster: Any) -> list[dict[str, np.ndarray]]:
    """The trees of a fitted `HistGradientBoostingClassifier` on numbers; a tree adds to one class's score only."""
    trees = []
    for round_ in booster._predictors:
        for output, predictor in enumerate(round_):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            value = np.zeros((len(nodes), len(round_)))
            value[:, output] = np.where(is_leaf, nodes["value"], 0)
            trees.append(
                {
                    "feature": nodes["feature_idx"].astype(np.int64),
                    "threshold": nodes["num_threshold"],
                    "left": np.where(is_leaf, -1, nodes["left"].astype(np.int64)),
                    "right": np.where(is_leaf, -1, nodes["right"].astype(np.int64)),
                    "value": value,
                }
            )
    return trees


def _depth(tree: dict[str, np.ndarray]) -> int:
    """Levels below the root."""
    level, levels = np.array([0]), 0
    while len(level):
        inner = level[tree["left"][level] >= 0]
        level = np.concatenate([tree["left"][inner], tree["right"][inner]])
        levels += bool(len(level))
    return levels
