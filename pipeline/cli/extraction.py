"""Extraction behind a bar, with its summary printed: for every command that extracts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamcache.data.dataset import Dataset
    from hamcache.data.workspace import Workspace
    from hamcache.extract.fill import ExtractionSummary
    from hamcache.pipeline.config.schema import ExperimentConfig
    from hamcache.pipeline.experiment.extraction import FeatureWords


def extract_behind_bar(
    dataset: Dataset, workspace: Workspace, features: FeatureWords, **options: Any
) -> ExtractionSummary:
    """Fill the cache behind a bar; takes the options of `experiment.extraction.extract_features`."""
    from hamcache.pipeline.cli.console import progress_bar
    from hamcache.pipeline.experiment.extraction import extract_features

    with progress_bar("extracting", None, "images") as advance_to:
        return extract_features(
            dataset, workspace, features, on_progress=lambda p: advance_to(p.done, p.total), **options
        )


def extract_lacking(configs: Sequence[ExperimentConfig], workspace: Workspace) -> None:
    """Extract what the cache lacks of the features of experiments of one data set, and print what was done."""
    from hamcache.pipeline.cli.console import progress_bar
    from hamcache.pipeline.experiment.extraction import extract_for
    from hamcache.pipeline.studies.opened import joined

    with progress_bar("extracting", None, "images") as advance_to:
        summaries = [
            summary
            for config in joined(configs)
            for summary in extract_for(config, workspace, lambda p: advance_to(p.done, p.total))
        ]
    for summary in summaries:
        show_summary(summary)


def show_summary(summary: ExtractionSummary) -> None:
    """Print what an extraction did."""
    from hamcache.pipeline.cli.console import console, show_table

    console.print(str(summary))
    if summary.quarantined:
        rows = [(bad.image_id, bad.reason) for bad in summary.quarantined[:20]]
        more = len(summary.quarantined) - len(rows)
        show_table("Quarantined images", ("image", "reason"), rows, caption=f"and {more:,} more" if more else "")
