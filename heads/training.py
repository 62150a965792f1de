"""Callbacks of the training of an MLP head: schedules, early stopping, and the record of its epochs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from skorch import NeuralNetClassifier
from skorch.callbacks import Callback, EarlyStopping, LRScheduler
from torch import Tensor

from hamcache.heads.errors import TrainingDivergedError
from hamcache.heads.metrics import Metric

# Rows a forward pass when predicting; fixed, so that the same rows give the same bits.
PREDICT_ROWS = 4096


def scheduler(
    name: str, lr: float | Sequence[float], max_epochs: int, steps: int, patience: int
) -> list[tuple[str, Callback]]:
    """skorch's learning rate schedule by name, for epochs of `steps` batches; `lr` is one number, or one per group.

    `none`; `cosine`: falls to 0 along half a cosine over all epochs; `onecycle`: rises to `lr` and falls again,
    stepping every batch; `plateau`: a third of it, whenever the loss (on validation data, if any) has not improved
    for a third of `patience`.
    """
    if name == "cosine":
        policy = LRScheduler(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=max_epochs)
    elif name == "onecycle":
        policy = LRScheduler(
            torch.optim.lr_scheduler.OneCycleLR, max_lr=lr, total_steps=max_epochs * steps + 1, step_every="batch"
        )
    elif name == "plateau":
        policy = LRScheduler(
            torch.optim.lr_scheduler.ReduceLROnPlateau, monitor=_last_loss, factor=1 / 3, patience=patience // 3
        )
    else:
        return []
    return [("schedule", policy)]


def _last_loss(net: NeuralNetClassifier) -> float:
    epoch = net.history[-1]
    return epoch.get("valid_loss", epoch["train_loss"])


class Stop(Exception):
    """Raised by a callback at the end of an epoch that is to be the last."""


class Classifier(NeuralNetClassifier):
    """skorch's classifier, which passes Ctrl-C on: skorch keeps what is half trained as if it were whole."""

    interrupted = False

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **fit_params: Any) -> Any:
        """Train all epochs, or until a callback raises `Stop`."""
        try:
            return super().fit_loop(X, y, epochs, **fit_params)
        except Stop:
            return self
        except KeyboardInterrupt:  # is swallowed above
            self.interrupted = True
            raise

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Any:
        """Train; raises KeyboardInterrupt where that came in between."""
        super().fit(X, y, **fit_params)
        if self.interrupted:
            raise KeyboardInterrupt
        return self


class TensorClassifier(Classifier):
    """A classifier of tensors, whose step does not look through the whole network again for the mode it is in."""

    def train_step_single(self, batch: tuple[Tensor, Tensor], **fit_params: Any) -> dict[str, Tensor]:
        """The loss of a batch of tensors, its gradients computed."""
        if not self.module_.training:
            self.module_.train()
        rows, codes = batch
        logits = self.module_(rows)
        loss = self.criterion_(logits, codes)
        loss.backward()
        return {"loss": loss, "y_pred": logits}


class StopEarly(EarlyStopping):
    """skorch's early stopping, whose end is not that of Ctrl-C."""

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Compare, and raise `Stop` when patience is at its end."""
        try:
            super().on_epoch_end(net, **kwargs)
        except KeyboardInterrupt:
            if self.misses_ < self.patience:
                raise
            raise Stop from None


class EpochRecord(Callback):
    """Scores of the validation data after each epoch, one row per epoch.

    Args:
        validation: features [n, views, d] and codes [n], or None.
        metric: its gain is recorded as `valid_<name>` besides the loss, of probabilities averaged over views.

    `probabilities` holds those of the last epoch, float64 [n, C], where there are validation data.
    """

    probabilities: np.ndarray | None = None

    def __init__(self, validation: tuple[Tensor, Tensor] | None, metric: Metric | None):
        self.validation = validation
        self.metric = metric
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, net: NeuralNetClassifier, **kwargs: Any) -> None:
        """Record the epoch; TrainingDivergedError if the loss is no longer a number."""
        last = net.history[-1]
        if not np.isfinite(last["train_loss"]):
            raise TrainingDivergedError(
                f"Expected a finite loss, got {last['train_loss']} in epoch {last['epoch']}. Set a lower lr."
            )
        row = {"epoch": last["epoch"], "train_loss": float(last["train_loss"])}
        for name, value in self._validation_scores(net).items():
            net.history.record(name, value)
            row[name] = value
        row |= {"lr": net.optimizer_.param_groups[0]["lr"], "seconds": last["dur"]}
        self.rows.append(row)

    def _validation_scores(self, net: NeuralNetClassifier) -> dict[str, float]:
        if self.validation is None:
            return {}
        X, y = self.validation
        images, views, _ = X.shape
        net.module_.eval()
        with torch.inference_mode():
            logits = torch.cat([net.module_(rows) for rows in X.flatten(0, 1).split(PREDICT_ROWS)])
            scores = {"valid_loss": float(net.criterion_(logits, y.repeat_interleave(views)))}
            probabilities = net.criterion_.probabilities(logits).unflatten(0, (images, views)).mean(dim=1)
        self.probabilities = probabilities.double().numpy()
        if self.metric is not None:
            scores[f"valid_{self.metric.name}"] = self.metric.gain(self.metric(y.numpy(), self.probabilities))
        return scores
