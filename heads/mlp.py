"""Multilayer perceptrons on features, trained by skorch."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from skorch.dataset import Dataset
from skorch.utils import noop
from torch import Tensor

from hamcache.heads.base import BaseHead, FitOptions
from hamcache.heads.batches import BatchIterator
from hamcache.heads.blocks import BlockTransformer
from hamcache.heads.class_weights import ClassWeight
from hamcache.heads.losses import Loss, build_loss
from hamcache.heads.metrics import get_metric
from hamcache.heads.network import MLP, geometric_sizes
from hamcache.heads.training import PREDICT_ROWS, EpochRecord, StopEarly, TensorClassifier, scheduler

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


class MLPHead(BaseHead):
    """Fully connected layers behind the blocks' transforms; with `embedding_dim`, the founding project's hybrid.

    All arguments but `classes` and `blocks` are fields of `heads.params.MLPParams` and described there. `hidden` is
    the list of hidden sizes, or a number of layers whose sizes fall geometrically to the class count.

    With validation data in `fit` the weights of the best epoch by `objective` are kept, and training stops after
    `patience` epochs without a better one; without, it runs all of `max_epochs`. After `fit`, `weights_` holds the
    network's arrays by name and `history_` one dict an epoch.
    """

    def __init__(
        self,
        classes: Sequence[str] | None,
        blocks: BlockTransformer,
        hidden: Sequence[int] | int = (256,),
        embedding_dim: int | None = None,
        dropout: float = 0.5,
        batch_norm: bool = False,
        activation: str = "relu",
        optimizer: str = "adamw",
        lr: float = 3e-4,
        weight_decay: float = 1e-2,
        momentum: float = 0.9,
        schedule: str = "none",
        batch_size: int = 128,
        max_epochs: int = 50,
        patience: int = 10,
        objective: str = "mcc",
        loss: str = "cross_entropy",
        loss_params: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        class_weight: ClassWeight | Literal["auto"] = "auto",
        mixup: float = 0.0,
        seed: int = 0,
    ):
        self.classes = classes
        self.blocks = blocks
        self.hidden = hidden
        self.embedding_dim = embedding_dim
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.activation = activation
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.momentum = momentum
        self.schedule = schedule
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.patience = patience
        self.objective = objective
        self.loss = loss
        self.loss_params = loss_params
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.mixup = mixup
        self.seed = seed

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved; until 0.1.0 `objective` was called `monitor`."""
        super().__setstate__({"objective" if name == "monitor" else name: value for name, value in state.items()})

    def _fit(self, X: NDArray[np.float32], y: NDArray[np.int64], options: FitOptions) -> None:
        self.blocks_ = clone(self.blocks).fit(X.reshape(-1, X.shape[2]))
        images = self._transformed(X)
        validation = None
        if options.validation is not None:
            validation = (self._transformed(options.validation[0]), torch.from_numpy(options.validation[1]))
        loss, network = self._build_loss(), self._build_network()
        batches: dict[str, Any] = {
            "batch_size": self.batch_size,
            "seed": self.seed,
            "random_view": options.policy.train == "random",
            "mixup": self.mixup,
            "targets": loss.targets,
        }
        steps = len(BatchIterator(Dataset(images), **batches))
        metric = None if self.objective == "loss" else get_metric(self.objective, self.class_names)
        record = EpochRecord(validation, metric)
        stopping = StopEarly(
            monitor=f"valid_{self.objective}",
            lower_is_better=metric is None,
            patience=self.patience,
            threshold=0.0,
            load_best=True,
            sink=noop,
        )
        net = TensorClassifier(
            network,
            criterion=loss,
            predict_nonlinearity=loss.probabilities,
            lr=self.lr,
            max_epochs=self.max_epochs,
            train_split=None,
            iterator_train=BatchIterator,
            **{f"iterator_train__{name}": value for name, value in batches.items()},
            **self._optimizer_params(),
            callbacks=[
                ("record", record),
                *scheduler(self.schedule, self.lr, self.max_epochs, steps, self.patience),
                *([] if validation is None else [("stopping", stopping)]),
                *options.callbacks,
            ],
            callbacks__print_log=None,
            callbacks__valid_acc=None,
            verbose=0,
        )
        net.fit(images, torch.from_numpy(y))
        self.history_ = record.rows
        self.weights_ = {name: value.numpy() for name, value in network.state_dict().items()}

    def _predict_rows(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        network, loss = self._build_network(), self._build_loss()
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self.weights_.items()})
        network.eval()
        with torch.inference_mode():
            parts = [
                loss.probabilities(network(torch.from_numpy(self.blocks_.transform(X[start : start + PREDICT_ROWS]))))
                for start in range(0, len(X), PREDICT_ROWS)
            ]
        return torch.cat(parts).numpy()

    def _transformed(self, X: NDArray[np.float32]) -> Tensor:
        images, views, dim = X.shape
        return torch.from_numpy(self.blocks_.transform(X.reshape(-1, dim))).unflatten(0, (images, views))

    def _build_loss(self) -> Loss:
        return build_loss(
            self.loss,
            self.loss_params or {},
            counts=self.counts_,
            classes=self.class_names,
            class_weight=self.class_weight,
            label_smoothing=self.label_smoothing,
        )

    def _build_network(self) -> MLP:
        dims = [dim for dim in self.blocks_.output_dims_ if dim]
        first = self.embedding_dim * len(dims) if self.embedding_dim else sum(dims)
        hidden = self.hidden
        if isinstance(hidden, int):
            hidden = geometric_sizes(first, len(self.class_names), hidden)
        return MLP(
            dims,
            len(self.class_names),
            hidden,
            self.embedding_dim,
            self.dropout,
            self.batch_norm,
            self.activation,
            self.seed,
        )

    def _optimizer_params(self) -> dict[str, Any]:
        params = {"optimizer": OPTIMIZERS[self.optimizer], "optimizer__weight_decay": self.weight_decay}
        return params | ({"optimizer__momentum": self.momentum} if self.optimizer == "sgd" else {})
