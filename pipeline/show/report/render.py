"""The page from its templates: styles and scripts are put into it, everything from data is escaped.

The page forbids itself, by a content security policy, to load anything and to run any script but its own, which the
policy knows by their digests. So even markup that slipped through the escaping could not act.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hamcache.heads.metrics import METRICS
from hamcache.pipeline.evaluate import DISCLAIMER
from hamcache.pipeline.show.plots.style import COLOURS
from hamcache.pipeline.show.report import markup
from hamcache.pipeline.show.report.board import Board, Cohort, label
from hamcache.pipeline.show.report.charts import Scale, linear
from hamcache.pipeline.show.report.datasets import images_per_group

if TYPE_CHECKING:
    from hamcache.pipeline.show.report.contributions import Contribution

SCRIPTS = ("tables.js", "panels.js", "gallery.js")
BOUNDED = ("brier", "ece", *(name for name, metric in METRICS.items() if metric.higher_is_better))


def render(**content: Any) -> str:
    """The whole page.

    Args:
        content: What `show.report.build` has gathered.
    """
    board: Board = content["board"]
    scripts = [Markup(_file(name)) for name in SCRIPTS]
    return (
        _environment()
        .get_template("page.html")
        .render(
            **content,
            css=Markup(_file("page.css")),
            scripts=scripts,
            policy=content_policy(scripts),
            colours=COLOURS,
            version=metadata.version("hamcache"),
            disclaimer=DISCLAIMER,
            n_runs=f"{len(board.rows):,} {'run' if len(board.rows) == 1 else 'runs'}",
            heads=sorted({str(row.about["head"]) for row in board.rows}),
            feature_sets=sorted({str(row.about["features"]) for row in board.rows}, key=lambda one: (len(one), one)),
            datasets=list(dict.fromkeys(cohort.dataset for cohort in board.cohorts)),
            data_names=_listed(list(dict.fromkeys(cohort.dataset for cohort in board.cohorts))),
            facts=facts(board),
            contents=_contents(content),
            scale=_score_scale(board),
            ruler=_ruler(board),
            adds_scale=_adds_scale(content["contributions"]),
            ties=sum(row.p is not None and row.p >= 0.05 for row in board.in_cohort(board.cohorts[0])),
            example=_examples(content),
        )
    )


def facts(board: Board) -> list[tuple[int, int, int, str, int]]:
    """Images, lesions, classes, what they are of, and runs: a line for each cohort, or for those alike but in seed."""
    alike: dict[tuple[str, str, int, int, int], list[Cohort]] = {}
    for one in board.cohorts:
        alike.setdefault((one.dataset, one.policy, one.images, one.lesions, len(one.classes)), []).append(one)
    lines = []
    for (dataset, policy, images, lesions, classes), some in alike.items():
        seeds = sorted({one.seed for one in some})
        words = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
        lines.append((images, lesions, classes, f"{dataset}, {policy}, {words}", sum(one.runs for one in some)))
    return lines


def content_policy(scripts: Sequence[str]) -> str:
    """What the page may do: show pictures that are in it, and run these scripts."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def blocks(features: object) -> Markup:
    """`A:flip x2+B:flip x2` as `A+B`, with places where a line may break, and in a line of its own `flip x2`."""
    pairs = [_without_views(block) for block in str(features).split("+")]
    shared = len({views for _, views in pairs}) == 1
    names = [name if shared or not views else f"{name}:{views}" for name, views in pairs]
    parts = []
    for number, name in enumerate(names, start=1):
        backbone, colon, rest = f"{name}{'+' if number < len(names) else ''}".partition(":")
        parts.append(markup.tag("span", backbone, colon, Markup("<wbr>") if colon else None, rest))
    views = pairs[0][1].replace(" ", "\u00a0") if shared else ""
    last = markup.tag("span", views, class_="views") if views else None
    return markup.tag("span", Markup("<wbr>").join(parts), " " if last else None, last, class_="blocks")


def _without_views(block: str) -> tuple[str, str]:
    """`A:stages:flip x2` as `A:stages` and `flip x2`."""
    name, _, views = block.rpartition(":")
    return (name, views) if name and re.fullmatch(r"\S+ x\d+", views) else (block, "")


def run_id(name: str) -> Markup:
    """A run's id on two lines: what it is, and when and with which configuration it was made."""
    found = re.fullmatch(r"(.+)-(\d{8}-\d{6}-.+)", name)
    parts = found.groups() if found else (name,)
    looks = ("run-id", "run-id tail")
    return Markup("").join(markup.tag("span", part, class_=look) for part, look in zip(parts, looks, strict=False))


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hamcache.pipeline.show.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "score": markup.score,
        "signed": markup.signed,
        "seconds": markup.seconds,
        "p": markup.p_value,
        "percent": markup.percent,
        "short": markup.short_number,
        "label": label,
        "blocks": blocks,
        "run_id": run_id,
        "images_per_group": images_per_group,
    }
    return environment


def _file(name: str) -> str:
    return resources.files("hamcache.pipeline.show.report").joinpath(name).read_text(encoding="utf-8")


def _contents(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and name of each section that is there."""
    sections = [
        ("leaderboard", "Leaderboard", True),
        ("hybrids", "Hybrids", content["contributions"]),
        ("cost", "Cost", content["costs"]),
        ("sweeps", "Sweeps", content["sweeps"]),
        ("grids", "Grids", content["grids"]),
        ("gallery", "Mistakes", content["gallery"]),
        ("data", "Data", True),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, name) for anchor, name, there in sections if there]


def _score_scale(board: Board) -> Scale:
    """What all intervals of the leaderboard are drawn on."""
    return linear([end for row in board.rows for end in (row.low, row.high, row.value)])


def _ruler(board: Board) -> Scale:
    """From nothing to everything that the metric can be, as far as it has an end."""
    cohort = board.cohorts[0]
    name, chance = board.metric.name, cohort.chance.get(board.metric.name, np.nan)
    values = [value for value in (cohort.best.low, cohort.best.high, cohort.best.value, chance) if np.isfinite(value)]
    low = min(0.0, *values)
    high = 1.0 if board.metric.higher_is_better else float(f"{1.1 * max(values):.2g}") or 1.0
    return Scale(low if low == 0 else linear([low, 0]).low, high, (), log=False) if name else linear(values)


def _adds_scale(contributions: Sequence[Contribution]) -> Scale:
    ends = [end for one in contributions for name in ("low", "high", "adds") for end in one.adds[name]]
    return linear([0.0, *ends])


def _examples(content: dict[str, Any]) -> str:
    details, detailed = content["details"], content["detailed"]
    return "\n".join(details[row.run.id].command for row in detailed[:3])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
