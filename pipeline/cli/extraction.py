"""Data sets opened and features extracted, with what takes long announced: for every command that does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hamcache.pipeline.cli import options
from hamcache.pipeline.cli.console import progress_bar, say, show_table, warn

if TYPE_CHECKING:
    from hamcache.data.dataset import Dataset, DatasetWords
    from hamcache.data.workspace import Workspace
    from hamcache.extract.fill import ExtractionSummary
    from hamcache.pipeline.cli.bundles import Extracting
    from hamcache.pipeline.config.schema import ExperimentConfig
    from hamcache.pipeline.experiment.extraction import FeatureWords


def announce_drawing(dataset: str, workspace: Workspace) -> None:
    """Say so before the synthetic data set is drawn on its first use, which takes a while."""
    from hamcache.data.readers.resolve import must_be_drawn

    if must_be_drawn(dataset, workspace):
        warn(f"Drawing the synthetic data set into {workspace.datasets / dataset}, once ...")


def open_dataset(words: DatasetWords, workspace: Workspace, *, rehash: bool = False) -> Dataset:
    """The data set of these words."""
    from hamcache.data.dataset import open_dataset

    announce_drawing(words.dataset, workspace)
    return open_dataset(words, workspace, rehash=rehash)


def extract_behind_bar(
    dataset: Dataset, workspace: Workspace, features: FeatureWords, **options: Any
) -> ExtractionSummary:
    """Fill the cache behind a bar; takes the options of `experiment.extraction.extract_features`."""
    from hamcache.pipeline.experiment.extraction import extract_features

    with progress_bar("extracting", None, "images") as advance_to:
        return extract_features(
            dataset, workspace, features, on_progress=lambda p: advance_to(p.done, p.total), **options
        )


def check_parts(configs: Sequence[ExperimentConfig], workspace: Workspace) -> None:
    """Find out before anything is extracted or trained that the images of experiments can't be dealt to parts.

    Raises:
        TableError, SplitError, CurationError: See `experiment.preparation.make_splits`.
    """
    from hamcache.pipeline.experiment.preparation import make_splits

    table = configs[0].dataset_words.table(workspace)
    for config in {(config.seed, config.split): config for config in configs}.values():
        make_splits(config, table)


def prepare(configs: Sequence[ExperimentConfig], workspace: Workspace, extracting: Extracting) -> None:
    """Announce the drawing of the data set of experiments, and extract what the cache lacks of their features."""
    announce_drawing(configs[0].dataset, workspace)
    check_parts(configs, workspace)
    if not extracting.extract:
        return
    files = options.pairs(extracting.weights)
    from hamcache.pipeline.experiment.extraction import extract_for
    from hamcache.pipeline.studies.opened import joined

    with progress_bar("extracting", None, "images") as advance_to:
        summaries = [
            summary
            for config in joined(configs)
            for summary in extract_for(
                config, workspace, lambda p: advance_to(p.done, p.total), weights=files, device=extracting.device
            )
        ]
    for summary in summaries:
        show_summary(summary)


def show_summary(summary: ExtractionSummary) -> None:
    """Print what an extraction did."""

    say(summary)
    if summary.quarantined:
        rows = [(bad.image_id, bad.reason) for bad in summary.quarantined[:20]]
        more = len(summary.quarantined) - len(rows)
        show_table("Quarantined images", ("image", "reason"), rows, caption=f"and {more:,} more" if more else "")
