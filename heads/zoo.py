"""The zoo: every head by name, with its parameters and how it is built."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.linear_model import LogisticRegression

from heads.base import BaseHead
from heads.blocks import Block, BlockTransformer
from heads.errors import UnknownHeadError
from heads.estimator import EstimatorHead
from heads.mlp import MLPHead
from heads.params import HeadParams, HybridMLPParams, LogregParams, MLPParams, as_arguments
from heads.validation import validated


@dataclass(frozen=True)
class Setting:
    """What a head is built for: the blocks it will see, the class names in code order, and its seed."""

    blocks: tuple[Block, ...]
    classes: tuple[str, ...]
    seed: int

    def transformer(self) -> BlockTransformer:
        """The blocks' transformer, not fitted."""
        return BlockTransformer(
            tuple(block.dim for block in self.blocks),
            tuple(block.transform for block in self.blocks),
            self.seed,
        )


@dataclass(frozen=True)
class HeadSpec:
    """An entry of `HEADS`."""

    params: type[HeadParams]
    build: Callable[[Any, Setting], BaseHead]
    description: str
    has_epochs: bool = False


def _logreg(params: LogregParams, setting: Setting) -> BaseHead:
    classifier = LogisticRegression(C=params.C, max_iter=params.max_iter)
    return EstimatorHead(setting.classes, setting.transformer(), classifier, params.class_weight, seed=setting.seed)


def _mlp(params: MLPParams, setting: Setting) -> BaseHead:
    return MLPHead(setting.classes, setting.transformer(), **as_arguments(params), seed=setting.seed)


def _hybrid_mlp(params: HybridMLPParams, setting: Setting) -> BaseHead:
    arguments = as_arguments(params)
    return MLPHead(
        setting.classes,
        setting.transformer(),
        hidden=arguments.pop("hidden_layers"),
        **arguments,
        seed=setting.seed,
    )


HEADS: dict[str, HeadSpec] = {
    "logreg": HeadSpec(LogregParams, _logreg, "multinomial logistic regression"),
    "mlp": HeadSpec(MLPParams, _mlp, "multilayer perceptron on the concatenated blocks", True),
    "hybrid_mlp": HeadSpec(HybridMLPParams, _hybrid_mlp, "the founding project's hybrid network", True),
}


def head_params(name: str) -> type[HeadParams]:
    """The parameter model of the head `name`; UnknownHeadError offers the nearest name."""
    if name not in HEADS:
        raise UnknownHeadError(name, HEADS)
    return HEADS[name].params


def build_head(
    name: str,
    params: Mapping[str, Any],
    *,
    blocks: Sequence[Block],
    classes: Sequence[str],
    seed: int = 0,
) -> BaseHead:
    """The head `name`, not fitted.

    Args:
        name: a key of `HEADS`.
        params: its parameters; what is left out keeps its default.
        blocks: the blocks in the order of the feature columns.
        classes: class names in code order.
        seed: of everything the head draws.

    Raises:
        UnknownHeadError: an unknown name, with the nearest valid one.
        HeadParamsError: unknown parameters or unfit values.
    """
    checked = validated(head_params(name), params, f"head {name}")
    return HEADS[name].build(checked, Setting(tuple(blocks), tuple(classes), seed))
