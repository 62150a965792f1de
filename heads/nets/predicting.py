"""Probabilities of images from a network that is trained."""

import numpy as np
import torch
from numpy.typing import NDArray

from hamcache.heads.losses import Loss
from hamcache.heads.nets.image_batches import ViewSource, stacked
from hamcache.heads.nets.image_network import ImageNetwork


def predict_logits(network: ImageNetwork, source: ViewSource, views: int) -> torch.Tensor:
    """Logits float32 `[n, views, C]` of views 0 to `views` - 1 of all images of a source, on the CPU."""
    device = network.last.weight.device
    network.eval()
    parts = []
    with torch.inference_mode():
        for rows, batch in stacked(source, np.arange(len(source.ids)), views):
            parts.append(network(batch.to(device)).float().cpu().unflatten(0, (len(rows), views)))
    return torch.cat(parts)


def mean_probabilities(loss: Loss, logits: torch.Tensor) -> NDArray[np.float64]:
    """Probabilities float64 `[n, C]` of logits `[n, views, C]`, averaged over the views; rows sum to 1."""
    rows = loss.probabilities(logits.flatten(0, 1)).unflatten(0, logits.shape[:2])
    probabilities = rows.mean(dim=1).double().cpu().numpy()
    return probabilities / probabilities.sum(axis=1, keepdims=True)
