"""Digest of a network of one's own: of all that decides its features beside its weights.

Two things are in it. The *structure*: for every part of the network its class and its plain attributes (a stride is in
no state dict). The *code*: see `data.source_digest`. The versions of installed libraries are provenance.

What can't be written down, such as a lambda, is refused: features must not be found again under a name that could mean
something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from hamcache.data.source_digest import SourceTeller
from hamcache.extract.errors import BackboneCodeError

OF_TORCH = frozenset(vars(nn.Module()))
"""Attributes that every module has: weights (digested elsewhere), parts (visited one by one), hooks, and the mode."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def code_digest(module: nn.Module, factory: FunctionType | type | None = None) -> str:
    """sha256 of a network's structure and of the code behind it.

    Args:
        module: the network.
        factory: what has made it, if it is known.

    Raises:
        BackboneCodeError: something in it has no source, or can't be written down.
    """
    teller = _NetTeller(factory.__module__.partition(".")[0] if factory is not None else None)
    try:
        lines = list(teller.structure(module))
    except RecursionError:
        raise teller.refused("a part holds itself", "Keep plain values and parts in the attributes.") from None
    if factory is not None:
        teller.note(factory)
    return hashlib.sha256("\n".join([*lines, *teller.sources()]).encode()).hexdigest()


class _NetTeller(SourceTeller):
    """Writes a network down, and remembers the code it meets."""

    plain = (*SourceTeller.plain, torch.dtype, torch.device, torch.Size)

    def refused(self, reason: str, advice: str) -> Exception:
        """The error for a network that can't be written down."""
        return BackboneCodeError(
            "Expected a network whose code can be named exactly, since it is part of the name of its features, got one "
            f"where {reason}. {advice}"
        )

    def structure(self, module: nn.Module) -> Iterator[str]:
        """One line for each part of a network."""
        for name, part in module.named_modules():
            for hooks in HOOKS:
                if vars(part).get(hooks):
                    raise self.refused(f"{name or 'the network'} has a hook", "Write it into the network's forward.")
            attributes = {key: value for key, value in vars(part).items() if key not in OF_TORCH}
            told = self.value(attributes, name or "network")
            yield f"{name} {self.note(type(part))} {told}"

    def value(self, value: Any, where: str) -> str:
        """An attribute in words that are the same in every process."""
        if isinstance(value, torch.Tensor):
            return super().value(value.detach().cpu().float().numpy(), where)
        if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
            return f"method {self.note(value.__func__)} of "
        if isinstance(value, nn.Module):  # kept beside the network's parts, in a list for example
            return f"{[*self.structure(value)]} {self.value(dict(value.state_dict()), where)}"
        return super().value(value, where)
