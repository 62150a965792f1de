"""`hamcache cache`: list, inspect, verify, compare and clean feature stores."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import confirm, human_bytes, progress_bar, say, show_table, warn

app = Commands(help="List, inspect, verify, compare, share and clean feature stores.", no_args_is_help=True)
Store = Annotated[str, typer.Argument(help="A store: its folder, or the first digits of its key.", metavar="STORE")]


@app.command()
def ls(
    catalogue: bundles.Stores,
    dataset: Annotated[str | None, typer.Option(help="Only stores of the data set of this name.")] = None,
) -> None:
    """List every store: what it holds, how full it is, its size."""

    from hamcache.cache.errors import CorruptStoreError
    from hamcache.cache.survey import Survey

    rows, total = [], 0
    for store in catalogue.stores(dataset or "*"):
        size = sum(catalogue.root.files(store.folder).values())
        total += size
        try:
            with Survey(store) as survey:
                key, full = store.key, f"{100 * survey.filled():.0f} %"
        except CorruptStoreError as error:
            warn(f"Can't be read: {error}")
            continue
        held = (len(store.image_ids), store.n_views, store.dim, full, human_bytes(size))
        rows.append(
            (key.dataset, key.features_name, key.augmentation_name, key.precision, key.storage, *held, key.short)
        )
    columns = (
        "data set",
        "features",
        "augmentation",
        "precision",
        "storage",
        "images",
        "views",
        "dim",
        "filled",
        "size",
        "key",
    )
    show_table(f"Feature stores in {catalogue.root.url}", columns, rows)
    say(f"{len(rows)} stores, {human_bytes(total)}")
    for folder, reason in catalogue.broken().items():
        warn(f"Can't be read: {folder}: {reason}")


@app.command()
def info(catalogue: bundles.Stores, store: Store) -> None:
    """Show one store's key, provenance and contents as JSON."""
    from hamcache.cache.quarantine import Quarantine
    from hamcache.cache.survey import Survey

    found = catalogue.by_prefix(store)
    with Survey(found) as survey:
        filled = survey.filled()
    about = {
        "folder": found.folder,
        "key": found.key.to_dict(),
        "key_digest": found.key.digest,
        "provenance": found.provenance,
        "images": len(found.image_ids),
        "views": found.n_views,
        "dim": found.dim,
        "chunk_rows": found.chunk_rows,
        "filled": round(filled, 4),
        "bytes": sum(catalogue.root.files(found.folder).values()),
        "quarantined_in_data_set": len(Quarantine(catalogue.root, found.key.dataset)),
    }
    typer.echo(json.dumps(about, indent=2))


@app.command()
def verify(
    catalogue: bundles.Stores, stores: Annotated[list[str] | None, typer.Argument(help="Stores (default: all).")] = None
) -> None:
    """Read every chunk and check it. Exits with 1 when anything is wrong; the same `extract` command mends it."""

    from hamcache.cache.verify import verify_all

    chosen = [catalogue.by_prefix(name) for name in stores] if stores else catalogue.stores()
    rows = [] if stores else [(folder, "", reason) for folder, reason in catalogue.broken().items()]
    with progress_bar("verifying", None, "files") as advance_to:
        rows += [(store.folder, flaw.name, flaw.what) for store, flaw in verify_all(chosen, advance_to)]
    if rows:
        show_table("Wrong", ("store", "file", "what"), rows)
        say("Nothing damaged is ever served. The `hamcache extract` command that made a store mends it.")
        raise typer.Exit(1)
    say(f"{len(chosen)} stores, nothing wrong.")


@app.command()
def migrate(catalogue: bundles.Stores) -> None:
    """Bring the stores of an older version of hamcache to this one's layout, in place; no feature is computed again."""
    from hamcache.cache.errors import CorruptStoreError
    from hamcache.cache.lock import writing
    from hamcache.cache.migrate import migrate as migrated
    from hamcache.cache.migrate import old_stores

    folders = old_stores(catalogue.root)
    for folder in folders:
        with writing(catalogue.root, folder.split("/")[0]), progress_bar(folder, None, "chunks") as advance_to:
            try:
                outcome = migrated(catalogue.root, folder, advance_to)
            except CorruptStoreError as error:
                warn(str(error))
                continue
        lost = f", {outcome.n_damaged} damaged chunks to be extracted again" if outcome.n_damaged else ""
        say(f"{folder}: {outcome.n_vectors:,} vectors{lost}.")
    say(f"{len(folders)} stores of an older version.")


@app.command()
def explain(
    catalogue: bundles.Stores,
    ours: Annotated[str, typer.Argument(help="A store.")],
    theirs: Annotated[str, typer.Argument(help="Another store.")],
) -> None:
    """Say which fields make two stores' keys differ."""
    from hamcache.cache.keys import explain as differing

    left, right = catalogue.by_prefix(ours), catalogue.by_prefix(theirs)
    fields = differing(left.key, right.key)
    if not fields:
        say("The keys are equal: both names mean the same store.")
        return
    show_table(f"{left.folder} against {right.folder}", ("field", left.key.short, right.key.short),
               [(field, str(a), str(b)) for field, a, b in fields])  # fmt: skip


@app.command()
def rm(
    catalogue: bundles.Stores,
    stores: Annotated[list[str], typer.Argument(help="Stores: folders, or the first digits of keys.")],
    yes: options.Yes = False,
) -> None:
    """Remove stores, after asking."""

    folders = [name if name in catalogue.folders() else catalogue.by_prefix(name).folder for name in stores]
    for folder in folders:
        say(f"{folder}  {human_bytes(sum(catalogue.root.files(folder).values()))}")
    confirm(f"Remove {len(folders)} stores?", yes)
    from hamcache.cache.lock import writing

    for folder in folders:
        with writing(catalogue.root, folder.split("/")[0]):
            catalogue.remove(folder)
    say(f"Removed {len(folders)} stores.")


@app.command()
def gc(
    catalogue: bundles.Stores,
    workspace: bundles.FullWorkspace,
    yes: options.Yes = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also decoded images and checkpoints, which only save time.")
    ] = False,
) -> None:
    """Sweep up what killed processes left behind: partial files, unfinished stores and runs, orphaned chunks."""
    from contextlib import ExitStack

    from hamcache.cache.lock import writing
    from hamcache.pipeline.runs.housekeeping import remove_leftover, workspace_leftovers

    with ExitStack() as locks:
        for dataset in catalogue.datasets():
            locks.enter_context(writing(catalogue.root, dataset))  # a partial file may be somebody's work under way
        in_stores, beside = catalogue.leftovers(), workspace_leftovers(workspace, everything=everything)
        found = [*in_stores, *beside]
        if not found:
            say("Nothing to free.")
            return
        show_table("Would free", ("path", "bytes", "why"), [(x.path, x.bytes, x.why) for x in found])
        total = human_bytes(sum(x.bytes for x in found))
        confirm(f"Free {total} in {len(found)} places?", yes)
        for leftover in in_stores:
            catalogue.root.remove(leftover.path)
        for leftover in beside:
            remove_leftover(workspace, leftover)
        say(f"Freed {total}.")
