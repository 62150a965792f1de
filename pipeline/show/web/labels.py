"""Names as people read them: of scores, classes, features and runs."""

import re

from markupsafe import Markup

from hamcache.pipeline.show.web.markup import tag

HEADLINE = ("mcc", "weighted_f1", "balanced_accuracy", "accuracy")
"""Scores that lists show."""
LABELS = {"mcc": "MCC", "nll": "NLL", "ece": "ECE", "auc": "AUC", "f1": "F1", "macro_auc": "macro AUC"}
LABELS |= {"weighted_f1": "weighted F1", "macro_f1": "macro F1", "brier": "Brier score"}


def label(metric: str) -> str:
    """A metric's name as people write it.

    >>> label("balanced_accuracy"), label("sensitivity_mel")
    ('balanced accuracy', 'sensitivity mel')
    """
    words, at, threshold = metric.replace("_", " ").partition(" at ")
    return LABELS.get(metric, f"{words} at {threshold} %" if at else words)


def blocks(features: object) -> Markup:
    """`A:flip x2+B:flip x2` as `A+B`, with places where a line may break, and in a line of its own `flip x2`."""
    pairs = [_without_views(block) for block in str(features).split("+")]
    shared = len({views for _, views in pairs}) == 1
    names = [name if shared or not views else f"{name}:{views}" for name, views in pairs]
    parts = []
    for number, name in enumerate(names, start=1):
        backbone, colon, rest = f"{name}{'+' if number < len(names) else ''}".partition(":")
        parts.append(tag("span", backbone, colon, Markup("<wbr>") if colon else None, rest))
    views = pairs[0][1].replace(" ", "\u00a0") if shared else ""
    last = tag("span", views, class_="views") if views else None
    return tag("span", Markup("<wbr>").join(parts), " " if last else None, last, class_="blocks")


def _without_views(block: str) -> tuple[str, str]:
    """`A:stages:flip x2` as `A:stages` and `flip x2`."""
    name, _, views = block.rpartition(":")
    return (name, views) if name and re.fullmatch(r"\S+ x\d+", views) else (block, "")


def run_id(name: str) -> Markup:
    """A run's id on two lines: head and features, and when and with which configuration it was made."""
    found = re.fullmatch(r"(.+)-(\d{8}-\d{6}-.+)", name)
    parts = found.groups() if found else (name,)
    looks = ("run-id", "run-id tail")
    return Markup("").join(tag("span", part, class_=look) for part, look in zip(parts, looks, strict=False))
