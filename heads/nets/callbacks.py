"""skorch callbacks for networks from images: scores of each epoch, the best weights, the checkpoint, the progress."""

import zlib
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback

from hamcache.heads.nets.checkpoint import Checkpoint, restore_optimizer, save_checkpoint
from hamcache.heads.nets.job import Phase, Progress, Training
from hamcache.heads.training import EpochRecord, Stop


class ImageEpochRecord(EpochRecord):
    """Scores of the validation images after each epoch; epochs count over all phases.

    `steps` holds what the network needs while it is trained; it is scored as it will predict.
    """

    def __init__(self, training: Training, state: Checkpoint, phase: Phase, done: int, steps: ExitStack):
        super().__init__(None, training.metric)
        self.training = training
        self.state = state
        self.phase = phase
        self.done = done
        self.rows = state.standing.rows
        self.steps = steps

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Seed the draws of this epoch (dropout), so that they depend on no other epoch."""
        epoch = self.done + len(net.history)
        torch.manual_seed(zlib.crc32(f"{self.training.seed} {epoch}".encode()))
        self.steps.enter_context(self.training.network.in_training())

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Record one row."""
        self.steps.close()
        super().on_epoch_end(net, **kwargs)
        row = self.rows[-1]
        epoch = self.done + int(row.pop("epoch"))
        self.rows[-1] = {"epoch": epoch, "phase": self.phase.name, **row}  # type: ignore[dict-item]

    def _validation_scores(self, net: NeuralNetClassifier) -> dict[str, float]:
        if self.training.validation is None:
            return {}
        return self.training.scores(self.training.validation)


class Keeper(Callback):
    """Best weights, checkpoint, progress, and the stop when patience is at its end."""

    def __init__(
        self, training: Training, state: Checkpoint, phase: Phase, done: int, total: int, schedule: Callback | None
    ):
        self.training = training
        self.state = state
        self.phase = phase
        self.done = done
        self.total = total
        self.schedule = schedule

    def on_train_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Restore the state of optimiser and schedule."""
        if self.state.optimizer is not None:
            restore_optimizer(net.optimizer_, self.state.optimizer)
            if self.schedule is not None:
                self.schedule.lr_scheduler_.load_state_dict(self.state.standing.schedule)

    def on_epoch_begin(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Count the epoch."""
        self.epoch = self.done + len(net.history)
        self.images = 0

    def on_batch_end(self, net: NeuralNetClassifier, batch: Any = None, training: bool = False, **kwargs: Any) -> None:
        """Report the progress."""
        self.images += len(batch[1])
        if self.training.session.on_progress:
            size = len(self.training.train.y)
            self.training.session.on_progress(Progress(self.phase.name, self.epoch, self.total, self.images, size))

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Keep, write, and raise `Stop` when patience is at its end."""
        standing, row = self.state.standing, self.state.standing.rows[-1]
        self.training.keep_if_best(self.state)
        standing.epochs += 1
        rate = self.images / row["seconds"] if row["seconds"] else 0.0
        scores = words(row, self.training.metric.name)
        self.training.session.log(f"epoch {self.epoch}/{self.total} ({self.phase.name}): {scores}, {rate:.0f} images/s")
        if self.training.session.folder is not None:
            standing.schedule = {} if self.schedule is None else self.schedule.lr_scheduler_.state_dict()
            self.state.weights = self.training.network.state_dict()
            self.state.optimizer = net.optimizer_.state_dict()
            save_checkpoint(self.training.session.folder, self.state)
        if standing.misses >= self.training.params.patience:
            self.training.session.log(f"no better epoch than {standing.best_epoch} in {standing.misses}: stopped")
            raise Stop


def words(row: Mapping[str, Any], metric: str) -> str:
    """A row of the history as a log line."""
    named = {"train_loss": "loss", "valid_loss": "validation loss", f"valid_{metric}": f"validation {metric}"}
    return ", ".join(f"{word} {row[name]:.4f}" for name, word in named.items() if name in row)
