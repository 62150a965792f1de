"""`hamcache cache export` and `hamcache cache import`: features in one file, for people without the images."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from hamcache.pipeline.cli import options

FORMATS = ("archive", "npz", "parquet")


def export(
    stores: Annotated[
        list[str],
        typer.Argument(
            help="Stores: folders, or the first digits of keys; DATA_SET or DATA_SET/BACKBONE for all of it.",
            metavar="STORE",
        ),
    ],
    file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            callback=options.one_of(*FORMATS),
            help="archive (for `cache import`), or npz or parquet (one store, for other tools).",
        ),
    ] = "archive",
    dataset: options.Dataset = None,
    licence: options.Licence = None,
    citation: options.Citation = None,
    force: options.Force = False,
    column: options.Columns = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Write feature stores, with labels and groups but without images, into one file to share.

    Labels and groups are those of the data set that the stores were extracted from, without --dataset.
    The archive holds every digest it needs to be checked to the last byte, and the same stores give the same bytes.
    Read the other forms with `np.load(FILE)["features"]` (float32 [image, view, dim]; also image_id, label, group, key)
    or `pandas.read_parquet(FILE)` (one row an image and view).
    """
    place = options.place(workspace, features_url)
    from hamcache.data.dataset import DatasetWords
    from hamcache.data.readers.imported import Terms
    from hamcache.pipeline.cli.console import console, human_bytes, progress_bar
    from hamcache.pipeline.use.share.feature_archive import (
        chosen_stores,
        dataset_of,
        export_features,
        source_of,
        terms_of,
    )
    from hamcache.pipeline.use.share.feature_files import write_feature_file

    if form != "archive" and file.suffix != f".{form}":
        raise typer.BadParameter(f"expected a file named *.{form}, got {str(file)!r}", param_hint="FILE")
    if file.exists() and not force:
        raise typer.BadParameter(f"{file} is there already: choose another name, or say --force", param_hint="FILE")
    chosen = chosen_stores(options.catalogue(place), stores)
    if form != "archive" and len(chosen) > 1:
        raise typer.BadParameter(f"expected one store for {form}, but these are {len(chosen)}", param_hint="STORE")
    opened = dataset_of(chosen, DatasetWords(dataset or source_of(chosen), options.pairs(column)), place)
    table, terms = opened.table, terms_of(opened, Terms(licence or "", citation or ""))
    with progress_bar("exporting", None, "chunks" if form == "archive" else "images") as advance_to:
        if form == "archive":
            export_features(chosen, table, file, terms, advance_to)
            words = f"{len(chosen)} stores, {len(table):,} images"
        else:
            written = write_feature_file(chosen[0], table, file, terms, advance_to)
            words = f"{written.n_images:,} images" + (
                f", {written.n_left_out:,} left out" if written.n_left_out else ""
            )
    console.print(f"Wrote {file}: {words}, {human_bytes(file.stat().st_size)}.", highlight=False)
    for store in chosen:
        if (full := store.filled()) < 1:
            console.print(f"{store.folder} is {100 * full:.1f} % full: run its extraction again to fill it.")
    console.print(f"Licence of the data: {terms.licence or 'not known: state it with --licence'}", highlight=False)


def import_(
    file: Annotated[Path, typer.Argument(help="What `cache export` wrote.", exists=True, dir_okay=False)],
    workspace: options.WorkspacePath = options.WORKSPACE,
    features_url: options.FeaturesUrl = None,
) -> None:
    """Take in an archive of features, after checking all of it; heads can then be trained without the images.

    Stores of a new key are added, stores that are here already get the vectors they lack; nothing here is overwritten.
    """
    place = options.place(workspace, features_url)
    from hamcache.pipeline.cli.console import console, progress_bar, show_table
    from hamcache.pipeline.use.share.feature_archive import import_features

    root = options.catalogue(place).root
    with progress_bar("checking", None, "chunks") as advance_to:
        imported = import_features(file, place, root, advance_to)
    rows = [
        (store.folder, store.n_vectors, store.n_written, "new" if store.is_new else "was here")
        for store in imported.stores
    ]
    show_table(f"Stores in {root.url}", ("store", "vectors", "written", ""), rows)
    table = imported.table
    say = partial(console.print, highlight=False, soft_wrap=True)
    say(f"Table of {len(table):,} images, {len(table.classes)} classes: --dataset {imported.dataset}")
    if absent := len(table.missing_files()):
        say(f"{absent:,} images themselves are not here: heads train without them, extraction and nets need them.")
    say(f"Licence of the data: {imported.terms.licence or 'not stated in the archive'}")
    if imported.terms.citation:
        say(f"Cite: {imported.terms.citation}")
    where = []
    if place.path != options.WORKSPACE:
        where += ["--workspace", str(place)]
    if place.features_url:
        where += ["--features-url", place.features_url]
    say(" ".join(["Train with:", imported.example, *map(shlex.quote, where)]))
