"""The configuration of an experiment: its schema, and the way from YAML and settings to a checked one."""

import hashlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from hamcache.configs.defaults import METADATA, MOST_SEED
from hamcache.data.nearest import unknown_name
from hamcache.extract.names import full_name
from hamcache.extract.recipes import Recipes
from hamcache.heads.errors import HeadError
from hamcache.heads.metrics import METRICS
from hamcache.pipeline.config.features_config import FeaturesConfig
from hamcache.pipeline.config.messages import config_error, valid_keys
from hamcache.pipeline.config.overrides import merged, read_yaml, set_value, value_at
from hamcache.pipeline.config.own_recipes import RECIPES, from_file, in_use, with_known
from hamcache.pipeline.config.renamed import former, refuse_former
from hamcache.pipeline.config.split_config import ConfigPart, SplitConfig
from hamcache.pipeline.errors import ConfigError, ConfigNotFoundError

if TYPE_CHECKING:
    from hamcache.data.dataset import DatasetWords


class _Named(BaseModel):
    """A name; every other key is one of the parameters that belong to it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, without the name."""
        return dict(self.model_extra or {})


class HeadConfig(_Named):
    """The model that is trained on features: a head's name and its parameters (see `heads.zoo`, `heads.own_heads`)."""

    name: str = Field(
        default="logreg", min_length=1, description="a head of the zoo, or package.module:Class, or file.py:Class"
    )


class NetConfig(_Named):
    """The model that is trained from images: a net's name and its parameters (see `heads.nets`)."""

    name: str = Field(min_length=1, description="a net: simple_cnn or finetune")


Named = TypeVar("Named", HeadConfig, NetConfig)


