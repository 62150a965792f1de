"""Training of networks from images by skorch: phases, best epoch, resume."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier

from hamcache.heads.base import Scorer
from hamcache.heads.losses import Loss
from hamcache.heads.mlp import OPTIMIZERS
from hamcache.heads.nets.callbacks import ImageEpochRecord, Keeper, Progress, words
from hamcache.heads.nets.checkpoint import Checkpoint, Standing, load_checkpoint, restore
from hamcache.heads.nets.image_batches import TrainingBatches, ViewSource
from hamcache.heads.nets.image_network import ImageNetwork, Layers
from hamcache.heads.nets.net_params import NetParams
from hamcache.heads.nets.predicting import mean_probabilities, predict_logits
from hamcache.heads.training import scheduler


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


@dataclass(frozen=True, eq=False)
class Training:
    """What is trained, on what, and who is told.

    Attributes:
        network, loss: on the device where they are trained.
        params: optimiser, schedule, sampler and so on.
        train, validation: the images; without validation the last epoch counts as the best.
        metric: name and function of what the best epoch is chosen by, higher is better.
        seed: of order, sampling and dropout.
        folder: where the checkpoint lives; None for none.
        log: takes one line an epoch.
        on_progress: called after each batch.
        callbacks: further skorch callbacks.
    """

    network: ImageNetwork
    loss: Loss
    params: NetParams
    train: Part
    validation: Part | None
    metric: tuple[str, Scorer]
    seed: int
    folder: Path | None = None
    log: Callable[[str], None] = lambda line: None
    on_progress: Callable[[Progress], None] | None = None
    callbacks: Sequence[Any] = ()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.last.weight.device

    def run(self, phases: Sequence[Phase], score_start: str | None = None) -> list[dict[str, Any]]:
        """Train, keep the weights of the best epoch, and return the history.

        With a checkpoint in `folder` it goes on from there, and ends with the weights it would have had anyway.

        Args:
            phases: one after the other.
            score_start: score the untrained network as epoch 0 too, under this phase name.

        Raises:
            TrainingDivergedError: the loss is no longer a number.
            CheckpointError: the checkpoint in `folder` is damaged, or another network's.
            KeyboardInterrupt: Ctrl-C; the checkpoint stays.
        """
        found = load_checkpoint(self.folder) if self.folder else None
        state = found or Checkpoint(Standing(), {}, {})
        if found and self.folder:
            restore(found, self.network, self.folder)
            done = len([row for row in state.standing.rows if row["epoch"]])
            self.log(f"going on after epoch {done}, from the checkpoint of a run that did not finish")
        elif score_start is not None and self.validation is not None:
            self.network.trained_layers(phases[0].name)
            self._score_start(state, score_start)
        total = sum(phase.epochs for phase in phases)
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            for number, phase in enumerate(phases):
                if number >= state.standing.phase:
                    self._run_phase(number, phase, state, total)
        if state.best:
            self.network.load_state_dict(state.best)
        return state.standing.rows

    def scores(self, part: Part, metrics: Mapping[str, Scorer]) -> dict[str, float]:
        """Loss (over all views) and metrics (of the averaged probabilities) of a part."""
        logits = predict_logits(self.network, part.source, part.views).to(self.device)
        y = torch.from_numpy(part.y).to(self.device)
        scores = {"valid_loss": float(self.loss(logits.flatten(0, 1), y.repeat_interleave(part.views)))}
        probabilities = mean_probabilities(self.loss, logits)
        for name, metric in metrics.items():
            scores[f"valid_{name}"] = float(metric(part.y, probabilities))
        return scores

    def _score_start(self, state: Checkpoint, name: str) -> None:
        assert self.validation is not None
        row = {"epoch": 0, "phase": name, **self.scores(self.validation, dict([self.metric]))}
        state.standing.rows.append(row)
        self.keep_if_best(state)
        self.log(f"epoch 0 ({name}): {words(row, self.metric[0])}")

    def keep_if_best(self, state: Checkpoint) -> None:
        """Remember the network as it is if the last row of the history is the best one so far."""
        standing, row = state.standing, state.standing.rows[-1]
        score = float(np.nan_to_num(row.get(f"valid_{self.metric[0]}", 0.0), nan=-np.inf))
        if standing.best_score is None or score > standing.best_score or self.validation is None:
            standing.best_epoch, standing.best_score, standing.misses = row["epoch"], score, 0
            state.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            standing.misses += 1

    def _run_phase(self, number: int, phase: Phase, state: Checkpoint, total: int) -> None:
        standing = state.standing
        if standing.phase != number:
            standing.phase, standing.epochs, standing.misses, standing.schedule = number, 0, 0, {}
            state.optimizer = None
        left = phase.epochs - standing.epochs
        out_of_patience = standing.epochs > 0 and standing.misses >= self.params.patience
        if left <= 0 or out_of_patience:
            return
        done = len([row for row in standing.rows if row["epoch"]])
        layers = self.network.trained_layers(phase.name)
        steps = -(-len(self.train.y) // self.params.batch_size)
        schedule = scheduler(
            self.params.schedule,
            [phase.lr * share for _, share in layers for _ in range(2)],
            phase.epochs,
            steps,
            self.params.patience,
        )
        keeper = Keeper(self, state, phase, done, total, dict(schedule).get("schedule"))
        net = NeuralNetClassifier(
            self.network,
            criterion=self.loss,
            predict_nonlinearity=self.loss.probabilities,
            optimizer=optimizer_builder(self.params, layers),
            lr=phase.lr,
            max_epochs=left,
            train_split=None,
            iterator_train=TrainingBatches,
            iterator_train__source=self.train.source,
            iterator_train__batch_size=self.params.batch_size,
            iterator_train__seed=self.seed,
            iterator_train__sampler=self.params.sampler,
            iterator_train__epoch=done,
            callbacks=[
                ("record", ImageEpochRecord(self, state, phase, done)),
                *schedule,
                *self.callbacks,
                ("keeper", keeper),
            ],
            callbacks__print_log=None,
            callbacks__valid_acc=None,
            device=self.device,
            verbose=0,
        )
        net.fit(np.arange(len(self.train.y)), self.train.y)
        if len(net.history) < left and not keeper.stopped:
            raise KeyboardInterrupt  # skorch swallows Ctrl-C: a half-trained network must not pass for a trained one


def optimizer_builder(params: NetParams, layers: Layers) -> Callable[..., torch.optim.Optimizer]:
    """What skorch calls for an optimiser: two groups a layer, weights (decayed) and biases and norms (not)."""

    def build(_: Any, lr: float) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = []
        for parameters, share in layers:
            matrices = [parameter for parameter in parameters if parameter.ndim > 1]
            vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
            groups.append({"params": matrices, "lr": lr * share, "weight_decay": params.weight_decay})
            groups.append({"params": vectors, "lr": lr * share, "weight_decay": 0.0})
        more = {"momentum": params.momentum} if params.optimizer == "sgd" else {}
        kind: Any = OPTIMIZERS[params.optimizer]
        return kind(groups, lr=lr, **more)

    return build
