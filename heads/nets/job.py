"""The nouns that the loop and its callbacks share: the network, its images, its phases and its progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hamcache.heads.losses import Loss
from hamcache.heads.metrics import Metric
from hamcache.heads.nets.checkpoint import Checkpoint
from hamcache.heads.nets.image_batches import ViewSource
from hamcache.heads.nets.image_network import ImageNetwork
from hamcache.heads.nets.net_params import NetParams
from hamcache.heads.nets.predicting import mean_probabilities, predict_logits


@dataclass(frozen=True)
class Progress:
    """The progress of a training; epochs count over all phases, from 1."""

    phase: str
    epoch: int
    epochs: int
    images: int
    images_an_epoch: int

    @property
    def share(self) -> float:
        """Share of all epochs that is done, 0 to 1."""
        return (self.epoch - 1 + self.images / self.images_an_epoch) / self.epochs


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimiser: `name` decides which layers are trained."""

    name: str
    epochs: int
    lr: float


@dataclass(frozen=True, eq=False)
class Part:
    """Images with their codes.

    Attributes:
        source: makes the views.
        y: int64 codes `[n]` of `source.ids`.
        views: views an image whose probabilities are averaged (not used in training).
    """

    source: ViewSource
    y: NDArray[np.int64]
    views: int = 1


@dataclass(frozen=True)
class Session:
    """The surroundings of a training: where its checkpoint lies, and who hears of it.

    Attributes:
        folder: where the checkpoint lives; None for none.
        log: takes one line per epoch.
        on_progress: called after each batch.
        callbacks: further skorch callbacks.
    """

    folder: Path | None = None
    log: Callable[[str], None] = lambda line: None
    on_progress: Callable[[Progress], None] | None = None
    callbacks: Sequence[Any] = ()


UNHEARD = Session()
"""No checkpoint, no listener."""


@dataclass(frozen=True, eq=False)
class Training:
    """A network with its images, and whoever is told of its training.

    Attributes:
        network, loss: on the device where they are trained.
        params: optimiser, schedule, sampler and so on.
        train, validation: the images; without validation the last epoch counts as the best.
        metric: the score that the best epoch is chosen by.
        seed: of order, sampling and dropout.
        session: where the checkpoint lies, and who hears of the training.
    """

    network: ImageNetwork
    loss: Loss
    params: NetParams
    train: Part
    validation: Part | None
    metric: Metric
    seed: int
    session: Session = UNHEARD

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.network.last.weight.device

    def scores(self, part: Part) -> dict[str, float]:
        """Loss (over all views) of a part, and the metric's gain (of the averaged probabilities)."""
        logits = predict_logits(self.network, part.source, part.views).to(self.device)
        y = torch.from_numpy(part.y).to(self.device)
        scores = {"valid_loss": float(self.loss(logits.flatten(0, 1), y.repeat_interleave(part.views)))}
        probabilities = mean_probabilities(self.loss, logits)
        scores[f"valid_{self.metric.name}"] = self.metric.gain(self.metric(part.y, probabilities))
        return scores

    def keep_if_best(self, state: Checkpoint) -> None:
        """Remember the network as it is if the last row of the history is the best one so far."""
        standing, row = state.standing, state.standing.rows[-1]
        score = float(np.nan_to_num(row.get(f"valid_{self.metric.name}", 0.0), nan=-np.inf))
        if standing.best_score is None or score > standing.best_score or self.validation is None:
            standing.best_epoch, standing.best_score, standing.misses = row["epoch"], score, 0
            state.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            standing.misses += 1
