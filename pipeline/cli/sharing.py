"""`hamcache cache export` and `hamcache cache import`: features in one file, for people without the images."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import human_bytes, progress_bar, say, show_table

FORMATS = ("archive", "npz", "parquet")


def export(
    catalogue: bundles.Stores,
    stated: bundles.DataTerms,
    workspace: bundles.FullWorkspace,
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
        options.word(
            FORMATS, "archive (for `cache import`), or npz or parquet (one store, for other tools).", "--format"
        ),
    ] = "archive",
    dataset: Annotated[str | None, typer.Option(help="The data set (default: that of the extraction).")] = None,
    column: options.Columns = None,
    force: options.Force = False,
) -> None:
    """Write feature stores, with labels and groups but without images, into one file to share.

    Labels and groups are those of the data set that the stores were extracted from, without --dataset.
    The archive holds every digest it needs to be checked to the last byte, and the same stores give the same bytes.
    Read the other forms with `np.load(FILE)["features"]` (float32 [image, view, dim]; also image_id, label, group, key)
    or `pandas.read_parquet(FILE)` (one row an image and view).
    """
    from hamcache.data.dataset import DatasetWords
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
    from hamcache.cache.survey import Survey

    chosen = chosen_stores(catalogue, stores)
    if form != "archive" and len(chosen) > 1:
        raise typer.BadParameter(f"expected one store for {form}, but these are {len(chosen)}", param_hint="STORE")
    opened = dataset_of(chosen, DatasetWords(dataset or source_of(chosen), options.pairs(column)), workspace)
    table, terms = opened.table, terms_of(opened, stated)
    with progress_bar("exporting", None, "chunks" if form == "archive" else "images") as advance_to:
        if form == "archive":
            export_features(chosen, table, file, terms, advance_to)
            words = f"{len(chosen)} stores, {len(table):,} images"
        else:
            written = write_feature_file(chosen[0], table, file, terms, advance_to)
            words = f"{written.n_images:,} images" + (
                f", {written.n_left_out:,} left out" if written.n_left_out else ""
            )
    say(f"Wrote {file}: {words}, {human_bytes(file.stat().st_size)}.")
    for store in chosen:
        with Survey(store) as survey:
            full = survey.filled()
        if full < 1:
            say(f"{store.folder} is {100 * full:.1f} % full: run its extraction again to fill it.")
    say(f"Licence of the data: {terms.licence or 'not known: state it with --licence'}")


def import_(
    catalogue: bundles.Stores,
    workspace: bundles.FullWorkspace,
    file: Annotated[Path, typer.Argument(help="What `cache export` wrote.", exists=True, dir_okay=False)],
) -> None:
    """Take in an archive of features, after checking all of it; heads can then be trained without the images.

    Stores of a new key are added, stores that are here already get the vectors they lack; nothing here is overwritten.
    """
    from hamcache.pipeline.use.share.feature_archive import import_features

    root = catalogue.root
    with progress_bar("checking", None, "chunks") as advance_to:
        imported = import_features(file, workspace, root, advance_to)
    rows = [
        (store.folder, store.n_vectors, store.n_written, "new" if store.is_new else "was here")
        for store in imported.stores
    ]
    show_table(f"Stores in {root.url}", ("store", "vectors", "written", ""), rows)
    table = imported.table
    say(f"Table of {len(table):,} images, {len(table.classes)} classes: --dataset {imported.dataset}")
    if absent := len(table.missing_files()):
        say(f"{absent:,} images themselves are not here: heads train without them, extraction and nets need them.")
    say(f"Licence of the data: {imported.terms.licence or 'not stated in the archive'}")
    if imported.terms.citation:
        say(f"Cite: {imported.terms.citation}")
    where = []
    if workspace.path != options.WORKSPACE:
        where += ["--workspace", str(workspace)]
    if workspace.features_url:
        where += ["--features-url", workspace.features_url]
    say(" ".join(["Train with:", imported.example, *map(shlex.quote, where)]))
