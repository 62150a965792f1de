"""The founding project's simple CNN: three convolutions and three hidden layers, trained from scratch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hamcache.extract.precision import arithmetic
from hamcache.extract.preprocess import Preprocessing
from hamcache.heads.errors import NetShapeError
from hamcache.heads.nets.image_network import IMAGENET_MEAN, IMAGENET_STD, ImageNetwork, Layers
from hamcache.heads.nets.net_params import SimpleCNNParams


class SimpleCNN(ImageNetwork):
    """Convolutions (same padding), ReLU, max pooling and dropout; then hidden layers, ReLU and dropout; then logits.

    Args:
        params: its layers, see `heads.nets.net_params.SimpleCNNParams`.
        n_classes: number of logits.
        precision: arithmetic of the convolutions, `fp32` or `bf16`.

    Raises:
        NetShapeError: pooling leaves nothing of images of this size.
    """

    def __init__(self, params: SimpleCNNParams, n_classes: int, precision: str = "fp32"):
        super().__init__()
        self.preprocessing = Preprocessing(params.image_size, params.fit, 1.0, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
        self.precision = precision
        height, width = pooled_size(params.image_size, [pool for _, _, pool, _ in params.conv])
        blocks, channels = [], 3
        for wide, kernel, pool, dropout in params.conv:
            block = [nn.Conv2d(channels, wide, kernel, padding="same", bias=not params.batch_norm)]
            norm = [nn.BatchNorm2d(wide)] if params.batch_norm else []
            blocks.append(nn.Sequential(*block, *norm, nn.ReLU(), nn.MaxPool2d(pool), nn.Dropout(dropout)))
            channels = wide
        layers, inputs = [], channels * height * width
        for units, dropout in params.fc:
            layers.append(nn.Sequential(nn.Linear(inputs, units), nn.ReLU(), nn.Dropout(dropout)))
            inputs = units
        self.conv = nn.Sequential(*blocks)
        self.fc = nn.Sequential(*layers)
        self.last = nn.Linear(inputs, n_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits float32 `[n, C]` of images uint8 `[n, 3, *preprocessing.size]`."""
        with arithmetic(self.precision, images.device.type):
            maps = self.conv(self.preprocessing.normalize(images))
        return self.last(self.fc(maps.float().flatten(1)))

    def trained_layers(self, phase: str) -> Layers:
        """All of them, at one learning rate."""
        return [(list(self.parameters()), 1.0)]


def pooled_size(size: Sequence[int], pools: Sequence[int]) -> tuple[int, int]:
    """Height and width that are left of an image after pooling by each of `pools`.

    >>> pooled_size((96, 128), [2, 2, 4])
    (6, 8)
    """
    height, width = size
    for number, pool in enumerate(pools, start=1):
        height, width = height // pool, width // pool
        if min(height, width) < 1:
            raise NetShapeError(
                f"Expected images larger than what the pools {list(pools)} leave over, but nothing is left of "
                f"{size[0]}x{size[1]} pixels after pool {number}: set a larger image_size or smaller pools."
            )
    return height, width


def build_simple_cnn(params: SimpleCNNParams, n_classes: int, precision: str, seed: int) -> SimpleCNN:
    """The network with first weights drawn from `seed`; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SimpleCNN(params, n_classes, precision)
