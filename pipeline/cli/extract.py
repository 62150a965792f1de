"""`hamcache extract`, `show-views` and `backbones`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hamcache.pipeline.cli import options


def extract(
    dataset: options.Dataset = "synthetic",
    backbones: Annotated[
        str, typer.Option(help="Names, separated by commas: timm, torchvision/NAME, random/NAME; NAME:stages.")
    ] = ("tf_efficientnet_lite0"),
    augmentations: Annotated[str, typer.Option(help="Recipes, separated by commas.")] = "none",
    views: Annotated[int, typer.Option(min=1, help="Views of each augmentation (at most as many as differ).")] = 1,
    precision: Annotated[
        str, typer.Option(help="auto, fp32 or bf16; auto takes bf16 where the processor has it.")
    ] = "auto",
    workers: Annotated[int | None, typer.Option(min=1, help="Tasks at a time (default: one a core).")] = None,
    scheduler: Annotated[str, typer.Option(help="Address of an existing Dask cluster, tcp://HOST:PORT.")] = "",
    weights: Annotated[list[str], typer.Option(help="BACKBONE=FILE: weights from a file.")] = [],  # noqa: B006
    fit: Annotated[str, typer.Option(help="crop (the central square) or squash (the whole image).")] = "crop",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    aug_seed: Annotated[int, typer.Option(min=0, help="Seed of the augmentation draws.")] = 0,
    recipes: Annotated[Path | None, typer.Option(exists=True, help="A YAML file of recipes of your own.")] = None,
    rehash: Annotated[bool, typer.Option(help="Read every file again instead of trusting its time of change.")] = False,
    retry_quarantined: Annotated[bool, typer.Option(help="Try the quarantined images again.")] = False,
    column: options.Columns = [],  # noqa: B006
    name: options.Name = "",
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Run frozen backbones over a data set, once: features of every augmentation view go into the cache."""
    place = options.place(workspace, features_url)
    from hamcache.extract.defaults import DEVICES, FITS
    from hamcache.extract.names import split_list
    from hamcache.pipeline.cli.console import console
    from hamcache.pipeline.cli.extraction import extract_behind_bar, show_summary
    from hamcache.pipeline.experiment.extraction import FeatureWords

    options.one_of(fit, FITS, "--fit")
    options.one_of(device, DEVICES, "--device")
    files = options.pairs(weights, "--weights")
    names = split_list(backbones)
    augmentation_names = [part.strip() for part in augmentations.split(",") if part.strip()]
    if not names or not augmentation_names:
        raise typer.BadParameter("expected at least one backbone and one augmentation")
    opened = options.open_dataset(dataset, place, column, name, rehash=rehash)
    if retry_quarantined:
        from hamcache.cache.quarantine import Quarantine

        Quarantine(options.catalogue(place).root, opened.name).release()
    try:
        summary = extract_behind_bar(
            opened,
            place,
            FeatureWords(names, augmentation_names, views, aug_seed, precision, fit, files, recipes),
            workers=workers,
            scheduler=scheduler or None,
            device=device,
        )
    except KeyboardInterrupt:
        console.print("Interrupted. What was written is valid; the same command goes on from there.")
        raise typer.Exit(1) from None
    show_summary(summary)


def show_views(
    dataset: options.Dataset = "synthetic",
    augmentations: Annotated[str, typer.Option(help="Recipes, separated by commas (default: all).")] = "",
    views: Annotated[int, typer.Option(min=1, max=16, help="Views a row.")] = 8,
    images: Annotated[int, typer.Option(min=1, max=16, help="Images to show.")] = 1,
    image_id: Annotated[str, typer.Option(help="A particular image.")] = "",
    aug_seed: Annotated[int, typer.Option(min=0, help="Seed of the augmentation draws.")] = 0,
    recipes: Annotated[Path | None, typer.Option(exists=True, help="A YAML file of recipes of your own.")] = None,
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("views.png"),
    column: options.Columns = [],  # noqa: B006
    name: options.Name = "",
    workspace: options.WorkspacePath = options.DEFAULT_WORKSPACE,
) -> None:
    """Draw a sheet of views: what each augmentation does to some images."""
    place = options.place(workspace)
    from PIL import Image

    from hamcache.extract.augmentations import get_augmentation, load_augmentations
    from hamcache.extract.sheet import view_sheet
    from hamcache.pipeline.cli.console import console

    if out.suffix.lower() not in Image.registered_extensions():
        raise typer.BadParameter(
            f"expected a picture's name, such as views.png, but got {str(out)!r}", param_hint="--out"
        )
    table = options.read_table(dataset, place, column, name)
    chosen = [part.strip() for part in augmentations.split(",") if part.strip()] or list(load_augmentations(recipes))
    rows = table.frame if not image_id else table.subset([image_id]).frame
    table.require_images("Drawing views", list(rows["image_id"]))
    paths = dict(zip(rows["image_id"], rows["path"], strict=True))
    step = max(1, len(paths) // images)
    picked = dict(list(paths.items())[::step][:images])
    view_sheet(picked, [get_augmentation(n, recipes) for n in chosen], views, aug_seed, out)
    console.print(f"Wrote {out}: {len(picked)} images, {len(chosen)} augmentations, up to {views} views each.")


def backbones(
    match: Annotated[str, typer.Argument(help="Part of a name, e.g. 'resnet' or 'dinov2'.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="How many names to list.")] = 40,
) -> None:
    """List backbones by name: the embedded ones, the short names, and what timm and torchvision have."""
    import timm
    import torchvision

    from hamcache.extract.names import ALIASES, EMBEDDED, TORCHVISION
    from hamcache.pipeline.cli.console import console, show_table

    short = {alias: full for alias, full in ALIASES.items() if full not in EMBEDDED}
    rows = [(n, "weights are installed with hamcache") for n in EMBEDDED]
    rows += [(alias, f"short for {full} (hub)") for alias, full in short.items()]
    rows += [(n, "timm (hub)") for n in timm.list_pretrained() if n not in ALIASES]
    known = torchvision.models.list_models(module=torchvision.models)
    rows += [(f"{TORCHVISION}{n}", "torchvision (hub)") for n in known]
    fitting = [row for row in rows if match in row[0]]
    show_table(f"{len(fitting):,} backbones", ("name", "weights"), fitting[:limit])
    if len(fitting) > limit:
        console.print(f"... and {len(fitting) - limit:,} more; narrow it down: `hamcache backbones resnet`")