class ExperimentConfig(ConfigPart):
    """One experiment: with the image files, it decides everything a run contains."""

    dataset: str = Field(
        default="synthetic",
        min_length=1,
        description="folder in Kaggle's layout, CSV, folder of class folders, or 'synthetic'",
    )
    dataset_name: str | None = Field(default=None, description="name of the data set; null: from its folder or file")
    columns: dict[str, str] = Field(
        default={},
        description="for a CSV: image_id, path, label, group -> what the file calls them, where that differs",
    )
    seed: int = Field(default=0, ge=0, le=MOST_SEED, description="seed of the train/validation split and of the head")
    split: SplitConfig = Field(default=SplitConfig(), description="how images are dealt to the parts")
    features: FeaturesConfig = Field(
        default=FeaturesConfig(), description="cached features, e.g. {blocks: [{backbone: resnet34}]}"
    )
    head: HeadConfig = Field(default=HeadConfig(), description="model that is trained on the features")
    net: NetConfig | None = Field(default=None, description="model that is trained from the images, instead of a head")
    tau: float | Literal["auto"] | None = Field(
        default=None, description="post-hoc logit adjustment; auto chooses it on validation by the objective"
    )
    recipes: dict[str, Any] = Field(
        default={}, description="augmentations of your own, by name: their steps as in a file of them, or the file"
    )
    objective: str = Field(
        default="mcc", description="metric that choices are made by, on validation: early stopping, tau, the best run"
    )
    trust: tuple[str, ...] = Field(
        default=(), description="types that a head of one's own may keep, beside those that run no code when loaded"
    )
    positive: str | None = Field(
        default=None,
        description="class scored by its sensitivity at fixed specificities; null: mel, where there is one",
    )

    @model_serializer(mode="wrap")
    def _as_before_trust(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plain values; where nothing is trusted those of a time that had no trust, so that digests stay."""
        values: dict[str, Any] = dump(self)
        return values if self.trust else {key: value for key, value in values.items() if key != "trust"}

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, content: Any) -> Any:
        return expand_short_forms(content) if isinstance(content, dict) else content

    @field_validator("recipes")
    @classmethod
    def _well_formed(cls, recipes: dict[str, Any]) -> dict[str, Any]:
        return {name: augmentation.steps for name, augmentation in Recipes.of_steps(recipes).own.items()}

    @model_validator(mode="after")
    def _something_to_train_on(self) -> "ExperimentConfig":
        if self.net is None and not self.features.blocks:
            raise ValueError(
                "features: expected at least one block, got an empty hybrid; name cached backbones, e.g. features=A+B"
            )
        return self

    @field_validator("objective")
    @classmethod
    def _known_metric(cls, objective: str) -> str:
        if objective not in METRICS:
            raise ValueError(unknown_name("metric", objective, METRICS))
        return objective

    @property
    def dataset_words(self) -> "DatasetWords":
        """The words that name the data set."""
        from hamcache.data.dataset import DatasetWords  # imports pandas

        return DatasetWords(self.dataset, self.columns, self.dataset_name)

    @property
    def augmentations(self) -> Recipes:
        """The augmentations that names stand for: packaged ones, and those that the configuration carries."""
        return Recipes.of_steps(self.recipes)

    @property
    def model_name(self) -> str:
        """Name of the model: the net's, or the head's."""
        return self.net.name if self.net is not None else self.head.name

    def content(self) -> dict[str, Any]:
        """Plain values, defaults included; a net without features has no head, features without metadata no columns."""
        unused = {"features", "head"} if self.net is not None and not self.features.blocks else set()
        if not self.recipes:  # as it was before there were any
            unused.add(RECIPES)
        content: dict[str, Any] = self.model_dump(mode="json", exclude=unused)
        if not self.features.has_metadata:
            content.get("features", {}).pop("metadata", None)
        return content

    @property
    def digest(self) -> str:
        """sha256 over the resolved configuration; equal configurations have equal digests."""
        return hashlib.sha256(json.dumps(former(self.content()), sort_keys=True).encode()).hexdigest()


def load_config(
    path_or_name: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    *,
    base: Mapping[str, Any] | None = None,
) -> ExperimentConfig:
    """Read, override and check one experiment; the head's own parameters are filled in with their defaults.

    Args:
        path_or_name: A YAML file, or the name of a packaged configuration (`logreg`, `experiments/mlp`);
            None starts from the defaults.
        settings: Values by their dotted keys (`head.lr`, `features.blocks.0.views`), set in order.

        base: Values under the file's own (the file wins), for commands that bring defaults.

    Raises:
        ConfigNotFoundError: There is no such file and no such packaged configuration.
        ConfigError: Unknown keys (the nearest valid one is named) or values that do not fit.
    """
    content = expand_short_forms(dict(base or {}))
    source = "the command line"
    if path_or_name is not None:
        content |= read_config(path_or_name)
        source = str(path_or_name)
    return validate_config(with_settings(content, settings or {}), source)


def with_settings(content: Mapping[str, Any], settings: Mapping[str, Any], *, merge: bool = False) -> dict[str, Any]:
    """An experiment's plain values with others set in them, by dotted keys and in order.

    Args:
        content: Plain values; not changed.
        settings: Dotted key -> value.
        merge: Whether a mapping keeps the keys of the one that it meets, and doesn't replace it.
    """
    changed = expand_short_forms(deepcopy(dict(content)))
    for key, value in settings.items():
        there = value_at(changed, key) if merge else None
        if key == RECIPES:
            value = with_known(changed.get(key), from_file(value))
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            value = merged(there, value)
        set_value(changed, key, deepcopy(value))
        changed = expand_short_forms(changed)
    return changed


def validate_config(content: dict[str, Any], source: str = "the configuration") -> ExperimentConfig:
    """Check plain values against the schema and against the head's own parameters."""
    refuse_former(content, source)
    try:
        config = ExperimentConfig.model_validate(content)
    except ValidationError as error:
        raise config_error(error, ExperimentConfig, source) from None
    resolved: dict[str, Any] = {}
    if config.features.blocks:
        from hamcache.heads.zoo import head_params

        resolved["head"] = _resolved(config.head, "head", head_params, config.objective, source)
    if config.net is not None:
        from hamcache.heads.nets.net_params import net_params

        resolved["net"] = _resolved(config.net, "net", net_params, config.objective, source)
        _check_net(config, resolved["net"], source)
    config = config.model_copy(update=resolved)
    blocks, net = (block.augmentation for block in config.features.blocks), config.net.params if config.net else {}
    return config.model_copy(update={RECIPES: in_use(config.recipes, blocks, net, source)})


def _check_net(config: ExperimentConfig, net: NetConfig, source: str) -> None:
    """Either a head or a net decides; only a warm-started net has both, of one backbone."""
    if net.params.get("warm_start") != "cache":
        if config.features.blocks or "head" in config.model_fields_set:
            raise ConfigError(
                f"{source}: expected either a head on features or a net on images, got net {net.name!r} beside "
                f"{'features' if config.features.blocks else 'a head'}; drop one of the two, or let the net finetune "
                "start from the cached features with net.warm_start=cache"
            )
        return
    backbones = [block.backbone for block in config.features.blocks]
    wanted = net.params["backbone"]
    if [full_name(backbone) for backbone in backbones] != [full_name(wanted)]:
        raise ConfigError(
            f"{source}: net.warm_start: expected features of the backbone that is fine-tuned, features={wanted}, "
            f"got {'+'.join(backbones) or 'none'}"
        )


def _resolved(named: Named, kind: str, params_of: Callable[[str], type[BaseModel]], metric: str, source: str) -> Named:
    """The same head or net with all of its parameters: those given, checked by their model, and defaults of the rest.

    What stops early watches `metric`, the experiment's objective, unless the head's or net's own says otherwise.
    """
    try:
        model, params = params_of(named.name), named.params
    except HeadError as error:  # no such head or net
        message = str(error)
        raise ConfigError(f"{source}: {kind}.name: {message[0].lower()}{message[1:].removesuffix('.')}") from None
    if "objective" in model.model_fields:
        watched = params.setdefault("objective", metric)
        if watched not in (*METRICS, "loss"):
            raise ConfigError(f"{source}: {kind}.objective: {unknown_name('metric', watched, [*METRICS, 'loss'])}")
    try:
        return type(named)(name=named.name, **model.model_validate(params).model_dump(mode="json"))
    except ValidationError as error:
        known = [f"{kind}.name", *(key for key in valid_keys(ExperimentConfig) if not key.startswith(f"{kind}."))]
        raise config_error(error, model, source, prefix=f"{kind}.", known=known) from None


def expand_short_forms(content: dict[str, Any]) -> dict[str, Any]:
    """Write out `head: mlp`, `net: simple_cnn`, `features: A+B` and `blocks: [A, B]` as what they stand for."""
    content = dict(content)
    if RECIPES in content:
        content[RECIPES] = from_file(content[RECIPES])
    for key in ("head", "net"):
        if isinstance(content.get(key), str):
            content[key] = {"name": content[key]}
    features = content.get("features")
    if isinstance(features, str):
        features = {"blocks": blocks_from(features)}
    if isinstance(features, dict):
        features = dict(features)
        blocks = features.get("blocks")
        if isinstance(blocks, str):
            features["blocks"] = blocks_from(blocks)
        elif isinstance(blocks, list | tuple):
            features["blocks"] = [{"backbone": block} if isinstance(block, str) else block for block in blocks]
        content["features"] = features
    return content


def blocks_from(
    features: str, augmentation: str = "none", views: int = 1, transform: str = "standardize"
) -> list[dict[str, Any]]:
    """The blocks of a hybrid written `A+B`, all with the same augmentation, views and transform.

    >>> [block["backbone"] for block in blocks_from("resnet34+densenet121")]
    ['resnet34', 'densenet121']
    """
    names = [name.strip() for name in features.split("+")]
    if not all(names):
        raise ConfigError(
            f"features {features!r}: expected backbones joined by '+', e.g. resnet34+densenet121, "
            "got an empty hybrid or an empty name between two '+'"
        )
    how = {"augmentation": augmentation, "views": views, "transform": transform}
    return [{"backbone": name, **({} if name == METADATA else how)} for name in names]


def resolved_yaml(config: ExperimentConfig) -> str:
    """The whole configuration, defaults included, as YAML that `load_config` reads back to an equal one."""
    return yaml.safe_dump(config.content(), sort_keys=False, allow_unicode=True)


def config_names() -> list[str]:
    """Names of the packaged experiment configurations."""
    root = resources.files("hamcache.configs")
    files = [*root.joinpath("experiments").iterdir(), *root.iterdir()]
    names = {entry.name.removesuffix(".yaml") for entry in files if entry.name.endswith(".yaml")}
    return sorted(names - {"augmentations"})


def read_config(path_or_name: str | Path) -> dict[str, Any]:
    """The values of a file or a packaged configuration, short forms written out and nothing else checked."""
    return expand_short_forms(read_yaml(find_config(path_or_name)))


def find_config(path_or_name: str | Path) -> Path:
    """The file a path or a packaged name stands for (`logreg`, `configs/experiments/logreg.yaml`)."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    root = Path(str(resources.files("hamcache.configs")))
    name = str(path_or_name).removeprefix("configs/").removesuffix(".yaml")
    if name and not path.is_absolute() and ".." not in path.parts:
        for candidate in (f"experiments/{name}.yaml", f"{name}.yaml"):
            if (root / candidate).is_file():
                return root / candidate
    raise ConfigNotFoundError(
        f"{path_or_name}: no such file, and {unknown_name('packaged configuration', name, config_names())}"
    )
