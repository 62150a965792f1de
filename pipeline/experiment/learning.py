"""Fit what a configuration asks for on one split, and predict its parts.

`fit_head` trains a head on cached features. For a network from images there is another function of the same form
(`FitModel`), chosen in `experiment.fitting`: it takes the same parts and returns the same `Fitted`.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.among import among
from hamcache.data.splits import Split
from hamcache.data.table import ImageTable
from hamcache.heads.views import prediction_views, training_views
from hamcache.heads.zoo import build_head
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.runs.records import Run

Log = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Part:
    """The images of one part of a split, sorted by id.

    Attributes:
        frame: `image_id, group, label`, one row an image.
        y: int64 class codes, in the order of the rows.
    """

    frame: pd.DataFrame
    y: np.ndarray

    @property
    def ids(self) -> list[str]:
        """Image ids."""
        return self.frame["image_id"].tolist()

    @property
    def groups(self) -> np.ndarray:
        """Lesion of each image."""
        return self.frame["group"].to_numpy(dtype=object)

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(eq=False)
class Fitted:
    """A trained model and its probabilities of each part.

    Attributes:
        head: The head or the net.
        proba: Part -> float64 `[n, C]`, rows in the order of the part.
        history: One row an epoch; empty for heads without epochs.
        prior: float64 `[C]`: class frequencies of train.
        seconds: `load`, `fit` and `predict`.
    """

    head: Any
    proba: dict[str, np.ndarray]
    history: list[dict[str, Any]]
    prior: np.ndarray
    seconds: dict[str, float]


FitModel = Callable[..., Fitted]
"""Trains on the part `train`, may watch `validation`, and predicts the others; takes what `fit_head` takes."""


class Laps:
    """Seconds between laps, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        """End a lap."""
        now = perf_counter()
        self.seconds[name], self._last = now - self._last, now


def parts_of(split: Split, table: ImageTable, names: Sequence[str], left_out: Mapping[str, str]) -> dict[str, Part]:
    """The named parts of a split, without the images that are left out; groups are the split's, maybe merged."""
    codes = pd.Index(table.classes)
    parts = {}
    for name in names:
        frame = split.frame.loc[split.frame["part"] == name, ["image_id", "group", "label"]]
        frame = frame[~among(frame["image_id"], left_out)].reset_index(drop=True)
        parts[name] = Part(frame, codes.get_indexer(pd.Index(frame["label"])).astype(np.int64))
    return parts


def fit_head(
    config: ExperimentConfig,
    inputs: Inputs,
    parts: Mapping[str, Part],
    *,
    log: Log,
    callbacks: Sequence[Any] = (),
    predict: Sequence[str] | None = None,
) -> Fitted:
    """Train a head of the zoo on cached features.

    Args:
        config: Blocks, view policy, head and seed.
        inputs: The opened blocks.
        parts: `train`, `validation`, and `test` where it is opened.
        log: Takes one line at a time.
        callbacks: skorch callbacks, for heads with epochs (Ray Tune reports through them).
        predict: The parts to predict; None: all that are given.
    """
    from hamcache.heads.blocks import Block  # imports scikit-learn: once everything is checked

    clock = Laps()
    opened = inputs.load(config.features, [image_id for part in parts.values() for image_id in part.ids])
    policy = config.features.views
    blocks = [Block(block.config.backbone, block.dim, block.transform) for block in opened]

    def arrays(name: str) -> list[Any]:
        return [block.arrays(parts[name].ids) for block in opened]

    head = build_head(
        config.head.name, config.head.params, blocks=blocks, classes=inputs.table.classes, seed=config.seed
    )
    train = training_views(arrays("train"), policy, config.seed)
    validation = prediction_views(arrays("validation"), policy)
    clock.lap("load")
    log(f"training {config.head.name} on {train.shape[0]} images x {train.shape[1]} views x {train.shape[2]} features")
    with _warnings_in(log):
        head.fit(
            train,
            parts["train"].y,
            groups=parts["train"].groups,
            validation=(validation, parts["validation"].y),
            policy=policy,
            callbacks=callbacks,
        )
    for note in head.notes_:
        log(note)
    del train
    clock.lap("fit")
    proba = {"validation": head.predict_proba(validation)}
    del validation
    for name in parts if predict is None else predict:
        if name not in proba:
            proba[name] = head.predict_proba(prediction_views(arrays(name), policy))
    clock.lap("predict")
    return Fitted(head, proba, head.history_, head.prior_, clock.seconds)


@dataclass(frozen=True)
class LoadedHead:
    """Takes the head of a finished run instead of training one: its other parts are predicted, the test set too.

    Attributes:
        run: A run of the same experiment, whose test set was closed.
    """

    run: Run

    def __call__(
        self,
        config: ExperimentConfig,
        inputs: Inputs,
        parts: Mapping[str, Part],
        *,
        log: Log,
        callbacks: Sequence[Any] = (),
        predict: Sequence[str] | None = None,
    ) -> Fitted:
        """Load the head and predict the parts; the arguments are those of `fit_head`."""
        from hamcache.heads.logit_adjustment import unadjusted  # imports scikit-learn

        clock = Laps()
        log(f"taking the head that {self.run.id} trained")
        head = unadjusted(self.run.load_head())
        opened = inputs.load(config.features, [image_id for part in parts.values() for image_id in part.ids])
        clock.lap("load")
        proba = {}
        for name in dict.fromkeys(("validation", *(parts if predict is None else predict))):
            arrays = [block.arrays(parts[name].ids) for block in opened]
            proba[name] = head.predict_proba(prediction_views(arrays, config.features.views))
        clock.lap("predict")
        seconds = {"fit": float(self.run.provenance["seconds"]["fit"]), **clock.seconds}
        return Fitted(head, proba, head.history_, head.prior_, seconds)


@contextmanager
def _warnings_in(log: Log) -> Iterator[None]:
    """Send warnings (a solver that did not converge) to the log, each once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for message in dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught):
        log(f"warning: {message}")
