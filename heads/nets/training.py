"""Training of networks from images by skorch: phases, best epoch, resume."""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback

from heads.base import Scorer
from heads.losses import Loss
from heads.mlp import OPTIMIZERS, EpochRecord, scheduler
from heads.nets.batches import TrainingBatches, ViewSource, stacked
from heads.nets.checkpoint import Checkpoint, Standing, load_checkpoint, restore, restore_optimizer, save_checkpoint
from heads.nets.network import ImageNetwork
from heads.nets.params import NetParams


@dataclass(frozen=True)
class Phase:
    """A stretch of training with one optimiser: `name` decides which layers are trained."""

    name: str
    epochs: int
    lr: float


@dataclass(frozen=True)
class Progress:
    """How far a training is; epochs count over all phases, from 1."""

    phase: str
    epoch: int
    epochs: int
    images: int
    images_an_epoch: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Images of this epoch a second, scoring not counted."""
        return self.images / self.seconds if self.seconds else 0.0

    @property
    def share(self) -> float:
        """What is done of all epochs, 0 to 1."""
        return (self.epoch - 1 + self.images / self.images_an_epoch) / self.epochs


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
        with torch.random.fork_rng(devices=devices), torch_flags():
            for number, phase in enumerate(phases):
                if number >= state.standing.phase:
                    self._run_phase(number, phase, state, total)
        if state.best:
            self.network.load_state_dict(state.best)
        return state.standing.rows

    def scores(self, part: Part, metrics: Mapping[str, Scorer]) -> dict[str, float]:
        """Loss (over all views) and metrics (of the averaged probabilities) of a part."""
        logits = self.logits(part.source, part.views)
        y = torch.from_numpy(part.y)
        loss = self.loss.to("cpu")
        scores = {"valid_loss": float(loss(logits.flatten(0, 1), y.repeat_interleave(part.views)))}
        probabilities = loss.probabilities(logits.flatten(0, 1)).unflatten(0, logits.shape[:2]).mean(dim=1)
        self.loss.to(self.device)
        for name, metric in metrics.items():
            scores[f"valid_{name}"] = float(metric(part.y, probabilities.double().numpy()))
        return scores

    def logits(self, source: ViewSource, views: int) -> torch.Tensor:
        """Logits float32 `[n, views, C]` of all images of a source."""
        return predict_logits(self.network, source, views)

    def _score_start(self, state: Checkpoint, name: str) -> None:
        assert self.validation is not None
        row = {"epoch": 0, "phase": name, **self.scores(self.validation, dict([self.metric]))}
        state.standing.rows.append(row)
        self._keep_if_best(state)
        self.log(f"epoch 0 ({name}): {words(row, self.metric[0])}")

    def _keep_if_best(self, state: Checkpoint) -> None:
        standing, row = state.standing, state.standing.rows[-1]
        score = row.get(f"valid_{self.metric[0]}", np.inf)
        if standing.best_score is None or score > standing.best_score or self.validation is None:
            standing.best_epoch, standing.best_score, standing.misses = row["epoch"], float(score), 0
            state.best = {name: value.clone() for name, value in self.network.state_dict().items()}
        else:
            standing.misses += 1

    def _run_phase(self, number: int, phase: Phase, state: Checkpoint, total: int) -> None:
        standing = state.standing
        if standing.phase != number:
            standing.phase, standing.epochs, standing.misses, standing.schedule = number, 0, 0, {}
            state.optimizer = None
        left = phase.epochs - standing.epochs
        is_last = self.params.patience <= standing.misses and standing.epochs > 0
        if left <= 0 or is_last:
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


class ImageEpochRecord(EpochRecord):
    """Scores the validation images after each epoch; epochs count over all phases."""

    def __init__(self, training: Training, state: Checkpoint, phase: Phase, done: int):
        super().__init__(None, dict([training.metric]))
        self.training = training
        self.phase = phase
        self.done = done
        self.rows = state.standing.rows

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Seed what the network draws in this epoch (dropout), so that it depends on no other epoch."""
        epoch = self.done + len(net.history)
        torch.manual_seed(zlib.crc32(f"{self.training.seed} {epoch}".encode()))

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Record one row."""
        super().on_epoch_end(net, **kwargs)
        row = self.rows[-1]
        epoch = self.done + int(row.pop("epoch"))
        self.rows[-1] = {"epoch": epoch, "phase": self.phase.name, **row}

    def _validation_scores(self, net: NeuralNetClassifier) -> dict[str, float]:
        if self.training.validation is None:
            return {}
        return self.training.scores(self.training.validation, self.metrics)


class Keeper(Callback):
    """Keeps the best weights, writes the checkpoint, tells of the progress, and stops when patience is at its end."""

    def __init__(
        self, training: Training, state: Checkpoint, phase: Phase, done: int, total: int, schedule: Callback | None
    ):
        self.training = training
        self.state = state
        self.phase = phase
        self.done = done
        self.total = total
        self.schedule = schedule
        self.stopped = False

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Put optimiser and schedule back to where they were."""
        if self.state.optimizer is not None:
            restore_optimizer(net.optimizer_, self.state.optimizer)
            if self.schedule is not None:
                self.schedule.lr_scheduler_.load_state_dict(self.state.standing.schedule)

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Start the clock."""
        self.epoch = self.done + len(net.history)
        self.images = 0
        self.started = perf_counter()

    def on_batch_end(self, net: NeuralNetClassifier, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Tell of the progress."""
        self.images += len(batch[1])
        if self.training.on_progress:
            seconds = perf_counter() - self.started
            size = len(self.training.train.y)
            self.training.on_progress(
                Progress(self.phase.name, self.epoch, self.total, self.images, size, seconds)
            )

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Keep, write, and stop (KeyboardInterrupt is what skorch stops at)."""
        standing, row = self.state.standing, self.state.standing.rows[-1]
        self.training._keep_if_best(self.state)
        standing.epochs += 1
        rate = self.images / row["seconds"] if row["seconds"] else 0.0
        scores = words(row, self.training.metric[0])
        self.training.log(f"epoch {self.epoch}/{self.total} ({self.phase.name}): {scores}, {rate:.0f} images/s")
        if self.training.folder is not None:
            standing.schedule = {} if self.schedule is None else self.schedule.lr_scheduler_.state_dict()
            self.state.weights = self.training.network.state_dict()
            self.state.optimizer = net.optimizer_.state_dict()
            save_checkpoint(self.training.folder, self.state)
        if standing.misses >= self.training.params.patience:
            self.stopped = True
            self.training.log(f"no better epoch than {standing.best_epoch} in {standing.misses}: stopped")
            raise KeyboardInterrupt


def optimizer_builder(
    params: NetParams, layers: Sequence[tuple[list[torch.nn.Parameter], float]]
) -> Callable[..., torch.optim.Optimizer]:
    """What skorch calls for an optimiser: two groups a layer, weights (decayed) and biases and norms (not)."""

    def build(_: Any, lr: float) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = []
        for parameters, share in layers:
            matrices = [parameter for parameter in parameters if parameter.ndim > 1]
            vectors = [parameter for parameter in parameters if parameter.ndim <= 1]
            groups.append({"params": matrices, "lr": lr * share, "weight_decay": params.weight_decay})
            groups.append({"params": vectors, "lr": lr * share, "weight_decay": 0.0})
        more = {"momentum": params.momentum} if params.optimizer == "sgd" else {}
        return OPTIMIZERS[params.optimizer](groups, lr=lr, **more)

    return build


def predict_logits(network: ImageNetwork, source: ViewSource, views: int) -> torch.Tensor:
    """Logits float32 `[n, views, C]` of views 0 to `views` - 1 of all images of a source, on the CPU."""
    device = network.last.weight.device
    network.eval()
    parts = []
    with torch.inference_mode():
        for rows, batch in stacked(source, np.arange(len(source.ids)), views):
            parts.append(network(batch.to(device)).float().cpu().unflatten(0, (len(rows), views)))
    return torch.cat(parts)


def words(row: Mapping[str, Any], metric: str) -> str:
    """A row of the history as a log line."""
    named = {"train_loss": "loss", "valid_loss": "validation loss", f"valid_{metric}": f"validation {metric}"}
    return ", ".join(f"{word} {row[name]:.4f}" for name, word in named.items() if name in row)


@contextmanager
def torch_flags() -> Iterator[None]:
    """On a GPU: let cuDNN time its algorithms once for the fixed input size."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = torch.cuda.is_available()
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
