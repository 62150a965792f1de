from collections.abc import Callable

import numpy as np
import pytest

from hamcache.heads.blocks import Block

CLASSES = ("akiec", "bcc", "bkl", "df")


@pytest.fixture
def blocks() -> list[Block]:
    return [Block("a", 20), Block("b", 12)]


@pytest.fixture(scope="session")
def features() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Gaussian clouds, one a class, with views that scatter around their image: X [n, v, d], y [n]."""

    def make(n: int = 240, views: int = 2, dim: int = 32, classes: int = 4, spread: float = 0.9, seed: int = 0):
        rng = np.random.default_rng(seed)
        means = np.random.default_rng(99).normal(size=(classes, dim)) * spread
        shares = np.geomspace(4, 1, classes)
        y = rng.choice(classes, size=n, p=shares / shares.sum())
        y[: 4 * classes] = np.arange(4 * classes) % classes
        images = means[y] + rng.normal(size=(n, dim))
        X = images[:, None] + 0.3 * rng.normal(size=(n, views, dim))
        return (5 * X + 2).astype(np.float32), y

    return make
