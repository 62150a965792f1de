"""`hamcache data`: look at a data set, split it, take a part of it, draw a synthetic one (`audit.py` has the audit)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hamcache.configs.defaults import PARTS, POLICIES
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.bundles import Commands
from hamcache.pipeline.cli.console import ConsoleReport, progress_bar, say, show_table
from hamcache.pipeline.cli.extraction import open_dataset

app = Commands(
    help="Look at a data set, audit it, split it, take a part of it, draw a synthetic one.", no_args_is_help=True
)


@app.command()
def summary(
    words: bundles.Words,
    workspace: bundles.PlainWorkspace,
    as_json: options.AsJson = False,
) -> None:
    """Sizes, class distribution for all images and for one image per lesion, images per lesion, missing files."""
    from hamcache.data.summary import summarise

    opened = open_dataset(words, workspace)
    found = summarise(opened.table, opened.digests)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    say(
        f"{found.name}: {found.images:,} images -> {found.groups:,} lesions (groups), "
        f"fingerprint {found.fingerprint[:12]}"
    )
    show_table(
        "Classes",
        ("class", "images", "% of images", "lesions", "% of lesions"),
        [(c.label, c.images, f"{c.images_percent:.1f}", c.groups, f"{c.groups_percent:.1f}") for c in found.classes],
        caption="'% of lesions' is the distribution when one image of each lesion is kept.",
    )
    per_group = ", ".join(f"{n}: {count:,}" for n, count in found.images_per_group.items())
    say(f"Images per lesion (images: lesions): {per_group}")
    say(f"Missing files: {len(found.missing_files):,}{_some(found.missing_files)}")
    say(f"Lesions with several labels: {len(found.mixed_groups):,}{_some(found.mixed_groups)}")
    if found.twins is not None:
        say(f"Identical files in different lesions: {len(found.twins):,}{_some(['='.join(t) for t in found.twins])}")


@app.command()
def split(
    words: bundles.Words,
    workspace: bundles.PlainWorkspace,
    policy: options.Policy = POLICIES[0],
    seed: options.Seed = None,
    test_fraction: Annotated[float, typer.Option(help="Share of the whole.")] = 0.2,
    validation_fraction: Annotated[float, typer.Option(help="Share of the whole.")] = 0.2,
    train_images: Annotated[str, typer.Option(help="one, or all images of the train lesions.")] = "one",
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    out: Annotated[Path, options.out("The CSV to write.")] = Path("split.csv"),
) -> None:
    """Make a split, check it for leaks, and save it as a CSV."""
    from hamcache.data.curation import read_curation
    from hamcache.data.splits import make_split

    table = open_dataset(words, workspace).table
    made = make_split(
        table,
        policy,
        seed=seed or 0,
        test_fraction=test_fraction,
        validation_fraction=validation_fraction,
        train_images=train_images,
        curation=read_curation(table, exclude, merge_groups),
    )
    made.save(out)
    counts = (
        made.frame.groupby(["label", "part"]).size().unstack(fill_value=0).reindex(columns=list(PARTS), fill_value=0)
    )
    rows = [(label, *map(int, counts.loc[label])) for label in table.classes if label in counts.index]
    rows.append(("all", *(int(counts[part].sum()) for part in PARTS)))
    show_table(f"{policy}, seed {seed or 0}", ("class", *PARTS), rows)
    say(f"No lesion is in two parts. Wrote {out}, fingerprint {made.fingerprint[:12]}.")


@app.command()
def synthesize(
    workspace: bundles.PlainWorkspace,
    folder: Annotated[Path | None, typer.Argument(help="Where to (default: WORKSPACE/datasets/synthetic).")] = None,
    lesions: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="How many lesions; some get several photographs.")
    ] = 400,
    seed: options.Seed = None,
    difficulty: Annotated[float, typer.Option(min=0, max=1, help="0: classes differ plainly; 1: hardly.")] = 0.5,
    width: Annotated[int, typer.Option(min=32, max=20_000, help="Pixels.")] = 600,
    height: Annotated[int, typer.Option(min=32, max=20_000, help="Pixels.")] = 450,
) -> None:
    """Draw a HAM10000-shaped data set of synthetic dermatoscopic lesions."""
    from hamcache.data.synthetic.collection import synthesize as draw

    folder = folder or workspace.datasets / "synthetic"
    with progress_bar("drawing", None, "images") as advance_to:
        draw(folder, lesions=lesions, seed=seed or 0, difficulty=difficulty, size=(width, height), progress=advance_to)
    say(f"Wrote {folder}. Look at it with `hamcache data summary --dataset {folder}`.")


@app.command()
def subset(
    words: bundles.Words,
    workspace: bundles.PlainWorkspace,
    images: Annotated[int, typer.Option(min=1, help="How many images.")] = 2000,
    seed: options.Seed = None,
    out: Annotated[Path, options.out("The CSV to write; its name becomes the data set's.")] = Path("subset.csv"),
) -> None:
    """Take fewer images in the same mix of classes, whole lesions only, as a CSV that every --dataset takes."""
    from hamcache.data.subset import stratified_subset, write_csv

    table = open_dataset(words, workspace).table
    smaller = stratified_subset(table, images, seed or 0)
    write_csv(smaller, out)
    counts, of = (one.frame["label"].value_counts() for one in (smaller, table))
    rows = [
        (label, int(counts.get(label, 0)), f"{100 * counts.get(label, 0) / len(smaller):.1f}",
         int(of.get(label, 0)), f"{100 * of.get(label, 0) / len(table):.1f}")
        for label in table.classes
    ]  # fmt: skip
    show_table(f"{len(smaller):,} of {len(table):,} images", ("class", "images", "%", "of", "%"), rows)
    say(f"{smaller.frame['group'].nunique():,} whole lesions. Wrote {out}: `hamcache data summary --dataset {out}`.")


def _some(names: list[str] | tuple[str, ...], most: int = 5) -> str:
    if not names:
        return ""
    return f" ({', '.join(names[:most])}{', ...' if len(names) > most else ''})"


def download(
    workspace: bundles.PlainWorkspace,
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="Further files of --source.")] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="kaggle|dataverse|FILE",
            help="kaggle (default; free account), dataverse (no account), or archives on disk: the zip from Kaggle, or "
            "both zips of images and the metadata's CSV. Files can be several.",
        ),
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to (default: WORKSPACE/datasets/ham10000).")] = None,
    keep_archive: Annotated[bool, typer.Option(help="Keep what was downloaded, beside the images.")] = False,
    images: Annotated[int, typer.Option(min=1, help="How many images to expect: fewer for an excerpt.")] = 10_015,
) -> None:
    """Get HAM10000, and check that it is whole. The same command goes on with a download that was broken off."""
    from hamcache.data.fetch.download import download_ham10000
    from hamcache.data.ham10000 import CITATION, LICENCE, NAME

    where = _source([*(source or []), *map(str, more or [])])
    target = folder or workspace.datasets / NAME
    table = download_ham10000(target, where, images=images, keep_archives=keep_archive, report=ConsoleReport())
    say(f"{len(table):,} images of {table.frame['group'].nunique():,} lesions in {target}")
    say(f"Cite: {CITATION}\nLicence: {LICENCE}")
    dataset = NAME if target == options.WORKSPACE / "datasets" / NAME else target
    say(f"Next: `hamcache data summary --dataset {dataset}`, `hamcache extract --dataset {dataset}`")


def _source(given: list[str]) -> str | list[Path]:
    """The value of `--source`: a workspace by its name, or files."""
    from hamcache.data.fetch.download import SOURCES
    from hamcache.data.nearest import unknown_name

    hint = "--source"
    if not given:
        return SOURCES[0]
    if len(given) == 1 and given[0] in SOURCES:
        return given[0]
    if named := sorted(set(given) & set(SOURCES)):
        raise typer.BadParameter(f"expected {named[0]} alone, or files, got {', '.join(given)}", param_hint=hint)
    if len(given) == 1 and not Path(given[0]).exists() and not Path(given[0]).suffix:
        raise typer.BadParameter(f"{unknown_name('source', given[0], SOURCES)}, or a file", param_hint=hint)
    return [Path(path) for path in given]
