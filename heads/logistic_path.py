"""Multinomial logistic regressions of many penalties on the same rows, fitted together."""

from collections import deque
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.linear_model import LogisticRegression

Search = Generator[NDArray[np.float64], tuple[float, NDArray[np.float64]], tuple[NDArray[np.float64], int]]
MEMORY = 10
"""Steps that L-BFGS remembers, as scikit-learn's does."""


def logistic_path(
    rows: NDArray[np.float32],
    y: NDArray[np.int64],
    weight: NDArray[np.float64],
    Cs: Sequence[float],
    *,
    tol: float = 1e-4,
    max_iter: int = 500,
) -> list[LogisticRegression]:
    """One logistic regression for each penalty.

    Each minimises what scikit-learn's `LogisticRegression` minimises (the rows' weighted cross-entropy plus |W|^2 / 2C)
    and is one of them. Two things make them cheap. All searches ask for the loss at one point each, so rows are read
    once for all of them, in one product of matrices. And the rows are first turned onto their principal axes: there the
    curvature is nearly diagonal and known beforehand (Boehning, 1992), so that axes scaled by it take fewer steps.

    Args:
        rows: features [n, d].
        y: codes [n], every class from 0 to C - 1 among them.
        weight: of each row [n].
        Cs: inverses of the penalty.
        tol: largest gradient of the mean loss at the end, on the scaled axes.
        max_iter: steps at most, for each penalty.

    Returns:
        The fitted classifiers, in the order of `Cs`.
    """
    mean = (weight @ rows / weight.sum()).astype(rows.dtype)
    centred = rows - mean
    axes, squares = _principal_axes(centred, weight)
    loss = _Loss(centred @ axes, y, weight)
    scales = [loss.scale(C, squares) for C in Cs]
    searches = [_search(np.zeros(scale.size), tol, max_iter) for scale in scales]
    ended: dict[int, tuple[NDArray[np.float64], int]] = {}
    points = {number: next(search) for number, search in enumerate(searches)}
    while points:
        asked = [(Cs[number], scales[number], point) for number, point in points.items()]
        for number, answer in zip(list(points), loss.at(asked), strict=True):
            try:
                points[number] = searches[number].send(answer)
            except StopIteration as end:
                ended[number] = end.value
                del points[number]
    fitted = []
    for number, C in enumerate(Cs):
        solution, steps = ended[number]
        weights = (solution.reshape(scales[number].shape) * scales[number]).astype(rows.dtype)
        coef = (axes @ weights[:-1]).T
        fitted.append(_classifier(C, max_iter, coef, weights[-1] - coef @ mean, steps))
    return fitted


