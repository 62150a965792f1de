"""Options that several commands share, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from hamcache.cache.catalogue import Catalogue
    from hamcache.data.dataset import Dataset as OpenedDataset
    from hamcache.data.table import ImageTable
    from hamcache.data.workspace import Workspace

Dataset = Annotated[
    str,
    typer.Option(help="A folder in Kaggle's layout, a CSV, a folder of class folders, or 'synthetic'."),
]
WorkspacePath = Annotated[
    Path, typer.Option(envvar="HAMCACHE_WORKSPACE", help="Where everything downloaded or made lies.", show_default=True)
]


def _check_url(url: str | None) -> str | None:
    """Refuse a URL whose file system is unknown or not installed."""
    if url is None:
        return None
    protocol, separator, _ = url.partition("://")
    if separator:
        from fsspec import get_filesystem_class

        try:
            get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            raise typer.BadParameter(f"{url}: {error} (for s3://: pip install 'hamcache[s3]')") from None
    return url


FeaturesUrl = Annotated[
    str | None,
    typer.Option(
        callback=_check_url,
        envvar="HAMCACHE_FEATURES",
        help="Feature stores elsewhere: a folder or an fsspec URL (s3://...).",
        metavar="URL",
    ),
]
Columns = Annotated[
    list[str],
    typer.Option("--column", help="For a CSV: OURS=THEIRS, e.g. label=diagnosis. Ours: image_id, path, label, group."),
]
Plots = Annotated[
    bool, typer.Option("--plots/--no-plots", help="Draw each run's pictures, a second a run (`runs plot` does later).")
]
Name = Annotated[str, typer.Option(help="Name of the data set (default: from its folder or file).")]
Exclude = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV", exists=True, dir_okay=False, help="Images to leave out: image_id, reason (see `data audit`)."
    ),
]
MergeGroups = Annotated[
    Path | None,
    typer.Option(
        metavar="CSV", exists=True, dir_okay=False, help="Groups that are one: group, into, reason (see `data audit`)."
    ),
]
Jobs = Annotated[int | None, typer.Option(min=1, help="Processes at a time (default: one a core).")]
DEFAULT_WORKSPACE = Path("workspace")


def place(workspace: Path, features_url: str | None = None) -> Workspace:
    """The workspace that the options `--workspace` and `--features-url` name."""
    from hamcache.data.workspace import Workspace

    return Workspace(workspace, features_url or None)


def open_dataset(
    dataset: str, workspace: Workspace, columns: Sequence[str] = (), name: str = "", *, rehash: bool = False
) -> OpenedDataset:
    """The data set that the shared options describe."""
    from hamcache.data.dataset import DatasetWords
    from hamcache.data.dataset import open_dataset as open_words

    announce_drawing(dataset, workspace)
    return open_words(DatasetWords(dataset, pairs(columns, "--column"), name or None), workspace, rehash=rehash)


def read_table(dataset: str, workspace: Workspace, columns: Sequence[str] = (), name: str = "") -> ImageTable:
    """The image table of the data set that the shared options describe."""
    return open_dataset(dataset, workspace, columns, name).table


def announce_drawing(dataset: str, workspace: Workspace) -> None:
    """Say so before the synthetic data set is drawn on its first use, which takes a while."""
    from hamcache.data.readers.resolve import SYNTHETIC, must_be_drawn
    from hamcache.pipeline.cli.console import errors

    if must_be_drawn(dataset, workspace):
        folder = workspace.datasets / SYNTHETIC
        errors.print(f"Drawing the synthetic data set into {folder}, once ...", highlight=False)


def one_of(value: str, valid: Sequence[str], option: str) -> str:
    """`value`, if it is one of the words an option takes; anything else is wrong usage."""
    if value not in valid:
        raise typer.BadParameter(
            f"expected {', '.join(valid[:-1])} or {valid[-1]}, but got {value!r}", param_hint=option
        )
    return value


def pairs(settings: Sequence[str], option: str) -> dict[str, str]:
    """`["a=b", ...]` as a dict; anything else is wrong usage."""
    wrong = [s for s in settings if not all(s.partition("="))]
    if wrong:
        raise typer.BadParameter(f"expected NAME=VALUE, but got {wrong[0]!r}", param_hint=option)
    return {key: value for key, _, value in (s.partition("=") for s in settings)}


def catalogue(workspace: Workspace) -> Catalogue:
    """The catalogue of a workspace's feature stores."""
    from hamcache.cache.catalogue import Catalogue

    return Catalogue(workspace.features)


def overrides(
    dataset: str,
    column: Sequence[str],
    seed: int | None,
    exclude: Path | None = None,
    merge_groups: Path | None = None,
) -> list[str]:
    """The shared options of `train`, `zoo` and `hybrids` as settings of the configuration."""
    settings = []
    if dataset:
        settings.append(f"dataset={json.dumps(dataset)}")
    if column:
        settings.append(f"columns={json.dumps(pairs(column, '--column'))}")
    if seed is not None:
        settings.append(f"seed={seed}")
    if exclude is not None:
        settings.append(f"split.exclude={json.dumps(str(exclude))}")
    if merge_groups is not None:
        settings.append(f"split.merge_groups={json.dumps(str(merge_groups))}")
    return settings
