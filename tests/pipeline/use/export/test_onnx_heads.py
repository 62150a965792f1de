"""Every head of the zoo says the same as a torch module, and as an ONNX graph."""

import warnings
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from hamcache.heads.blocks import Block
from hamcache.heads.logit_adjustment import LogitAdjusted
from hamcache.heads.zoo import HEADS, build_head
from hamcache.pipeline.errors import ExportError
from hamcache.pipeline.use.export.onnx_heads import module_of

SMALL: dict[str, dict[str, Any]] = {
    "random_forest": {"n_estimators": 4, "min_samples_leaf": 6},
    "extra_trees": {"n_estimators": 4},
    "hist_gbdt": {"max_iter": 3, "max_leaf_nodes": 5, "n_components": 6},
    "mlp": {"max_epochs": 2, "hidden": [8], "batch_norm": True, "activation": "gelu"},
    "hybrid_mlp": {"max_epochs": 2, "embedding_dim": 8, "loss": "focal_sigmoid"},
    "stack": {"heads": [{"name": "logreg"}, {"name": "lda", "blocks": ["b"]}]},
    "rbf_svm": {"n_components": 5},
    "knn": {"n_components": 5},
}
TRANSFORMS = [("standardize", "l2"), ("power", "pca:3"), ("none", "standardize")]
DIMS = (6, 4)


def fitted(name: str, n_classes: int, transforms: tuple[str, str] = TRANSFORMS[0]) -> Any:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), 20)
    X = rng.normal(size=(n_classes, 1, sum(DIMS)))[y] + 2 * rng.normal(size=(len(y), 2, sum(DIMS)))
    blocks = [Block(label, dim, how) for label, dim, how in zip("ab", DIMS, transforms, strict=True)]
    classes = [f"class {code}" for code in range(n_classes)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_head(name, SMALL.get(name, {}), blocks=blocks, classes=classes).fit(X.astype(np.float32), y)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return (1.5 * np.random.default_rng(1).normal(size=(40, 2, sum(DIMS)))).astype(np.float32)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("name", HEADS)
def test_a_head_and_its_module_agree(name: str, n_classes: int, queries: np.ndarray) -> None:
    head = fitted(name, n_classes)
    found = module_of(head).eval()(torch.from_numpy(queries).transpose(0, 1)).detach().numpy()
    np.testing.assert_allclose(found, head.predict_proba(queries), rtol=0, atol=2e-6)


@pytest.mark.parametrize("transforms", TRANSFORMS)
def test_every_transform_of_blocks_is_in_the_module(transforms: tuple[str, str], queries: np.ndarray) -> None:
    head = fitted("lda", 3, transforms)
    found = module_of(head)(torch.from_numpy(queries).transpose(0, 1)).detach().numpy()
    np.testing.assert_allclose(found, head.predict_proba(queries), rtol=0, atol=2e-6)


OF_ALL_KINDS = ["logreg", "rbf_svm", "knn", "gaussian_nb", "random_forest", "hist_gbdt", "mlp", "hybrid_mlp", "stack"]
"""Heads that need all operators between them."""


class All(nn.Module):
    """Many heads in one graph: one export instead of ten."""

    def __init__(self, heads: list[Any]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(module_of(head) for head in heads)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return torch.stack([head(X) for head in self.heads])


def test_heads_of_all_kinds_say_the_same_as_onnx(queries: np.ndarray) -> None:
    heads = [fitted(name, 3) for name in OF_ALL_KINDS]
    heads.append(LogitAdjusted.of_fitted(heads[0], 0.7))
    X = torch.from_numpy(queries).transpose(0, 1).contiguous()
    with torch.no_grad():
        program = torch.onnx.export(
            All(heads).eval(), (X[:, :2],), dynamo=True, dynamic_shapes=({1: torch.export.Dim("n")},), verbose=False
        )
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    (name,) = (value.name for value in session.get_inputs())
    for some in (X[:, :1], X):
        (found,) = session.run(None, {name: some.numpy()})
        for label, head, proba in zip([*OF_ALL_KINDS, "adjusted"], heads, found, strict=True):
            expected = head.predict_proba(some.transpose(0, 1).numpy())
            np.testing.assert_allclose(proba, expected, rtol=0, atol=2e-6, err_msg=label)


def test_what_cannot_be_exported_names_what_can() -> None:
    class Strange:
        pass

    with pytest.raises(ExportError, match=r"\(EstimatorHead, LogregPathHead, MLPHead, .*\), got Strange"):
        module_of(Strange())
