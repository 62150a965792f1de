"""Networks and augmentations of this machine, to be compared with the keys that a run recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hamcache.cache.keys import FeatureKey
from hamcache.extract.augmentations import Augmentation
from hamcache.extract.backbones import Backbone, BackboneSpec, shared_backbone
from hamcache.extract.names import full_name
from hamcache.extract.recipes import Recipes


@dataclass(frozen=True)
class Machine:
    """Means of predicting new images here.

    Attributes:
        weights: File of weights for some backbones, by name, as `hamcache extract` was given them.
        recipes: Augmentations by name, and where functions of one's own lie; a run has its recipes written down, so
            that they are needed only for runs that have not, and for those functions.
        device: `cpu` or `cuda`.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    recipes: Recipes = field(default_factory=Recipes)
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
        """A key as its features would get it here: `network_key`, with the recipe that was given for it if one was."""
        name = key.augmentation_name
        augmentation = self.recipes.get(name) if name in self.recipes.given else Augmentation.of(key)
        return replace(self.network_key(key), augmentation=augmentation.to_dict())

    def augmentation(self, key: FeatureKey) -> Augmentation:
        """The augmentation of a key; code of one's own with the place that it has here."""
        return self.recipes.placed(Augmentation.of(key))
