"""Batch norms with frozen statistics, computed inside the convolutions before them while a network is trained.

A norm whose statistics are frozen is a scale and an offset a channel. Multiplied into the convolution's weights, which
are small, instead of its output, which is large, it costs next to nothing; the gradients are the same, and reach the
norm's own parameters through the weights. `extract.folding` does the same for a network that is not trained.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from hamcache.extract.folding import TOLERANCE, conv_norm_pairs, rest_of_norm

Pairs = Sequence[tuple[str, str]]
"""Names of (convolution, batch norm) where the norm takes the convolution's output."""


@contextmanager
def norms_folded(module: nn.Module, pairs: Pairs) -> Iterator[None]:
    """Compute these norms inside their convolutions; parameters, their names and the statistics stay what they are."""
    hooks, norms = [], []
    try:
        for conv_name, norm_name in pairs:
            conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
            hooks.append(conv.register_forward_pre_hook(partial(_put_folded, norm)))
            hooks.append(conv.register_forward_hook(_take_folded, always_call=True))
            norm.__dict__["forward"] = rest_of_norm(norm)
            norms.append(norm)
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for norm in norms:
            norm.__dict__.pop("forward")


def foldable_pairs(module: nn.Module, example: Tensor, forward: Callable[[Tensor], Tensor]) -> Pairs:
    """The pairs that `norms_folded` can take; none where the outputs would change.

    Args:
        module: a network in eval mode, float32.
        example: one input batch.
        forward: how its output is computed from a batch.
    """
    with torch.no_grad():
        pairs = conv_norm_pairs(module, example, forward)
        before = forward(example)
        with norms_folded(module, pairs):
            after = forward(example)
    return pairs if (after - before).abs().max() <= TOLERANCE * before.abs().max() else ()


def _put_folded(norm: Any, conv: Any, _: Any) -> None:
    """Put the product of weights and norm where the convolution looks for its weights."""
    scale = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight
    offset = -norm.running_mean if conv.bias is None else conv.bias - norm.running_mean
    bias = offset * scale if norm.bias is None else offset * scale + norm.bias
    conv.__dict__ |= {"weight": conv.weight * scale.view(-1, 1, 1, 1), "bias": bias}


def _take_folded(conv: Any, *_: Any) -> None:
    for name in ("weight", "bias"):
        conv.__dict__.pop(name, None)
