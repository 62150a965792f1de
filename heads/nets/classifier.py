"""A network from images as a classifier: fit, predict, save and load, beside the heads on features."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hamcache.data.documents import parse_json
from hamcache.data.files import replacing, write_text
from hamcache.extract.augmentations import Augmentation, packaged_augmentations
from hamcache.extract.precision import resolve_precision
from hamcache.extract.recipes import Recipes
from hamcache.heads.base import class_counts
from hamcache.heads.errors import HeadFileError, HeadParamsError
from hamcache.heads.losses import Loss, build_loss
from hamcache.heads.metrics import METRICS, Metric
from hamcache.heads.nets.decoded import DecodedImages
from hamcache.heads.nets.finetune import FineTuned, build_finetune
from hamcache.heads.nets.image_batches import ViewSource
from hamcache.heads.nets.image_network import ImageNetwork
from hamcache.heads.nets.job import UNHEARD, Part, Phase, Session, Training
from hamcache.heads.nets.loop import train
from hamcache.heads.nets.net_params import FinetuneParams, NetParams, SimpleCNNParams, net_params
from hamcache.heads.nets.predicting import mean_probabilities, predict_logits
from hamcache.heads.nets.simple_cnn import build_simple_cnn
from hamcache.heads.nets.warm_start import LastLayer
from hamcache.heads.validation import validated

WEIGHTS = "head.safetensors"
DESCRIPTION = "head.json"


class NetClassifier:
    """A network trained from images.

    After `fit`: `network_`, `history_` (one dict an epoch), `counts_` (training images a class), `prior_` (their
    share) and `best_epoch_`, whose weights were kept.

    Args:
        name: a key of `heads.nets.net_params.NETS`.
        params: its parameters; what is left out keeps its default.
        classes: class names in code order.
        seed: of everything that is drawn.
        recipes: the augmentations that `params` name, where others than packaged ones are known.

    Raises:
        UnknownNetError: an unknown name, with the nearest valid one.
        AugmentationError: an unknown augmentation.
        HeadParamsError: unknown parameters or unfit values.
    """

    def __init__(
        self,
        name: str,
        params: Mapping[str, Any] | NetParams,
        classes: Sequence[str],
        seed: int = 0,
        recipes: Recipes = Recipes(),  # noqa: B008 (frozen)
    ):
        self.name = name
        model = net_params(name)
        self.params = params if isinstance(params, NetParams) else validated(model, params, f"net {name}")
        self.classes = tuple(classes)
        self.seed = seed
        self.recipes = recipes
        for chosen in (self.params.augmentation, self.params.predict_augmentation):
            recipes.get(chosen)

    def build(self, pretrained: bool = True) -> ImageNetwork:
        """The untrained network, on its device; a backbone without its weights if they are loaded afterwards."""
        device, count = self.device, len(self.classes)
        precision = resolve_precision(self.params.precision, device)
        network: ImageNetwork
        if isinstance(self.params, FinetuneParams):
            network = build_finetune(self.params, count, precision, self.seed, pretrained)
        else:
            assert isinstance(self.params, SimpleCNNParams)
            network = build_simple_cnn(self.params, count, precision, self.seed)
        return network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def augmentation(self) -> Augmentation:
        """Augmentation of the training views."""
        return self.recipes.get(self.params.augmentation)

    @property
    def predict_augmentation(self) -> Augmentation:
        """Augmentation of the views that are predicted."""
        return self.recipes.get(self.params.predict_augmentation)

    @property
    def device(self) -> str:
        """`cuda` or `cpu`."""
        there = torch.cuda.is_available()
        if self.params.device == "cuda" and not there:
            raise HeadParamsError("Expected a GPU for device cuda, got none that PyTorch finds. Set device to auto.")
        return ("cuda" if there else "cpu") if self.params.device == "auto" else self.params.device

    @property
    def phases(self) -> list[Phase]:
        """Phases of the training; those without epochs are left out."""
        params = self.params
        if isinstance(params, FinetuneParams):
            extraction = Phase("extraction", params.epochs_extraction or 0, params.lr_extraction)
            phases = [extraction, Phase("tuning", params.epochs_tuning, params.lr_tuning)]
        else:
            assert isinstance(params, SimpleCNNParams)
            phases = [Phase("training", params.epochs, params.lr)]
        return [phase for phase in phases if phase.epochs]

    def fit(
        self,
        images: DecodedImages,
        ids: Sequence[str],
        y: NDArray[np.int64],
        *,
        validation: tuple[Sequence[str], NDArray[np.int64]] | None = None,
        metric: Metric = METRICS["mcc"],
        network: ImageNetwork | None = None,
        last_layer: LastLayer | None = None,
        session: Session = UNHEARD,
    ) -> Self:
        """Train on images and codes; the weights of the best validation epoch are kept.

        Args:
            images: the decoded images, these among them.
            ids: the training images.
            y: their codes, int64 `[n]`.
            validation: ids and codes of other images; without them all epochs run and the last one counts.
            metric: the score that the best epoch is chosen by.
            network: what `build` gave, if it was built before.
            last_layer: what the last layer starts as; it is scored as epoch 0.
            session: where the checkpoint lies, and who hears of the training.

        Raises:
            ClassAbsentError: a class without training images.
            TrainingDivergedError: the loss is no longer a number.
            CheckpointError: the checkpoint is damaged, or another network's.
        """
        y = np.array(y, dtype=np.int64)  # a copy: torch wants to own what it may write to
        self.classes_ = np.arange(len(self.classes))
        self.counts_ = class_counts(y, self.classes)
        self.prior_ = self.counts_ / len(y)
        self.network_ = network if network is not None else self.build()
        if last_layer is not None:
            last_layer.load_into(self.network_.last)
        loss = self._loss()
        training = Training(
            network=self.network_,
            loss=loss.to(self.device),
            params=self.params,
            train=Part(self._source(images, ids, self.augmentation), y),
            validation=None if validation is None else self._validation(images, *validation),
            metric=metric,
            seed=self.seed,
            session=session,
        )
        self.history_ = train(training, self.phases, score_start=None if last_layer is None else "cache")
        return self

    @property
    def n_features_in_(self) -> int:
        """Numbers of one image as the network sees it."""
        return 3 * int(np.prod(self.network_.preprocessing.size))

    def predict_proba(self, images: DecodedImages, ids: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Probabilities float64 `[n, C]` of images (default: all there are), averaged over `predict_views` views."""
        source = self._source(images, images.ids if ids is None else ids, self.predict_augmentation)
        return mean_probabilities(self._loss(), predict_logits(self.network_, source, self.params.predict_views))

    def save_net(self, folder: Path, tau: float | None = None) -> None:
        """Write `head.safetensors` and `head.json`; `tau` is that of a logit adjustment to be put on top."""
        weights = {name: value.cpu().contiguous() for name, value in self.network_.state_dict().items()}
        with replacing(folder / WEIGHTS) as partial:
            save_file(weights, partial)
        description = {
            "head": type(self).__name__,
            "net": self.name,
            "params": self.params.model_dump(mode="json"),
            "classes": list(self.classes),
            "seed": self.seed,
            "recipes": self._own_recipes(),
            "counts": self.counts_.tolist(),
            "tau": tau,
            "backbone_digest": self.network_.digest if isinstance(self.network_, FineTuned) else None,
            "history": self.history_,
            "versions": {name: version(name) for name in ("torch", "torchvision", "timm", "skorch", "numpy")},
        }
        write_text(folder / DESCRIPTION, json.dumps(description, indent=2) + "\n")

    def _own_recipes(self) -> dict[str, Any]:
        """The recipes that don't come with the package."""
        named, packaged = (self.augmentation, self.predict_augmentation), packaged_augmentations()
        return {recipe.name: recipe.steps for recipe in named if packaged.get(recipe.name) != recipe}

    def _loss(self) -> Loss:
        params = self.params
        balanced = params.sampler == "balanced" and params.class_weight == "auto"
        return build_loss(
            params.loss,
            params.loss_params,
            counts=self.counts_,
            classes=self.classes,
            class_weight="none" if balanced else params.class_weight,
            label_smoothing=params.label_smoothing,
        )

    def _source(self, images: DecodedImages, ids: Sequence[str], augmentation: Augmentation) -> ViewSource:
        return ViewSource(images, list(ids), augmentation, self.network_.preprocessing, self.seed)

    def _validation(self, images: DecodedImages, ids: Sequence[str], y: NDArray[np.int64]) -> Part:
        source = self._source(images, ids, self.predict_augmentation)
        return Part(source, np.array(y, dtype=np.int64), self.params.predict_views)


def load_net(folder: Path) -> tuple[NetClassifier, float | None]:
    """Load what `save_net` wrote: the classifier, and the tau of the adjustment on top of it.

    Raises:
        HeadFileError: files that are missing or damaged.
    """
    try:
        content = parse_json((folder / DESCRIPTION).read_bytes())
        recipes = Recipes.of_steps(content.get("recipes", {}))
        net = NetClassifier(content["net"], content["params"], content["classes"], content["seed"], recipes)
        net.classes_ = np.arange(len(net.classes))
        net.counts_ = np.asarray(content["counts"], dtype=np.int64)
        net.prior_ = net.counts_ / net.counts_.sum()
        net.history_ = content["history"]
        net.network_ = net.build(pretrained=False)
        net.network_.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise HeadFileError(
            f"Expected a saved network in {folder}, got files that cannot be read ({error}). Train the run again."
        ) from error
    return net, content["tau"]
