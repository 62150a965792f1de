"""Fold batch normalisation into the convolution before it: exact algebra for a frozen network, a quarter less time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

TOLERANCE = 1e-3
"""Largest accepted change of an output, relative to the largest output, in float32."""


def fold_batch_norm(module: nn.Module, example: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor]) -> int:
    """Fold every batch norm that directly follows a convolution, in place; undo it all if the output changes.

    Pairs of convolution and norm are found by running `forward(example)` once and comparing the tensors that go in
    and out, so it needs no knowledge of the architecture. A batch norm with an activation inside (timm's
    `BatchNormAct2d`) leaves its activation behind.

    Args:
        module: a network in eval mode, float32.
        example: one input batch.
        forward: how the features are computed from a batch.

    Returns:
        Number of batch norms folded; 0 if folding would have changed the features.
    """
    before = forward(example)
    pairs = conv_norm_pairs(module, example, forward)
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    for conv_name, norm_name in pairs:
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(conv, norm)
        undo += [_replace(module, conv_name, fused), _replace(module, norm_name, rest_of_norm(norm))]
    after = forward(example)
    if (after - before).abs().max() > TOLERANCE * before.abs().max():
        for parent, name, original in undo:
            setattr(parent, name, original)
        return 0
    return len(pairs)


def conv_norm_pairs(
    module: nn.Module, example: torch.Tensor, forward: Callable[[torch.Tensor], torch.Tensor]
) -> list[tuple[str, str]]:
    """Names of (convolution, batch norm) where the norm's input is the convolution's output."""
    made_by: dict[int, str] = {}
    alive: list[torch.Tensor] = []  # keeps the outputs alive, so that no id() is used twice
    pairs: list[tuple[str, str]] = []
    hooks = []
    for name, part in module.named_modules():
        if isinstance(part, nn.Conv2d):

            def after_conv(_: nn.Module, __: object, output: torch.Tensor, name: str = name) -> None:
                made_by[id(output)] = name
                alive.append(output)

            hooks.append(part.register_forward_hook(after_conv))
        elif isinstance(part, nn.BatchNorm2d) and part.track_running_stats:

            def before_norm(_: nn.Module, inputs: tuple[torch.Tensor, ...], name: str = name) -> None:
                if id(inputs[0]) in made_by:
                    pairs.append((made_by[id(inputs[0])], name))

            hooks.append(part.register_forward_pre_hook(before_norm))
    try:
        forward(example)
    finally:
        for hook in hooks:
            hook.remove()
    return pairs


def rest_of_norm(norm: nn.Module) -> nn.Module:
    """Work of a norm layer beside normalising: timm's has dropout and activation inside."""
    rest = [part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None]
    rest = [part for part in rest if not isinstance(part, nn.Identity)]
    return rest[0] if len(rest) == 1 else nn.Sequential(*rest)


def _replace(module: nn.Module, name: str, new: nn.Module) -> tuple[nn.Module, str, nn.Module]:
    parent_name, _, child = name.rpartition(".")
    parent = module.get_submodule(parent_name)
    original = getattr(parent, child)
    setattr(parent, child, new)
    return parent, child, original
