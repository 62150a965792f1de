"""The state of a training in one file: safetensors, whose header carries the numbers and lists as JSON.

The file is replaced whole after every epoch, so a process that is killed leaves the last finished epoch behind.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hamcache.data.files import replacing
from hamcache.heads.errors import CheckpointError

FILE = "checkpoint.safetensors"


@dataclass
class Standing:
    """Progress of a training, in numbers.

    Attributes:
        rows: the history, one dict an epoch.
        phase: number of the phase in progress.
        epochs: finished epochs of that phase.
        best_epoch, best_score: the best so far (higher is better); None before the first scored epoch.
        misses: epochs since then, in this phase.
        schedule: state of the learning rate schedule; empty for none.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    phase: int = 0
    epochs: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    misses: int = 0
    schedule: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Checkpoint:
    """Complete state of a training, from which it is resumed.

    Attributes:
        standing: numbers.
        weights: the network's state dict.
        best: state dict of the best epoch so far; empty before the first scored epoch.
        optimizer: state dict of the optimiser of the phase in progress; None at the beginning of a phase.
    """

    standing: Standing
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: dict[str, Any] | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write into `folder` (made if missing), replacing what was there in one step."""
    tensors = {f"weights.{name}": value for name, value in checkpoint.weights.items()}
    tensors |= {f"best.{name}": value for name, value in checkpoint.best.items()}
    content: dict[str, Any] = {"standing": asdict(checkpoint.standing)}
    if checkpoint.optimizer is not None:
        content["groups"] = checkpoint.optimizer["param_groups"]
        content["numbers"] = {}
        for index, state in checkpoint.optimizer["state"].items():
            for name, value in state.items():
                if isinstance(value, Tensor):
                    tensors[f"optimizer.{index}.{name}"] = value
                else:
                    content["numbers"][f"{index}.{name}"] = value
    plain = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    with replacing(folder / FILE) as partial:
        save_file(plain, partial, metadata={"content": json.dumps(content)})


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The checkpoint in `folder`, or None where there is none.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads(file.metadata()["content"])  # a learning rate schedule may hold infinity
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        standing = Standing(**content["standing"])
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"Expected a checkpoint in {path}, got a file that cannot be read ({error}). Remove it to start anew."
        ) from error
    parts: dict[str, dict[str, Tensor]] = {"weights": {}, "best": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    optimizer = None
    if "groups" in content:
        state: dict[int, dict[str, Any]] = {}
        for name, value in {**parts["optimizer"], **content["numbers"]}.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        optimizer = {"state": state, "param_groups": content["groups"]}
    return Checkpoint(standing, parts["weights"], parts["best"], optimizer)


def restore(checkpoint: Checkpoint, network: nn.Module, folder: Path) -> None:
    """Load the network's weights.

    Raises:
        CheckpointError: they are those of another network.
    """
    try:
        network.load_state_dict(checkpoint.weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"Expected the weights of this network in {folder / FILE}, got others ({error}). Remove it to start anew."
        ) from error


def restore_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state; running means get their parameter's memory layout, so that sums round the same."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    laid_out = {
        index: {
            name: torch.empty_like(parameters[index], dtype=value.dtype).copy_(value)
            if isinstance(value, Tensor) and value.shape == parameters[index].shape
            else value
            for name, value in values.items()
        }
        for index, values in state["state"].items()
    }
    optimizer.load_state_dict({"state": laid_out, "param_groups": state["param_groups"]})
