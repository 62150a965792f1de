"""Networks trained from images, for the runner: decode the images, train, predict; the same `Fitted` as a head's."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.storage import Root
from hamcache.data.digests import MISSING
from hamcache.data.image_files import why_unread
from hamcache.data.workspace import Workspace
from hamcache.heads.errors import WarmStartError
from hamcache.heads.logit_adjustment import unadjusted
from hamcache.heads.metrics import METRICS
from hamcache.heads.nets.classifier import NetClassifier
from hamcache.heads.nets.decoded import decode_all
from hamcache.heads.nets.finetune import FineTuned
from hamcache.heads.nets.image_network import ImageNetwork
from hamcache.heads.nets.job import Progress, Session
from hamcache.heads.nets.net_params import NETS, FinetuneParams, NetParams
from hamcache.heads.nets.warm_start import LastLayer, last_layer
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import RunError
from hamcache.pipeline.experiment.inputs import Inputs
from hamcache.pipeline.experiment.learning import Fitted, Laps, Log, Part, fit_head
from hamcache.pipeline.runs.records import Run


def open_images(
    config: ExperimentConfig,
    inputs: Inputs,
    workspace: Workspace,
    *,
    on_progress: Log | None = None,
) -> Inputs:
    """The inputs with all images of the table decoded (once; kept in `workspace/images/`).

    Images that cannot be decoded are left out and quarantined, as an extraction does; missing files are left out.
    """
    params = _params(config)
    table, left_out = inputs.table, dict(inputs.left_out)
    table.require_images(f"Training {config.model_name}", [i for i in table.frame["image_id"] if i not in left_out])
    paths = dict(zip(table.frame["image_id"], table.frame["path"], strict=True))
    for image_id, path in paths.items():
        if inputs.digests[image_id] == MISSING:
            left_out.setdefault(image_id, why_unread(path))
    usable = {image_id: path for image_id, path in paths.items() if image_id not in left_out}
    if not usable:
        raise RunError(f"expected images to train on, but none of the {len(paths)} of {table.name} can be read")
    folder = workspace.decoded / table.name
    images = decode_all(usable, inputs.digests, folder, params.stored_side, _decoding(on_progress))
    inputs.dataset.correct(images.digests)
    if images.bad:
        quarantine = Quarantine(Root(workspace.features), table.name)
        quarantine.add(*(BadImage(image_id, images.digests[image_id], why) for image_id, why in images.bad.items()))
    return replace(inputs, left_out=left_out | images.bad, images=images)


@dataclass(frozen=True)
class FitNet:
    """Trains networks on images; a training that was killed goes on after its last finished epoch.

    Attributes:
        checkpoints: The experiment's own folder for checkpoints; each fold gets one of its own in it.
        on_batch: Takes the progress after each batch.
    """

    checkpoints: Path | None = None
    on_batch: Callable[[Progress], None] | None = None

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
        """Train the network of a configuration and predict its parts, as `learning.fit_head` does for a head.

        The arguments are the same, but `inputs` are what `open_images` gave.

        Raises:
            WarmStartError: The cached features, or the head on them, do not belong to this network.
            CheckpointError: The checkpoint is damaged, or another network's.
        """
        assert config.net is not None and inputs.images is not None
        clock = Laps()
        params = _params(config)
        net = NetClassifier(config.net.name, params, inputs.table.classes, config.seed, config.augmentations)
        network = net.build()
        log(
            f"training {config.net.name} ({_words(network)}) on {len(parts['train'])} images, "
            f"{net.device}, {network.precision}"
        )
        _warn_of_small_images(network, params, log)
        clock.lap("load")
        start = _warm_start(config, inputs, parts, network, log) if isinstance(params, FinetuneParams) else None
        fold = hashlib.sha256(json.dumps(parts["train"].ids).encode()).hexdigest()[:12]
        folder = None if self.checkpoints is None else self.checkpoints / fold
        net.fit(
            inputs.images,
            parts["train"].ids,
            parts["train"].y,
            validation=(parts["validation"].ids, parts["validation"].y),
            metric=METRICS[config.objective],
            network=network,
            last_layer=start,
            session=Session(folder, log, self.on_batch, callbacks),
        )
        clock.lap("fit")
        return _fitted(net, inputs, parts, predict, clock)


@dataclass(frozen=True)
class LoadedNet:
    """Takes the network of a finished run instead of training one: its other parts are predicted, the test set too.

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
        """Load the network and predict the parts; the arguments are those of `FitNet`."""
        assert inputs.images is not None
        clock = Laps()
        log(f"taking the network that {self.run.id} trained")
        net: NetClassifier = unadjusted(self.run.load_head())
        clock.lap("load")
        clock.seconds["fit"] = float(self.run.provenance["seconds"]["fit"])
        return _fitted(net, inputs, parts, predict, clock)


