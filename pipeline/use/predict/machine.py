"""Networks and augmentations of this machine, to be compared with the keys that a run recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hamcache.cache.keys import FeatureKey
from hamcache.extract.augmentations import Augmentation, get_augmentation, load_augmentations
from hamcache.extract.backbones import Backbone, BackboneSpec, shared_backbone
from hamcache.extract.names import full_name


@dataclass(frozen=True)
class Machine:
    """Means of predicting new images here.

    Attributes:
        weights: File of weights for some backbones, by name, as `hamcache extract` was given them.
        recipes_file: Recipes other than the packaged ones, as `hamcache extract` was given them.
        device: `cpu` or `cuda`.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    recipes_file: Path | None = None
    device: str = "cpu"

    def spec(self, backbone: str, fit: str, precision: str) -> BackboneSpec:
        """A backbone with the weights that it has here."""
        files = {full_name(name): path for name, path in self.weights.items()}
        return BackboneSpec(backbone, files.get(backbone), fit, precision)

    def spec_of(self, key: FeatureKey) -> BackboneSpec:
        """The network that a key names."""
        return self.spec(key.backbone, str(key.preprocessing.get("fit")), key.precision)

    def backbone(self, spec: BackboneSpec) -> Backbone:
        """A network, loaded once."""
        return shared_backbone(spec, self.device)

    def network_key(self, key: FeatureKey) -> FeatureKey:
        """A key with the weights and the preprocessing that its network has here."""
        backbone = self.backbone(self.spec_of(key))
        return replace(key, weights=backbone.digest, code=backbone.code, preprocessing=backbone.preprocessing.to_dict())

    def key(self, key: FeatureKey) -> FeatureKey:
        """A key as its features would get it here: `network_key`, with the recipe of the user's file if it has one."""
        declared = load_augmentations(self.recipes_file) if self.recipes_file else {}
        augmentation = declared.get(key.augmentation_name, Augmentation.of(key))
        return replace(self.network_key(key), augmentation=augmentation.to_dict())

    def augmentation(self, name: str) -> Augmentation:
        """An augmentation of the user's file, or a packaged one."""
        return get_augmentation(name, self.recipes_file)
