"""`hamcache data audit`: images that look the same, labels that are likely wrong, images unlike the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hamcache.configs.defaults import POLICIES
from hamcache.pipeline.cli import bundles, options
from hamcache.pipeline.cli.console import progress_bar, say, show_frame, show_table
from hamcache.pipeline.cli.extraction import open_dataset

if TYPE_CHECKING:
    import pandas as pd

    from hamcache.pipeline.inspect.audit.audit import Audit

SHOWN = 12
"""Rows of a table that are printed; the files have them all."""


def audit(
    words: bundles.Words,
    workspace: bundles.FullWorkspace,
    backbones: options.Backbones = None,
    top: Annotated[
        int, typer.Option(min=1, max=10_000, help="Nearest images of other lesions looked at, for each image.")
    ] = 10,
    cosine: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Least cosine of a pair (default: from pairs of one lesion).")
    ] = None,
    candidates: Annotated[
        int | None, typer.Option(min=0, help="Pairs compared at pixels (default: 2 an image, 50,000 at most).")
    ] = None,
    policy: options.Policy = POLICIES[0],
    seed: options.Seed = None,
    workers: options.Workers = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
) -> None:
    """Find images of different lesions that look the same, labels that are likely wrong, and images unlike the rest.

    Works on cached features, of all backbones without --backbones (best: augmentation dihedral with 4 views), and
    compares candidates at their pixels. Writes tables, sheets to look at, and two proposals, exclude.csv and
    merge_groups.csv, for you to edit.
    """
    from hamcache.data.curation import read_curation

    opened = open_dataset(words, workspace)
    curation = read_curation(opened.table, exclude, merge_groups)
    from hamcache.pipeline.inspect.audit.audit import AuditSettings
    from hamcache.pipeline.inspect.audit.audit import audit as make_audit
    from hamcache.pipeline.inspect.audit.audit_files import write_audit

    settings = AuditSettings(
        backbones=tuple(name for name in options.listed(backbones) if name),
        top=top,
        cosine=cosine,
        candidates=candidates,
        policy=policy,
        seed=seed or 0,
        workers=workers,
    )
    found = make_audit(opened, workspace, settings, curation=curation, bar=progress_bar)
    folder = workspace / "audit" / opened.name
    kept = write_audit(found, folder)
    pictures = draw(found, folder)
    show(found, folder, pictures, kept)


def draw(found: Audit, folder: Path) -> list[Path]:
    """Write the sheets of an audit."""
    from hamcache.pipeline.show.plots.audit import plot_labels, plot_outliers, plot_pairs

    paths = dict(zip(found.table.frame["image_id"], found.table.frame["path"], strict=True))
    name = found.table.name
    verdicts = ", ".join(f"{n} {verdict}" for verdict, n in found.pairs["verdict"].value_counts(sort=False).items())
    return [
        *plot_pairs(found.pairs, paths, folder / "pairs.png", f"{name}: pairs of different lesions ({verdicts})"),
        *plot_labels(found.labels, paths, folder / "labels.png", f"{name}: likely label errors, or errors of the head"),
        *plot_outliers(found.outliers, paths, folder / "outliers.png", f"{name}: images least like the others"),
    ]


def show(found: Audit, folder: Path, pictures: list[Path], kept: list[Path]) -> None:
    """Print what was found, how far it can be trusted, and what to do with it."""
    from hamcache.pipeline.inspect.audit.audit_files import EXCLUDE, MERGE_GROUPS

    pairs = found.pairs
    if len(pairs):
        shown = pairs.head(SHOWN)
        parts = (shown["part"] + " | " + shown["other_part"]).where(shown["straddles"], "")
        frame = shown[["image_id", "other"]].assign(
            lesion=shown["group"] + " " + shown["label"],
            other_lesion=shown["other_group"] + " " + shown["other_label"],
            **shown[["score", "cosine", "verdict"]],
            straddles=parts,
            labels_differ=shown["conflict"].map({True: "yes", False: ""}),
        )
        names = {"image_id": "image", "other_lesion": "other lesion", "labels_differ": "labels differ"}
        show_frame(f"Pairs of different lesions: {len(pairs)}", frame.rename(columns=names), _more(pairs, "pairs.csv"))
    if len(found.labels):
        names = {"image_id": "image", "group": "lesion", "label": "label", "p_label": "p(label)"}
        names |= {"suggested": "suggested", "p_suggested": "p(suggested)"}
        show_frame(
            f"Likely label errors: {len(found.labels)}",
            found.labels[list(names)].head(SHOWN).rename(columns=names),
            f"By a logistic regression with an MCC of {found.label_mcc:.3f}: what it does not see it calls an error. "
            + _more(found.labels, "labels.csv"),
        )
    show_table("Found", ("what", "number"), list(found.counts.items()))
    known = found.calibration
    say(
        f"Compared {', '.join(found.sources)}; {found.candidates:,} pairs at their pixels, cosine "
        f"{found.least_cosine:.2f} or more."
    )
    if known.same_pairs:
        say(
            f"Measured on {known.same_pairs} pairs of one lesion: the pixels of {known.same_confirmed:.0%} say so, and "
            f"the search would have come upon {known.same_found:.0%} of these. What is not listed may be there."
        )
    say(f"Of {known.strangers} random pairs of two lesions 99 % score {known.strangers_score:.2f} or less.")
    for note in found.notes:
        say(f"Note: {note}.")
    for path in kept:
        say(f"Your edited proposals were kept as {path}.")
    say(f"Wrote {folder}: {', '.join(path.name for path in pictures)}, pairs.csv, labels.csv, outliers.csv, "
        f"duplicates.csv, summary.json, {EXCLUDE}, {MERGE_GROUPS}.")  # fmt: skip
    say(
        "Look at the sheets, edit the two proposals, and give them to train, zoo, hybrids or data split: "
        f"--exclude {folder / EXCLUDE} --merge-groups {folder / MERGE_GROUPS}"
    )
    say(f"{sum(found.seconds.values()):.0f} s ({', '.join(f'{k} {v:.0f}' for k, v in found.seconds.items())})")


def _more(frame: pd.DataFrame, file: str) -> str:
    return f"The first {SHOWN}; all are in {file}." if len(frame) > SHOWN else ""
