"""Tables of an audit's findings, and proposals of what to do about them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hamcache.data.curation import NOTHING, Curation, merge
from hamcache.data.digests import MISSING
from hamcache.data.splits import Split
from hamcache.data.table import ImageTable
from hamcache.pipeline.inspect.audit.duplicate_search import Candidates
from hamcache.pipeline.inspect.audit.duplicate_verdicts import CONFIRMED, VERDICTS, verdicts
from hamcache.pipeline.inspect.audit.label_errors import LabelErrors
from hamcache.pipeline.inspect.audit.pixel_alignment import Alignment

UNLIKE = -3.5
"""Modified z-score below which an image counts as unlike the rest (Iglewicz and Hoaglin, How to Detect and Handle
Outliers, 1993)."""
GIVEN = "as given"
"""The reason of what was excluded or merged before the audit."""
_DIGITS = 4


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as dicts by column."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def pairs_table(
    frame: pd.DataFrame,
    candidates: Candidates,
    alignment: Alignment,
    split: Split | None,
    least: Mapping[str, float] = VERDICTS,
) -> pd.DataFrame:
    """The candidates that got a verdict, the surest first.

    Columns: `image_id, other, group, other_group, label, other_label, cosine, margin, score, verdict, overlap,
    mirrored, angle, scale, part, other_part, straddles, conflict`. Parts are those of the two groups in
    `split`, "" for none. `least` has the least score of each verdict.
    """
    verdict = verdicts(alignment.score, least)
    chosen = np.flatnonzero(verdict != "")
    chosen = chosen[np.argsort(-alignment.score[chosen], kind="stable")]
    part_of = {} if split is None else dict(zip(split.frame["group"], split.frame["part"], strict=True))
    sides = [frame.iloc[candidates.pairs[chosen, side]].reset_index(drop=True) for side in (0, 1)]
    parts = [[part_of.get(group, "") for group in side["group"]] for side in sides]
    table = pd.DataFrame(
        {
            "image_id": sides[0]["image_id"],
            "other": sides[1]["image_id"],
            "group": sides[0]["group"],
            "other_group": sides[1]["group"],
            "label": sides[0]["label"],
            "other_label": sides[1]["label"],
            "cosine": candidates.cosine[chosen].astype(float).round(_DIGITS),
            "margin": candidates.margin[chosen].astype(float).round(_DIGITS),
            "score": alignment.score[chosen].astype(float).round(_DIGITS),
            "verdict": verdict[chosen].astype(str),
            "overlap": alignment.overlap[chosen].astype(float).round(2),
            "mirrored": alignment.mirrored[chosen],
            "angle": alignment.angle[chosen].astype(float).round(0) + 0.0,  # no negative zero
            "scale": alignment.scale[chosen].astype(float).round(2),
            "part": parts[0],
            "other_part": parts[1],
        }
    )
    return table.assign(
        straddles=(table["part"] != table["other_part"]) & (table["part"] != "") & (table["other_part"] != ""),
        conflict=table["label"] != table["other_label"],
    )


def duplicates_table(frame: pd.DataFrame, digests: Mapping[str, str]) -> pd.DataFrame:
    """Images whose files have the same bytes.

    Columns: `digest, image_id, group, label, across_groups, conflict`, rows of one digest together.
    """
    rows = frame[["image_id", "group", "label"]].assign(digest=[digests.get(i, MISSING) for i in frame["image_id"]])
    rows = rows[(rows["digest"] != MISSING) & rows["digest"].duplicated(keep=False)]
    of_file = rows.groupby("digest")
    rows = rows.assign(
        across_groups=of_file["group"].transform("nunique") > 1, conflict=of_file["label"].transform("nunique") > 1
    )
    columns = ["digest", "image_id", "group", "label", "across_groups", "conflict"]
    return rows[columns].sort_values(["digest", "image_id"], ignore_index=True)


def labels_table(frame: pd.DataFrame, errors: LabelErrors, classes: Sequence[str]) -> pd.DataFrame:
    """Likely label errors, the surest first: `image_id, group, label, suggested, p_label, p_suggested, margin`."""
    table = frame.iloc[errors.rows][["image_id", "group", "label"]].reset_index(drop=True)
    return table.assign(
        suggested=[classes[code] for code in errors.suggested],
        p_label=errors.given_probability.round(_DIGITS),
        p_suggested=errors.suggested_probability.round(_DIGITS),
        margin=(errors.given_probability - errors.suggested_probability).round(_DIGITS),
    )


def outliers_table(frame: pd.DataFrame, level: np.ndarray, most: int) -> pd.DataFrame:
    """The `most` images least like those of other groups: `image_id, group, label, similarity, z, unlike`.

    Args:
        frame: The images.
        level: float `[n]`: mean cosine of each image's nearest neighbours of other groups.
        most: How many.
    """
    middle = np.median(level)
    spread = 1.4826 * np.median(np.abs(level - middle))
    z = (level - middle) / spread if spread > 0 else np.zeros(len(level))
    order = np.argsort(level, kind="stable")[:most]
    table = frame.iloc[order][["image_id", "group", "label"]].reset_index(drop=True)
    similarity, scores = (values[order].astype(float).round(_DIGITS) for values in (level, z))
    return table.assign(similarity=similarity, z=scores, unlike=scores < UNLIKE)


def propose_merges(
    table: ImageTable, pairs: pd.DataFrame, duplicates: pd.DataFrame, given: Curation = NOTHING
) -> pd.DataFrame:
    """Groups that look like one: `group, into, reason`, after those that are merged already.

    The group of fewer images goes into the other.
    """
    sizes = table.frame["group"].value_counts()
    rows: list[tuple[str, str, str]] = []
    for pair in records(pairs[pairs["verdict"].isin(CONFIRMED)]):
        reason = f"{pair['image_id']} and {pair['other']}: {pair['verdict']} ({pair['score']:.2f})"
        rows.append((pair["group"], pair["other_group"], reason))
    for _, same in duplicates[duplicates["across_groups"]].groupby("digest"):
        first, *others = records(same)
        for other in others:
            rows.append((first["group"], other["group"], f"{first['image_id']} and {other['image_id']}: same bytes"))
    merges = dict.fromkeys(given.merged.items(), GIVEN)
    for a, b, reason in rows:
        into, group = sorted((a, b), key=lambda name: (-sizes[name], name))
        if group != into:
            merges.setdefault((group, into), reason)
    return pd.DataFrame([(*groups, reason) for groups, reason in merges.items()], columns=["group", "into", "reason"])


def propose_exclusions(
    table: ImageTable, pairs: pd.DataFrame, duplicates: pd.DataFrame, given: Curation = NOTHING
) -> pd.DataFrame:
    """Images to leave out: `image_id, reason`, with those that are left out already.

    Of files with the same bytes all but the first; where labels contradict each other, all images of both groups,
    because nothing says which label is right. Likely label errors and images unlike the rest are not proposed: they are
    hard cases more often than wrong ones, and a score without the hard cases is too good.
    """
    reasons = {image_id: reason or GIVEN for image_id, reason in given.excluded.items()}
    for _, same in duplicates.groupby("digest"):
        ids = [str(image_id) for image_id in same["image_id"]]
        conflict = bool(same["conflict"].iloc[0])
        for number, image_id in enumerate(ids):
            if conflict or number > 0:
                other = ids[0] if number else ids[1]
                reasons.setdefault(image_id, f"same bytes as {other}{', which has another label' if conflict else ''}")
    for pair in records(pairs[pairs["verdict"].isin(CONFIRMED) & pairs["conflict"]]):
        for group, label, other, other_label in (
            (pair["group"], pair["label"], pair["other"], pair["other_label"]),
            (pair["other_group"], pair["other_label"], pair["image_id"], pair["label"]),
        ):
            for image_id in table.frame["image_id"][table.frame["group"] == group]:
                reasons.setdefault(str(image_id), f"{label}, but {other} ({pair['verdict']}) is {other_label}")
    return pd.DataFrame(sorted(reasons.items()), columns=["image_id", "reason"])


def merged_groups(table: ImageTable, merges: pd.DataFrame) -> np.ndarray:
    """Codes of the groups after the proposed merges, int64 `[n]`, in the order of the table."""
    names = merge(zip(merges["group"], merges["into"], strict=True))
    return pd.factorize(table.frame["group"].map(lambda group: names.get(group, group)))[0].astype(np.int64)
