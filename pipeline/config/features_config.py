"""The part of an experiment's configuration that names its features: blocks, views, metadata."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer, model_validator

from hamcache.configs.defaults import METADATA, MOST_SEED, MOST_VIEWS
from hamcache.heads.views import ViewPolicy
from hamcache.pipeline.config.split_config import ConfigPart

MOST_BLOCKS = 100


class BlockConfig(ConfigPart):
    """One backbone's cached features inside a hybrid; `metadata` stands for columns of the image table."""

    backbone: str = Field(
        min_length=1, description="name of the backbone, as `hamcache extract` was given it, or metadata"
    )
    augmentation: str = Field(default="none", min_length=1, description="augmentation whose views are read")
    views: int = Field(
        default=1, ge=1, le=MOST_VIEWS, description="how many views of each image are read: 0 .. views-1"
    )
    transform: str = Field(
        default="standardize",
        pattern=r"^(standardize|l2|power|none|pca:[1-9]\d*)$",
        description="fitted on train only: standardize, l2, power, pca:<components> or none",
    )

    @property
    def is_metadata(self) -> bool:
        """True for the block of columns of the image table."""
        return self.backbone == METADATA

    @model_validator(mode="after")
    def _metadata_has_no_views(self) -> "BlockConfig":
        if self.is_metadata and (self.augmentation, self.views, self.transform) != ("none", 1, "standardize"):
            raise ValueError(
                "expected the block metadata without augmentation, views and transform, since it is the same for every "
                f"view of an image, got {self.augmentation} x{self.views}, {self.transform}"
            )
        return self


class MetadataConfig(ConfigPart):
    """Columns of the image table that are the block `metadata`."""

    columns: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="names of columns; null: those of age, sex, localization that there are"
    )
    weight: float = Field(
        default=2.0, gt=0, le=1000, description="factor of its columns, beside features that are many more"
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _listed(cls, columns: Any) -> Any:
        return [name.strip() for name in columns.split(",")] if isinstance(columns, str) else columns

    @field_validator("columns")
    @classmethod
    def _different(cls, columns: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if columns is not None and (len(set(columns)) < len(columns) or not all(columns)):
            raise ValueError(f"expected names of columns, each once, got {', '.join(map(repr, columns))}")
        return columns


class FeaturesConfig(ConfigPart):
    """The cached features that the head is trained on; more than one block makes a hybrid."""

    blocks: tuple[BlockConfig, ...] = Field(default=(), description="the hybrid's blocks, at least one for a head")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="arithmetic the features were extracted with; auto takes what the cache has"
    )
    storage: Literal["auto", "float32", "float16"] = Field(
        default="auto", description="numbers the features are kept as; auto takes what the cache has"
    )
    aug_seed: int = Field(default=0, ge=0, le=MOST_SEED, description="seed the views were drawn with")
    views: ViewPolicy = Field(default=ViewPolicy(), description="which views the head sees")
    metadata: MetadataConfig = Field(default=MetadataConfig(), description="what the block metadata holds")

    @property
    def has_metadata(self) -> bool:
        """True where one of the blocks is `metadata`."""
        return any(block.is_metadata for block in self.blocks)

    @model_serializer(mode="wrap")
    def _as_before(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Plain values; without a choice of storage or metadata those of a time without, so that digests stay."""
        values: dict[str, Any] = dump(self)
        if values.get("storage") == "auto":
            del values["storage"]
        if not self.has_metadata and self.metadata == MetadataConfig():
            values.pop("metadata", None)
        return values

    @field_validator("blocks")
    @classmethod
    def _different(cls, blocks: tuple[BlockConfig, ...]) -> tuple[BlockConfig, ...]:
        if len(blocks) > MOST_BLOCKS:
            raise ValueError(f"expected at most {MOST_BLOCKS} blocks, got {len(blocks):,}")
        for block in blocks:
            if blocks.count(block) > 1:
                raise ValueError(
                    f"the block {block.backbone} ({block.augmentation}, {block.views} views) is listed "
                    f"{blocks.count(block)} times; list each block once"
                )
        return blocks
