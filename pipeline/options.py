"""Options that several commands share, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cache.catalogue import Catalogue
    from data.table import ImageTable

Dataset = Annotated[
    str,
    typer.Option(help="A folder in Kaggle's layout, a CSV, a folder of class folders, or 'synthetic'."),
]
Workspace = Annotated[
    Path, typer.Option(envvar="HAMCACHE_WORKSPACE", help="Where everything downloaded or made lies.", show_default=True)
]
FeaturesUrl = Annotated[
    str,
    typer.Option(
        envvar="HAMCACHE_FEATURES",
        help="Feature stores elsewhere: a folder or an fsspec URL (s3://...).",
        metavar="URL",
    ),
]
Columns = Annotated[
    list[str],
    typer.Option("--column", help="For a CSV: OURS=THEIRS, e.g. label=diagnosis. Ours: image_id, path, label, group."),
]
Name = Annotated[str, typer.Option(help="Name of the data set (default: from its folder or file).")]
DEFAULT_WORKSPACE = Path("workspace")


def read_table(dataset: str, workspace: Path, columns: Sequence[str] = (), name: str = "") -> ImageTable:
    """The image table that the shared options describe."""
    from data.readers import read_dataset

    return read_dataset(dataset, workspace=workspace, columns=pairs(columns, "--column") or None, name=name or None)


def pairs(settings: Sequence[str], option: str) -> dict[str, str]:
    """`["a=b", ...]` as a dict; anything else is wrong usage."""
    wrong = [s for s in settings if not all(s.partition("="))]
    if wrong:
        raise typer.BadParameter(f"expected NAME=VALUE, but got {wrong[0]!r}", param_hint=option)
    return {key: value for key, _, value in (s.partition("=") for s in settings)}


def features_root(workspace: Path, features_url: str = "") -> str:
    """Where the feature stores lie."""
    return features_url or str(workspace / "features")


def catalogue(workspace: Path, features_url: str = "") -> Catalogue:
    """The catalogue of the feature stores."""
    from cache.catalogue import Catalogue

    return Catalogue(features_root(workspace, features_url))
