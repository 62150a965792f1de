"""Post-hoc logit adjustment: shift any head's probabilities between frequent and rare classes after training."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heads.base import BaseHead, FitOptions, Scorer
from heads.errors import HeadParamsError

# Negative values give back to the frequent classes what class weights took from them.
TAUS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(-20, 41))


def adjusted(probabilities: NDArray[np.float64], prior: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """`p x prior^-tau`, rows scaled to sum 1 (Menon et al., ICLR 2021); float64 [n, C]."""
    shifted = probabilities * prior**-tau
    return shifted / shifted.sum(axis=1, keepdims=True)


class LogitAdjusted(BaseHead):
    """A head whose probabilities are adjusted by `tau`; `fit` trains the head, `tune_tau` chooses tau.

    `scores_` is there after `tune_tau`: the validation score of each tau tried.
    """

    scores_: dict[float, float]

    def __init__(self, head: BaseHead, tau: float = 0.0):
        self.head = head
        self.tau = tau

    @classmethod
    def of_fitted(cls, head: BaseHead, tau: float) -> "LogitAdjusted":
        """A fitted head behind the adjustment, fitted too."""
        wrapped = cls(head, tau)
        for name in ("classes_", "counts_", "prior_", "history_", "n_features_in_"):
            setattr(wrapped, name, getattr(head, name))
        return wrapped

    @property
    def classes(self) -> Sequence[str]:  # type: ignore[override]
        """Class names in code order."""
        return self.head.classes

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        self.head.fit(X, y, **vars(options))
        self.history_ = self.head.history_

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The head's probabilities (averaged over views), adjusted."""
        return adjusted(self.head.predict_proba(X), self.prior_, self.tau)


def tune_tau(head: BaseHead, X: ArrayLike, y: ArrayLike, metric: Scorer, taus: Sequence[float] = TAUS) -> LogitAdjusted:
    """Wrap a fitted head with the tau that scores best on validation data.

    Args:
        head: fitted.
        X: validation features [n, d] or [n, views, d]; never those of the test part.
        y: their codes [n].
        metric: `metric(y, probabilities) -> float`, higher is better.
        taus: what to try; of equally good ones the smallest in size is taken.

    Raises:
        HeadParamsError: no tau to try.
    """
    if not taus:
        raise HeadParamsError("Expected at least one tau to try, but got none.")
    codes = np.asarray(y)
    probabilities = head.predict_proba(X)
    scores = {float(tau): float(metric(codes, adjusted(probabilities, head.prior_, tau))) for tau in taus}
    best = max(scores, key=lambda tau: (scores[tau], -abs(tau)))
    tuned = LogitAdjusted.of_fitted(head, best)
    tuned.scores_ = scores
    return tuned
