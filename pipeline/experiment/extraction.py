"""The extract stage for commands, runner and notebooks: from names and a workspace to a filled cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hamcache.configs.defaults import DEVICES
from hamcache.data.digests import file_digests
from hamcache.data.readers.resolve import read_dataset
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.extract.augmentations import get_augmentation
from hamcache.extract.fill import ExtractionRequest, ExtractionSummary, run_extraction
from hamcache.extract.names import full_name, split_kind
from hamcache.pipeline.cli.console import console, progress_bar, show_table
from hamcache.pipeline.config.schema import ExperimentConfig, FeaturesConfig
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.experiment.inputs import stores_needed


class DeviceError(PipelineError, ValueError):
    """The device asked for is unknown, or this machine has none."""


def extract_features(
    table: ImageTable,
    workspace: Workspace,
    backbones: Sequence[str],
    augmentations: Sequence[str] = ("none",),
    views: int = 1,
    *,
    precision: str = "auto",
    seed: int = 0,
    workers: int | None = None,
    scheduler: str | None = None,
    device: str = "auto",
    weights: Mapping[str, str] | None = None,
    fit: str = "crop",
    source: str | None = None,
    rehash: bool = False,
    recipes_file: Path | None = None,
    show_progress: bool = True,
) -> ExtractionSummary:
    """Fill the cache, with a progress bar; what is already there is not computed again.

    Args:
        table: the images.
        workspace: holds `features/` and `digests/`.
        backbones: names; `NAME:stages` for features of another kind (see `extract.feature_kinds`).
        augmentations: names.
        views: views of each augmentation.
        precision: `auto`, `fp32` or `bf16`.
        seed: seed of the draws.
        workers, scheduler: see `extract.scheduler.dask_client`.
        device: `auto` takes a GPU where there is one.
        weights: file of weights for some backbones, by name.
        fit: `crop` or `squash` (see `extract.preprocess`).
        source: what the user calls the data set, for advice in errors.
        rehash: read all files again instead of trusting their size and time of change.
        recipes_file: recipes other than those in `configs/augmentations.yaml`.
        show_progress: whether to draw a bar.
    """
    from hamcache.extract.backbones import BackboneSpec
    from hamcache.extract.precision import resolve_precision

    drawn = [get_augmentation(name, recipes_file) for name in augmentations]
    device = resolve_device(device)
    resolved = resolve_precision(precision, device)
    files = {full_name(name): path for name, path in (weights or {}).items()}
    wanted = dict.fromkeys(split_kind(name) for name in backbones)
    specs = [(BackboneSpec(n, weights=files.get(n), fit=fit, precision=resolved), kind) for n, kind in wanted]
    digests = file_digests(table, workspace.digests(table.name), rehash=rehash)
    request = ExtractionRequest(table, digests, specs, drawn, views, seed, device, source)
    with progress_bar("extracting", None, "images") as advance_to:
        return run_extraction(
            request,
            workspace.features,
            workers=workers,
            scheduler=scheduler,
            on_progress=(lambda p: advance_to(p.done, p.total)) if show_progress else None,
        )


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a GPU, else `cpu`; the other two as they are.

    Raises:
        DeviceError: an unknown name, or `cuda` without a GPU that PyTorch can use.
    """
    import torch

    if device not in DEVICES:
        raise DeviceError(f"Expected the device to be one of {', '.join(DEVICES)}, but got {device!r}.")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DeviceError("Device cuda was asked for, but PyTorch finds no GPU here. Use --device auto.")
    return ("cuda" if there else "cpu") if device == "auto" else device


def show_summary(summary: ExtractionSummary) -> None:
    """Print what an extraction did."""
    console.print(str(summary))
    if summary.quarantined:
        rows = [(bad.image_id, bad.reason) for bad in summary.quarantined[:20]]
        more = len(summary.quarantined) - len(rows)
        show_table("Quarantined images", ("image", "reason"), rows, caption=f"and {more:,} more" if more else "")


def extract_for(config: ExperimentConfig, workspace: Workspace) -> None:
    """Extract whatever the cache lacks of the features that an experiment reads, in as few passes as possible."""
    table = read_dataset(config.dataset, workspace=workspace, columns=config.columns or None, name=config.dataset_name)
    for backbones, augmentations, views in passes_for(config.features):
        show_summary(
            extract_features(
                table,
                workspace,
                backbones,
                augmentations,
                views,
                precision=config.features.precision,
                seed=config.features.aug_seed,
                source=config.dataset,
            )
        )


def passes_for(features: FeaturesConfig) -> list[tuple[list[str], list[str], int]]:
    """What to extract for some features: backbones, augmentations and views of each pass over the images.

    A pass decodes each image once, so augmentations of the same backbones and views share one; those that have no
    more views than they are asked for (`none` has one) join a pass of more.
    """
    backbones_of: dict[tuple[str, int], list[str]] = {}
    for backbone, augmentation, views in stores_needed(features):
        backbones_of.setdefault((augmentation, views), []).append(backbone)
    most: dict[tuple[str, ...], int] = {}
    for (_, views), names in backbones_of.items():
        most[tuple(names)] = max(views, most.get(tuple(names), 0))
    passes: dict[tuple[tuple[str, ...], int], list[str]] = {}
    for (augmentation, views), names in backbones_of.items():
        has_no_more = get_augmentation(augmentation).distinct_views <= views
        in_pass = most[tuple(names)] if has_no_more else views
        passes.setdefault((tuple(names), in_pass), []).append(augmentation)
    return [(list(names), augmentations, views) for (names, views), augmentations in passes.items()]
