"""The part of an experiment's configuration that says how images are dealt to train, validation and test."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hamcache.configs.defaults import MOST_SEED


class ConfigPart(BaseModel):
    """A part of the configuration: unknown keys are errors, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SplitConfig(ConfigPart):
    """The split: how images are dealt to train, validation and test (see `data.splits`)."""

    policy: Literal["one_per_lesion", "single_image_lesions", "grouped"] = Field(
        default="one_per_lesion", description="which images take part and how they are dealt"
    )
    test_fraction: float = Field(
        default=0.2, ge=0, lt=1, description="share of all images (lesions) held out for the test"
    )
    validation_fraction: float = Field(
        default=0.2, gt=0, lt=1, description="share of all images (lesions) for validation"
    )
    train_images: Literal["one", "all"] = Field(
        default="one", description="one_per_lesion only: 'all' adds the further images of the train lesions to train"
    )
    test_seed: int = Field(
        default=0, ge=0, le=MOST_SEED, description="seed of the test set, which the experiment's seed never moves"
    )
    folds: int | None = Field(
        default=None,
        ge=2,
        description="k-fold cross-validation with pooled predictions; validation_fraction then does not count",
    )
    exclude: str | None = Field(
        default=None, description="CSV of images that no part takes in (image_id, reason), see `hamcache data audit`"
    )
    merge_groups: str | None = Field(
        default=None, description="CSV of groups that are one and must stay together (group, into, reason)"
    )
    file: str | None = Field(
        default=None,
        description="CSV of a given split, of `hamcache data split` or of others (image_id, part), instead of a policy",
    )
    column: str | None = Field(
        default=None, description="column of the table that holds a given split (train, val, test), instead of a policy"
    )
    train_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="share of each class's train lesions to train on, as if few were labelled",
    )
    shots: int | None = Field(
        default=None, ge=1, description="train lesions of each class to train on, an image each; instead of train_share"
    )

    @model_validator(mode="after")
    def _one_way_to_deal(self) -> "SplitConfig":
        for one, other in (("file", "column"), ("train_share", "shots")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise ValueError(f"{one} and {other}: expected one of the two, got both; leave one out")
        if self.is_given:
            names = ("policy", "test_fraction", "train_images", "test_seed")
            unused = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
            if unused:
                raise ValueError(
                    f"{unused[0]}: expected no policy beside a split that is given ({self.words}), "
                    f"got {getattr(self, unused[0])!r}; leave {', '.join(unused)} out"
                )
        return self

    @property
    def is_given(self) -> bool:
        """True where a file or a column says the parts."""
        return self.file is not None or self.column is not None

    @property
    def words(self) -> str:
        """The way of dealing in words, for titles and lists."""
        where: str = self.policy
        if self.is_given:
            where = f"given by {Path(self.file).name if self.file is not None else f'column {self.column}'}"
        folds = [f"{self.folds} folds"] if self.folds else []
        share = [f"{100 * self.train_share:g} % of train"] if self.train_share else []
        shots = [f"{self.shots} shots a class"] if self.shots else []
        return ", ".join([where, *folds, *share, *shots])