def _fitted(
    net: NetClassifier, inputs: Inputs, parts: Mapping[str, Part], predict: Sequence[str] | None, clock: Laps
) -> Fitted:
    """The trained network with the probabilities of these parts (None: of all)."""
    assert inputs.images is not None
    wanted = parts if predict is None else predict
    proba = {name: net.predict_proba(inputs.images, parts[name].ids) for name in wanted}
    clock.lap("predict")
    return Fitted(net, proba, net.history_, net.prior_, clock.seconds)


def _params(config: ExperimentConfig) -> NetParams:
    assert config.net is not None
    return NETS[config.net.name].model_validate(config.net.params)


def _warm_start(
    config: ExperimentConfig, inputs: Inputs, parts: Mapping[str, Part], network: ImageNetwork, log: Log
) -> LastLayer | None:
    """Train the head on cached features, and give it as the network's last layer."""
    params = _params(config)
    assert isinstance(params, FinetuneParams) and isinstance(network, FineTuned)
    if params.warm_start == "none":
        return None
    if params.loss == "focal_sigmoid":
        raise WarmStartError("Expected a loss on a softmax to go on from a cached head, but got focal_sigmoid.")
    (block,) = inputs.blocks_of(config.features)
    store = block.stores[0]
    _same("weights", store.key.weights, network.digest)
    _same("preprocessing", store.key.preprocessing, network.preprocessing.to_dict())
    both = {name: parts[name] for name in ("train", "validation")}
    cached = fit_head(config, inputs, both, log=log)
    score = METRICS[config.objective](parts["validation"].y, cached.proba["validation"])
    log(
        f"warm start: {config.head.name} on cached features ({store.key.precision}), {cached.seconds['fit']:.1f} s, "
        f"validation {config.objective} {score:.4f}; epoch 0 is the network with this head as its last layer"
    )
    return last_layer(cached.head)


def _same(what: str, cached: Any, needed: Any) -> None:
    if json.dumps(cached, sort_keys=True) != json.dumps(needed, sort_keys=True):
        raise WarmStartError(
            f"Expected cached features of the network that is fine-tuned, but their {what} differ: the cache has "
            f"{cached}, the network {needed}. Give the same backbone, weights and fit to both, and no net.image_size."
        )


def _words(network: ImageNetwork) -> str:
    height, width = network.preprocessing.size
    return f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {height}x{width} pixels"


def _warn_of_small_images(network: ImageNetwork, params: NetParams, log: Log) -> None:
    """Say so if images were reduced to less than the network looks at."""
    wanted = min(network.preprocessing.size)
    if network.preprocessing.fit == "crop":
        wanted = round(wanted / network.preprocessing.crop_pct)
    if params.stored_side is not None and params.stored_side < wanted:
        log(f"warning: images are kept at a short side of {params.stored_side} pixels, the network looks at {wanted}")


def _decoding(on_progress: Log | None) -> Callable[[int, int], None] | None:
    """A line after every quarter of the images."""
    if on_progress is None:
        return None

    def report(done: int, total: int) -> None:
        if done == total or done % max(1, total // 4) == 0:
            on_progress(f"decoded {done} of {total} images")

    return report
