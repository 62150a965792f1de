"""The block `metadata` in memory: columns of the image table, handed out by image id like a backbone's features."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hamcache.cache.store import FeatureStore
from hamcache.data.metadata import Metadata, metadata_of
from hamcache.data.table import ImageTable
from hamcache.heads.views import BlockArrays
from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.config.schema import ExperimentConfig


@dataclass(eq=False)
class MetadataBlock:
    """Columns of an image table as a block: the same for every view of an image, and never in a store.

    Attributes:
        config: What was asked for.
        metadata: The columns.
        weight: See `pipeline.config.schema.MetadataConfig`.
        rows: The columns of every image, by its id.
    """

    config: BlockConfig
    metadata: Metadata
    weight: float
    rows: pd.DataFrame = field(repr=False)
    n_views: int = 1

    @classmethod
    def of(cls, block: BlockConfig, config: ExperimentConfig, table: ImageTable) -> "MetadataBlock":
        """The block of an experiment.

        Raises:
            MetadataError: A column is not there, or is none that a model may see.
        """
        asked = config.features.metadata
        column = config.split.column
        refused = {} if column is None else {column: "it tells which part of the split an image is in"}
        metadata = metadata_of(table, asked.columns, refused)
        rows = table.frame.set_index("image_id")[metadata.names]
        metadata.encoded(rows)  # so that a wrong value is told now
        return cls(block, metadata, asked.weight, rows)

    @property
    def dim(self) -> int:
        """Numbers an image, before the transform."""
        return self.metadata.dim

    @property
    def transform(self) -> str:
        """The name of its transform."""
        from hamcache.heads.table_columns import transform_of  # imports scikit-learn: once everything is checked

        return transform_of(self.metadata.kinds, self.weight)

    @property
    def stores(self) -> list[FeatureStore]:
        """None: it comes from the table."""
        return []

    def load(self, image_ids: Sequence[str], digests: Mapping[str, str]) -> None:
        """Do nothing: the whole table is in memory."""

    def arrays(self, image_ids: Sequence[str]) -> BlockArrays:
        """The rows of these images, in this order."""
        encoded = self.metadata.encoded(self.rows.loc[list(image_ids)])[:, None]
        return BlockArrays(views=encoded, plain=encoded)

    def identity(self, train: Iterable[str], image_ids: Iterable[str]) -> dict[str, Any]:
        """All of it that decides a run's numbers, and what predicting takes.

        Args:
            train: The training images, whose words are known afterwards.
            image_ids: All images of the experiment.
        """
        ids = sorted(image_ids)
        return {
            "columns": self.metadata.trained_on(self.rows.loc[sorted(train)]).to_list(),
            "values": self.metadata.digest(ids, self.rows.loc[ids]),
        }
