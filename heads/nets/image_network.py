"""The base of networks from images: preprocessing, logits, and the layers of each phase."""

from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from hamcache.extract.preprocess import Preprocessing

Layers = list[tuple[list[nn.Parameter], float]]
"""Layers that are trained: parameters, and their learning rate as a share of the phase's; the last layer's first."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ImageNetwork(nn.Module):
    """A network from uint8 images of `preprocessing.size` to logits, ending in the linear layer `last`."""

    preprocessing: Preprocessing
    last: nn.Linear
    precision: str

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 `[n, C]` of images uint8 `[n, 3, *preprocessing.size]`."""
        raise NotImplementedError

    def in_training(self) -> AbstractContextManager[None]:
        """Context of the steps of an epoch; nothing else may use the network meanwhile."""
        return nullcontext()

    def trained_layers(self, phase: str) -> Layers:
        """Make the layers of a phase trainable, all others not, and return them."""
        raise NotImplementedError
