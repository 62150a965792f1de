"""Training of networks from images by skorch: phases, best epoch, resume."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from hamcache.heads.mlp import OPTIMIZERS
from hamcache.heads.nets.callbacks import ImageEpochRecord, Keeper, words
from hamcache.heads.nets.checkpoint import Checkpoint, Standing, load_checkpoint, restore
from hamcache.heads.nets.image_batches import TrainingBatches
from hamcache.heads.nets.image_network import Layers
from hamcache.heads.nets.job import Phase, Training
from hamcache.heads.nets.net_params import NetParams
from hamcache.heads.training import Classifier, scheduler


def train(training: Training, phases: Sequence[Phase], score_start: str | None = None) -> list[dict[str, Any]]:
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
    checkpoint = load_checkpoint(training.session.folder) if training.session.folder else None
    state = checkpoint or Checkpoint(Standing(), {}, {})
    if checkpoint and training.session.folder:
        restore(checkpoint, training.network, training.session.folder)
        done = len([row for row in state.standing.rows if row["epoch"]])
        training.session.log(f"going on after epoch {done}, from the checkpoint of a run that did not finish")
    elif score_start is not None and training.validation is not None:
        training.network.trained_layers(phases[0].name)
        _score_start(training, state, score_start)
    total = sum(phase.epochs for phase in phases)
    devices = [training.device] if training.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for number, phase in enumerate(phases):
            if number >= state.standing.phase:
                _run_phase(training, number, phase, state, total)
    if state.best:
        training.network.load_state_dict(state.best)
    return state.standing.rows


def _score_start(training: Training, state: Checkpoint, name: str) -> None:
    assert training.validation is not None
    row = {"epoch": 0, "phase": name, **training.scores(training.validation)}
    state.standing.rows.append(row)
    training.keep_if_best(state)
    training.session.log(f"epoch 0 ({name}): {words(row, training.metric.name)}")


def _run_phase(training: Training, number: int, phase: Phase, state: Checkpoint, total: int) -> None:
    standing = state.standing
    if standing.phase != number:
        standing.phase, standing.epochs, standing.misses, standing.schedule = number, 0, 0, {}
        state.optimizer = None
    left = phase.epochs - standing.epochs
    out_of_patience = standing.epochs > 0 and standing.misses >= training.params.patience
    if left <= 0 or out_of_patience:
        return
    done = len([row for row in standing.rows if row["epoch"]])
    layers = training.network.trained_layers(phase.name)
    steps = -(-len(training.train.y) // training.params.batch_size)
    schedule = scheduler(
        training.params.schedule,
        [phase.lr * share for _, share in layers for _ in range(2)],
        phase.epochs,
        steps,
        training.params.patience,
    )
    in_steps = ExitStack()
    keeper = Keeper(training, state, phase, done, total, dict(schedule).get("schedule"))
    net = Classifier(
        training.network,
        criterion=training.loss,
        predict_nonlinearity=training.loss.probabilities,
        optimizer=optimizer_builder(training.params, layers),
        lr=phase.lr,
        max_epochs=left,
        train_split=None,
        iterator_train=TrainingBatches,
        iterator_train__source=training.train.source,
        iterator_train__batch_size=training.params.batch_size,
        iterator_train__seed=training.seed,
        iterator_train__sampler=training.params.sampler,
        iterator_train__epoch=done,
        callbacks=[
            ("record", ImageEpochRecord(training, state, phase, done, in_steps)),
            *schedule,
            *training.session.callbacks,
            ("keeper", keeper),
        ],
        callbacks__print_log=None,
        callbacks__valid_acc=None,
        device=training.device,
        verbose=0,
    )
    with in_steps:
        net.fit(np.arange(len(training.train.y)), training.train.y)


def optimizer_builder(params: NetParams, layers: Layers) -> Callable[..., torch.optim.Optimizer]:
    """Make what skorch calls for an optimiser: two groups a layer, weights (decayed) and biases and norms (not)."""

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
