import numpy as np
import pytest
import torch

from hamcache.heads.base import BaseHead
from hamcache.heads.blocks import Block
from hamcache.heads.errors import WarmStartError
from hamcache.heads.nets.warm_start import last_layer
from hamcache.heads.zoo import build_head

CLASSES = ("akiec", "bcc", "bkl", "df")


def fitted(
    features, name: str, transform: str = "standardize", classes: int = 4, **params
) -> tuple[BaseHead, np.ndarray]:
    X, y = features(classes=classes)
    head = build_head(name, params, blocks=[Block("a", 32, transform)], classes=CLASSES[:classes], seed=0)
    return head.fit(X, y), X[:, 0]


@pytest.mark.parametrize("transform", ["standardize", "none", "pca:5"])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("logreg", {}),
        ("mlp", {"hidden": [], "max_epochs": 2}),
        ("mlp", {"hidden": [], "loss": "focal", "max_epochs": 2}),
    ],
)
def test_the_layer_gives_the_heads_probabilities(features, name: str, params: dict, transform: str) -> None:
    head, X = fitted(features, name, transform, **params)
    layer = torch.nn.Linear(32, 4)
    last_layer(head).load_into(layer)
    with torch.inference_mode():
        probabilities = layer(torch.from_numpy(X)).softmax(dim=1).numpy()
    np.testing.assert_allclose(probabilities, head.predict_proba(X), atol=2e-5)


def test_two_classes_are_two_logits(features) -> None:
    head, X = fitted(features, "logreg", classes=2)
    layer = torch.nn.Linear(32, 2)
    last_layer(head).load_into(layer)
    with torch.inference_mode():
        np.testing.assert_allclose(layer(torch.from_numpy(X)).softmax(1).numpy(), head.predict_proba(X), atol=2e-5)


@pytest.mark.parametrize(
    ("name", "transform", "params"),
    [
        ("mlp", "standardize", {"hidden": [8], "max_epochs": 1}),
        ("mlp", "standardize", {"hidden": [], "loss": "focal_sigmoid", "max_epochs": 1}),
        ("gaussian_nb", "standardize", {}),
        ("logreg", "l2", {}),
        ("logreg", "power", {}),
    ],
)
def test_heads_that_are_not_linear_are_refused(features, name: str, transform: str, params: dict) -> None:
    head, _ = fitted(features, name, transform, **params)
    with pytest.raises(WarmStartError, match=r"linear in the features.*logreg, or mlp with hidden"):
        last_layer(head)


def test_a_head_on_other_features_is_refused(features) -> None:
    head, _ = fitted(features, "logreg")
    with pytest.raises(WarmStartError, match=r"for 16 features and 4 classes.*one for 32 and 4"):
        last_layer(head).load_into(torch.nn.Linear(16, 4))