def _principal_axes(
    rows: NDArray[np.float32], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Axes [d, r] on which the weighted rows are uncorrelated, and their sums of squares there [r]; r = min(n, d)."""
    scaled = rows * np.sqrt(weight)[:, None].astype(rows.dtype)
    if scaled.shape[0] >= scaled.shape[1]:
        squares, axes = eigh(scaled.T @ scaled, driver="evd")
        return axes, np.maximum(squares, 0)
    squares, sides = eigh(
        scaled @ scaled.T, driver="evd"
    )  # fewer rows than columns: no solution leaves the space of the rows
    kept = squares > squares[-1] * len(squares) * np.finfo(rows.dtype).eps
    squares, sides = squares[kept], sides[:, kept]
    return scaled.T @ (sides / np.sqrt(squares)), squares


class _Loss:
    """The mean loss of linear scores on rows [n, r], and its gradient, for several penalties at once."""

    def __init__(self, rows: NDArray[np.float32], codes: NDArray[np.int64], weight: NDArray[np.float64]):
        self._rows, self._codes, self._numbers = rows, codes, np.arange(len(rows))
        self._total = float(weight.sum())
        self._share = weight / self._total
        self._classes = int(codes.max()) + 1

    def scale(self, C: float, squares: NDArray[np.float32]) -> NDArray[np.float64]:
        """Factors for steps along each axis [r + 1, C]: one over the root of the curvature there."""
        frequent = np.bincount(self._codes, self._share, self._classes)
        spread = frequent * (1 - frequent)
        return 1 / np.sqrt(np.vstack([np.outer(squares, spread) + 1 / C, self._total * spread]) / self._total)

    def at(
        self, asked: Sequence[tuple[float, NDArray[np.float64], NDArray[np.float64]]]
    ) -> list[tuple[float, NDArray[np.float64]]]:
        """Value and gradient for each C, scale and point."""
        weights = [point.reshape(scale.shape) * scale for _, scale, point in asked]
        joined = np.stack(weights, axis=2).astype(self._rows.dtype).reshape(len(weights[0]), -1)
        scores = (self._rows @ joined[:-1] + joined[-1]).reshape(len(self._rows), self._classes, len(asked))
        scores -= scores.max(axis=1, keepdims=True)
        own = scores[self._numbers, self._codes]
        error = np.exp(scores, out=scores)
        sums = error.sum(axis=1)
        fits = self._share @ (own - np.log(sums))
        error *= (self._share[:, None] / sums).astype(error.dtype)[:, None]
        error[self._numbers, self._codes] -= self._share.astype(error.dtype)[:, None]
        error = error.reshape(len(error), -1)
        slopes = np.vstack([self._rows.T @ error, error.sum(axis=0)]).reshape(-1, self._classes, len(asked))
        answers = []
        for number, (C, scale, _) in enumerate(asked):
            penalised = weights[number] / (C * self._total)
            penalised[-1] = 0
            value = float((penalised * weights[number]).sum() / 2 - fits[number])
            answers.append((value, ((slopes[:, :, number] + penalised) * scale).ravel()))
        return answers


def _search(start: NDArray[np.float64], tol: float, max_iter: int) -> Search:
    """L-BFGS (Nocedal & Wright, 2006, algorithm 7.5) that yields points, and takes the value and the gradient there."""
    point, steps = start, 0
    value, gradient = yield point
    memory: deque[tuple[NDArray[np.float64], NDArray[np.float64], float]] = deque(maxlen=MEMORY)
    while steps < max_iter and np.abs(gradient).max() > tol:
        direction = -_newton(gradient, memory)
        slope, length = gradient @ direction, 1.0
        for _ in range(40):
            there, gradient_there = yield point + length * direction
            if there <= value + 1e-4 * length * slope:
                break
            length /= 2
        else:
            break  # nothing below: the precision of the numbers is reached
        change = gradient_there - gradient
        if (product := float(length * (direction @ change))) > 0:
            memory.append((length * direction, change, product))
        point, value, gradient, steps = point + length * direction, there, gradient_there, steps + 1
    return point, steps


def _newton(gradient: NDArray[np.float64], memory: deque[Any]) -> NDArray[np.float64]:
    """The gradient times the inverse of the curvature that the remembered steps tell of."""
    step, shares = gradient.copy(), []
    for moved, change, product in reversed(memory):
        shares.append(moved @ step / product)
        step -= shares[-1] * change
    if memory:
        _, change, product = memory[-1]
        step *= product / (change @ change)
    for (moved, change, product), share in zip(memory, reversed(shares), strict=True):
        step += (share - change @ step / product) * moved
    return step


def _classifier(
    C: float, max_iter: int, coef: NDArray[Any], intercept: NDArray[Any], iterations: int
) -> LogisticRegression:
    classifier = LogisticRegression(C=C, max_iter=max_iter)
    classifier.classes_, classifier.n_features_in_ = np.arange(len(coef)), coef.shape[1]
    classifier.n_iter_ = np.array([iterations], dtype=np.int32)
    if len(coef) == 2:  # scikit-learn keeps one column of two classes
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    classifier.coef_, classifier.intercept_ = coef, intercept.astype(coef.dtype)
    return classifier
