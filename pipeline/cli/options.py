"""Every option that more than one command takes, declared once: its name, type, meaning, and the words it takes.

An option that takes one value is named in the singular (`--augmentation`), one that takes several in the plural
(`--augmentations`, separated by commas). `None` is the default wherever the configuration or the library has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hamcache.configs.defaults import DEVICES, MOST_SEED, MOST_VIEWS, PARTS, POLICIES, SETS
from hamcache.pipeline.cli.manner import AsJson as AsJson


def word(valid: Sequence[str], meaning: str, *names: str) -> Any:
    """An option that takes one of these words; anything else is wrong usage."""

    def check(value: str | None) -> str | None:
        if value is not None and value not in valid:
            from hamcache.data.nearest import nearest

            near = nearest(value, valid)
            hint = "" if near is None else f"; did you mean {near!r}?"
            raise typer.BadParameter(f"expected {', '.join(valid[:-1])} or {valid[-1]}, got {value!r:.100}{hint}")
        return value

    def begun(incomplete: str) -> list[str]:
        return [name for name in valid if name.startswith(incomplete)]

    return typer.Option(*names, callback=check, help=meaning, autocompletion=begun)


def _check_pairs(values: list[str] | None) -> list[str] | None:
    pairs(values)
    return values


def _check_url(url: str | None) -> str | None:
    """Refuse a URL whose file system is unknown or not installed."""
    protocol, separator, _ = (url or "").partition("://")
    if separator:
        from fsspec import get_filesystem_class

        try:
            get_filesystem_class(protocol)
        except (ValueError, ImportError) as error:
            raise typer.BadParameter(f"{url}: {error} (for s3://: pip install 'hamcache[s3]')") from None
    return url


def file(metavar: str, meaning: str) -> Any:
    """An option that takes a file that is there."""
    return typer.Option(metavar=metavar, exists=True, dir_okay=False, help=meaning)


def out(written: str) -> Any:
    """The option `--out` of a command that writes this."""
    return typer.Option("--out", help=written)


MOST_WORKERS = 1024

# -- where everything is

WORKSPACE = Path("workspace")
WorkspacePath = Annotated[
    Path, typer.Option(envvar="HAMCACHE_WORKSPACE", help="Folder of all that is downloaded or made.")
]
FeaturesUrl = Annotated[
    str | None,
    typer.Option(
        callback=_check_url,
        envvar="HAMCACHE_FEATURES",
        help="Feature stores elsewhere: a folder or an fsspec URL (s3://...).",
        metavar="URL",
    ),
]

# -- the data set

Dataset = Annotated[
    str | None,
    typer.Option(
        envvar="HAMCACHE_DATASET",
        help="A folder in Kaggle's layout, a CSV, a folder of class folders, the name of a data set in the workspace, "
        "or 'synthetic' (default: the configuration's, or synthetic).",
    ),
]
DatasetName = Annotated[str | None, typer.Option(help="Name of the data set (default: from its folder or file).")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        callback=_check_pairs,
        metavar="OURS=THEIRS",
        help="For a CSV, e.g. label=diagnosis; ours are image_id, path, label and group.",
    ),
]
Exclude = Annotated[Path | None, file("CSV", "Images to leave out: image_id, reason (see `data audit`).")]
MergeGroups = Annotated[Path | None, file("CSV", "Groups that are one: group, into, reason (see `data audit`).")]
SplitFile = Annotated[
    Path | None, file("CSV", "Split that is given: what `data split` wrote, or image_id and part (train, val, test).")
]
SplitColumn = Annotated[
    str | None, typer.Option(metavar="NAME", help="Column of the table that holds a split: train, val, test.")
]
Policy = Annotated[
    str, word(POLICIES, "Images that take part in the split, and how: one_per_lesion, single_image_lesions or grouped.")
]

# -- features and augmentation views

Backbones = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Backbones, separated by commas: a timm name, hf-hub:ORG/NAME, local-dir:PATH, torchvision/NAME, "
        "open_clip/NAME@TAG, transformers/NAME, file.py:factory, random/NAME; NAME:stages and other kinds.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="A+B",
        help="Cached backbones, joined by + for a hybrid; commas between feature sets where several are taken.",
    ),
]
Augmentation = Annotated[str, typer.Option(help="Augmentation of the features.")]
Augmentations = Annotated[str | None, typer.Option(help="Augmentations, separated by commas.")]
Views = Annotated[
    int, typer.Option(min=1, max=MOST_VIEWS, help="Views of each augmentation, at most as many as are different.")
]
AugSeed = Annotated[int, typer.Option(min=0, max=MOST_SEED, help="Seed of the augmentation draws.")]
Recipes = Annotated[
    Path | None, file("YAML", "A file of your own augmentations, over those of WORKSPACE/augmentations.yaml.")
]
Weights = Annotated[
    list[str] | None,
    typer.Option(callback=_check_pairs, metavar="BACKBONE=FILE", help="Weights of a backbone, from a file."),
]
Device = Annotated[str, word(DEVICES, "auto, cpu or cuda.")]

# -- experiments

Config = Annotated[
    str | None,
    typer.Option(help="A YAML file, or the name of a packaged configuration, for all that the options don't say."),
]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field of the experiment, e.g. head.lr=1e-3.")
]
Head = Annotated[
    str | None,
    typer.Option(
        help="A head of the zoo, package.module:Class or file.py:Class (default: the configuration's, or logreg)."
    ),
]
Heads = Annotated[str | None, typer.Option(help="Heads, separated by commas.")]
Trust = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Types that a head of your own may keep, though loading them runs code: file.py:Class, or a package.",
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        min=0, max=MOST_SEED, help="Seed of all that is drawn: split, head, search (default: configured, or 0)."
    ),
]
Test = Annotated[bool, typer.Option("--test", help="Open the test set: score it, and say so in the log.")]
Extract = Annotated[
    bool, typer.Option("--extract/--no-extract", help="First extract the features that the cache lacks.")
]
Plots = Annotated[
    bool, typer.Option("--plots/--no-plots", help="Draw each run's pictures, a second a run (`runs plot` does later).")
]
Objective = Annotated[
    str | None, typer.Option(help="Metric on validation: mcc, f1 (weighted_f1), balanced_accuracy, nll, ...")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=MOST_WORKERS, help="Tasks at a time (default: one per core, limited by free memory)."),
]

# -- finished artefacts, and what is written

Metadata = Annotated[
    Path | None,
    file("CSV", "For a run on metadata: image_id (or file) and its columns, one row an image; values may be empty."),
]

Part = Annotated[str | None, word(PARTS, "Part whose scores count: train, validation or test.")]
Metric = Annotated[str | None, typer.Option(help="Metric that runs are ordered and compared by.")]
Coverage = Annotated[float, typer.Option(help="Chance that a prediction set holds the true class.")]
Sets = Annotated[str, word(SETS, "lac (smallest sets) or aps (larger for hard images).")]
ClassConditional = Annotated[
    bool, typer.Option("--class-conditional", help="Promise the coverage for each class, not only on average.")
]
Licence = Annotated[str | None, typer.Option(help="Licence of the data (known for HAM10000).")]
Citation = Annotated[str | None, typer.Option(help="Source that users of the data must cite (known for HAM10000).")]
Force = Annotated[
    bool, typer.Option("--force", help="Even if the result is there: run again, or write over the files.")
]
Limit = Annotated[int, typer.Option(min=1, help="Rows to print.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


# -- what options stand for


def listed(names: str | None) -> list[str]:
    """`"A, B"` as its parts; an empty part between two commas is left for the checks to find."""
    return [part.strip() for part in names.split(",")] if names and names.strip() else []


def pairs(texts: Sequence[str] | None) -> dict[str, str]:
    """`["a=b", ...]` as a dict; anything else is wrong usage."""
    return dict(pair_list(texts))


def pair_list(texts: Sequence[str] | None) -> list[tuple[str, str]]:
    """`["a=b", ...]` as pairs, of which several may begin alike; anything else is wrong usage."""
    wrong = [text for text in texts or () if not all(text.partition("="))]
    if wrong:
        raise typer.BadParameter(f"expected NAME=VALUE, got {wrong[0]!r:.100}")
    return [(key, value) for key, _, value in (text.partition("=") for text in texts or ())]
