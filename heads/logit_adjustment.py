"""Post-hoc logit adjustment: shift any head's probabilities between frequent and rare classes after training."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hamcache.heads.base import BaseHead, FitOptions

# Negative values give back to the frequent classes what class weights took from them.
TAUS: tuple[float, ...] = tuple(round(0.05 * step, 2) for step in range(-20, 41))


def adjusted(probabilities: NDArray[np.float64], prior: NDArray[np.float64], tau: float) -> NDArray[np.float64]:
    """`p x prior^-tau`, rows scaled to sum 1 (Menon et al., ICLR 2021); float64 [n, C]."""
    shifted = probabilities * prior**-tau
    return shifted / shifted.sum(axis=1, keepdims=True)


class LogitAdjusted(BaseHead):
    """A head whose probabilities are adjusted by `tau`; `fit` trains the head."""

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
    def classes(self) -> Sequence[str] | None:  # type: ignore[override]
        """Class names in code order."""
        return self.head.classes

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        self.head.fit(X, y, **vars(options))
        self.history_ = self.head.history_

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The head's probabilities (averaged over views), adjusted."""
        return adjusted(self.head.predict_proba(X), self.prior_, self.tau)


def unadjusted(head: Any) -> Any:
    """The head or network behind an adjustment; one without an adjustment is given as it is."""
    return head.head if isinstance(head, LogitAdjusted) else head
