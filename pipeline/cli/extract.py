"""`hamcache extract`, `show-views` and `backbones`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import AUGMENTATION, BACKBONE, FITS, PRECISIONS, SHEET_VIEWS, STORAGES, VIEWS
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import interruptible, say, show_table
from hamcache.pipeline.cli.extraction import extract_behind_bar, open_dataset, show_summary

if TYPE_CHECKING:
    from hamcache.data.workspace import Workspace


def extract(
    words: bundles.Words,
    workspace: bundles.FullWorkspace,
    backbones: options.Backbones = BACKBONE,
    augmentations: options.Augmentations = AUGMENTATION,
    views: options.Views = VIEWS,
    precision: Annotated[
        str, options.word(PRECISIONS, "auto, fp32 or bf16; auto takes bf16 where the processor has it.")
    ] = "auto",
    storage: Annotated[
        str,
        options.word(STORAGES, "auto, float32 or float16; auto keeps features as the data set's others, or float32."),
    ] = "auto",
    chunk_mib: Annotated[
        float | None,
        typer.Option(min=0, max=1024, help="Size of a file of new features, in MiB (default: 64 images a file)."),
    ] = None,
    workers: options.Workers = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of an existing Dask cluster.", metavar="tcp://HOST:PORT")
    ] = None,
    weights: options.Weights = None,
    fit: Annotated[str, options.word(FITS, "crop (the central square) or squash (the whole image).")] = "crop",
    device: options.Device = "auto",
    aug_seed: options.AugSeed = 0,
    recipes: options.Recipes = None,
    rehash: Annotated[bool, typer.Option(help="Read every file again instead of trusting its time of change.")] = False,
    retry_quarantined: Annotated[bool, typer.Option(help="Try the quarantined images again.")] = False,
) -> None:
    """Run frozen backbones over a data set, once: features of every augmentation view go into the cache."""
    from hamcache.extract.allocator import keep_memory
    from hamcache.extract.names import split_list
    from hamcache.extract.recipes import recipes_of

    keep_memory()  # before the threads that read files
    files = options.pairs(weights)
    names = split_list(backbones or "")
    augmentation_names = [name for name in options.listed(augmentations) if name]
    if not names or not augmentation_names:
        raise typer.BadParameter("expected at least one backbone and one augmentation")
    known = recipes_of(workspace, recipes)
    for name in augmentation_names:
        known.get(name)
    opened = open_dataset(words, workspace, rehash=rehash)
    if retry_quarantined:
        from hamcache.cache.catalogue import Catalogue
        from hamcache.cache.quarantine import Quarantine

        Quarantine(Catalogue(workspace.features).root, opened.name).release()
    from hamcache.pipeline.experiment.extraction import FeatureWords  # imports torch

    wanted = FeatureWords(names, augmentation_names, views, aug_seed, precision, storage, chunk_mib, fit, files, known)
    with interruptible("What was written is valid; the same command goes on from there."):
        summary = extract_behind_bar(opened, workspace, wanted, workers=workers, scheduler=scheduler, device=device)
    show_summary(summary)


def show_views(
    words: bundles.Words,
    workspace: bundles.PlainWorkspace,
    augmentations: options.Augmentations = None,
    views: options.Views = SHEET_VIEWS,
    images: Annotated[int, typer.Option(min=1, max=16, help="Images to show.")] = 1,
    image_id: Annotated[str | None, typer.Option(help="A particular image.")] = None,
    aug_seed: options.AugSeed = 0,
    recipes: options.Recipes = None,
    out: Annotated[Path, options.out("The picture to write.")] = Path("views.png"),
) -> None:
    """Draw a sheet of views, a row for each augmentation (all without --augmentations), of some images."""
    from PIL import Image

    from hamcache.extract.recipes import recipes_of

    if out.suffix.lower() not in Image.registered_extensions():
        raise typer.BadParameter(f"expected a picture's name, such as views.png, got {str(out)!r}", param_hint="--out")
    known = recipes_of(workspace, recipes)
    chosen = [known.get(name) for name in [n for n in options.listed(augmentations) if n] or known.names]
    table = open_dataset(words, workspace).table
    rows = table.frame if image_id is None else table.subset([image_id]).frame
    table.require_images("Drawing views", list(rows["image_id"]))
    paths = dict(zip(rows["image_id"], rows["path"], strict=True))
    step = max(1, len(paths) // images)
    picked = dict(list(paths.items())[::step][:images])
    from hamcache.extract.sheet import view_sheet  # imports torch

    view_sheet(picked, chosen, views, aug_seed, out)
    say(f"Wrote {out}: {len(picked)} images, {len(chosen)} augmentations, up to {views} views each.")


def backbones(
    workspace: bundles.PlainWorkspace,
    match: Annotated[
        str | None, typer.Argument(help="A backbone, or part of a name, e.g. 'resnet' or 'dinov2'.", metavar="NAME")
    ] = None,
    limit: options.Limit = 50,
) -> None:
    """Describe a backbone before anything runs, or list those whose names hold some letters.

    A description has the kinds of features and their lengths, the preparation of images, and where the weights come
    from; nothing is downloaded for it but, for hf-hub: and transformers/, the network's configuration.
    """
    import timm

    from hamcache.extract.names import ALIASES, EMBEDDED, TORCHVISION
    from hamcache.extract.sources import own_code, torchvision_models

    if match is not None and _describe(match, workspace):
        return
    short = {alias: full for alias, full in ALIASES.items() if full not in EMBEDDED}
    rows = [(n, "weights are installed with hamcache") for n in EMBEDDED]
    rows += [(alias, f"short for {full} (hub)") for alias, full in short.items()]
    rows += [(n, "timm (hub)") for n in timm.list_pretrained() if n not in ALIASES]
    rows += [(f"{TORCHVISION}{n}", "torchvision (hub)") for n in torchvision_models.known_names()]
    rows += [(name, f"offered by {point.value}") for name, point in own_code.offered().items()]
    fitting = [row for row in rows if (match or "") in row[0]]
    show_table(f"{len(fitting):,} backbones", ("name", "weights"), fitting[:limit])
    if len(fitting) > limit:
        say(f"... and {len(fitting) - limit:,} more; narrow it down: `hamcache backbones resnet`")


def _describe(name: str, workspace: Workspace) -> bool:
    """Print the description of a backbone; False where no backbone is called exactly so."""
    import timm

    from hamcache.extract.backbones import BackboneSpec, describe_backbone
    from hamcache.extract.names import TORCHVISION, split_kind
    from hamcache.extract.sources import own_code, torchvision_models
    from hamcache.extract.sources.choose import bare_name, source_of
    from hamcache.pipeline.runs.tuned import tuned_weights

    full = split_kind(name)[0]
    bare = bare_name(full)[0]
    if bare.startswith(TORCHVISION):
        is_name = torchvision_models.is_known(bare)
    else:
        is_name = bool(set(bare) & set(":/")) or source_of(bare) is own_code or timm.is_model(bare)
    if not is_name:
        return False
    found = describe_backbone(BackboneSpec(full, tuned_weights([full], workspace).get(full)))
    images = found.preprocessing
    rows = [
        *((f"kind {kind}", f"{length:,} numbers an image") for kind, length in found.kinds.items()),
        (
            "input",
            f"{images.size[0]} x {images.size[1]} pixels, {images.interpolation}, {images.crop_pct:.3g} of the image",
        ),
        ("mean, deviation", f"{_numbers(images.mean)}; {_numbers(images.std)}"),
        ("parameters", f"{found.parameters:,}"),
        ("weights", found.origin),
    ]
    show_table(found.name, ("", ""), rows)
    return True


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3f}" for value in values)
