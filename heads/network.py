"""The network of `mlp` and `hybrid_mlp`, built and trained without touching the global random state."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
}


class MLP(nn.Module):
    """Fully connected layers on one row of features, block by block at first if `embedding_dim` is given.

    Args:
        dims: widths of the blocks.
        n_classes: number of logits.
        hidden: sizes of the hidden layers; none makes it a linear classifier.
        embedding_dim: every block first goes through its own linear layer of this size and a ReLU.
        dropout: share of a hidden layer's outputs set to zero in training.
        batch_norm: normalise hidden layers over the batch.
        activation: a name in `ACTIVATIONS`.
        seed: of the first weights and of dropout.
    """

    def __init__(
        self,
        dims: Sequence[int],
        n_classes: int,
        hidden: Sequence[int] = (),
        embedding_dim: int | None = None,
        dropout: float = 0.0,
        batch_norm: bool = False,
        activation: str = "relu",
        seed: int = 0,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.dims = list(dims)
        width = sum(dims)
        # On the meta device layers are built without drawing their weights from the global generator.
        with torch.device("meta"):
            self.embeddings = nn.ModuleList(
                nn.Sequential(nn.Linear(dim, embedding_dim), nn.ReLU()) for dim in dims if embedding_dim
            )
            width = embedding_dim * len(dims) if embedding_dim else width
            layers: list[nn.Module] = []
            for size in hidden:
                layers.append(nn.Linear(width, size))
                if batch_norm:
                    layers.append(nn.BatchNorm1d(size))
                layers.append(ACTIVATIONS[activation]())
                if dropout:
                    layers.append(Dropout(dropout, generator))
                width = size
            self.layers = nn.Sequential(*layers, nn.Linear(width, n_classes))
        self.to_empty(device="cpu")
        for module in self.modules():
            if isinstance(module, nn.Linear):
                draw_linear(module, generator)
            elif isinstance(module, nn.BatchNorm1d):
                module.reset_parameters()

    def forward(self, X: Tensor) -> Tensor:
        """Logits [b, C] of rows [b, sum(dims)]."""
        if self.embeddings:
            parts = X.split(self.dims, dim=1)
            X = torch.cat([embed(part) for embed, part in zip(self.embeddings, parts, strict=True)], dim=1)
        return self.layers(X)


class Dropout(nn.Module):
    """Dropout that draws from its own generator."""

    def __init__(self, share: float, generator: torch.Generator):
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, X: Tensor) -> Tensor:
        """In training, zeros in place of `share` of the numbers; the others grow so that the mean stays."""
        if not self.training:
            return X
        keep = torch.empty_like(X).bernoulli_(1 - self.share, generator=self.generator)
        return X * keep / (1 - self.share)


def draw_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    """Weights and bias uniform within 1/sqrt(inputs), as torch draws them, from `generator`."""
    bound = 1 / math.sqrt(layer.in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)


def geometric_sizes(first: int, last: int, layers: int) -> list[int]:
    """Sizes of hidden layers that fall geometrically from `first` (exclusive) to `last` (exclusive)."""
    return [round(size) for size in np.geomspace(first, last, layers + 2)[1:-1]]
