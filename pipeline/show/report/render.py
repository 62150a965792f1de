"""The page from its templates: styles and scripts are put into it, everything from data is escaped.

The page forbids itself, by a content security policy, to load anything and to run any script but its own, which the
policy knows by their digests. So even markup that slipped through the escaping could not act.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from hamcache.pipeline.show.report.board import Board, Cohort
from hamcache.pipeline.show.report.charts import Scale, linear
from hamcache.pipeline.show.report.datasets import images_per_group
from hamcache.pipeline.show.web.skin import style, templates, text_of

if TYPE_CHECKING:
    from hamcache.pipeline.show.report.contributions import Contribution

REPORT = "hamcache.pipeline.show.report"
SCRIPTS = ("tables.js", "panels.js", "gallery.js", "map.js")


def render(**content: Any) -> str:
    """The whole page.

    Args:
        content: What `show.report.build` has gathered.
    """
    board: Board = content["board"]
    scripts = [Markup(text_of("shared.js")), *(Markup(text_of(name, REPORT)) for name in SCRIPTS)]
    return (
        templates(REPORT)
        .get_template("page.html")
        .render(
            **content,
            css=Markup(style()),
            scripts=scripts,
            policy=content_policy(scripts),
            version=metadata.version("hamcache"),
            images_per_group=images_per_group,
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


def render_map(entry: Mapping[str, Any], title: str, made: str) -> str:
    """A page with one map (see `show.report.maps.map_entry`)."""
    scripts = [Markup(text_of("shared.js")), Markup(text_of("map.js", REPORT))]
    return (
        templates(REPORT)
        .get_template("map_page.html")
        .render(
            maps={"maps": [entry], "notes": []},
            title=title,
            made=made,
            thumbnails=bool(entry["pages"]),
            css=Markup(style()),
            scripts=scripts,
            policy=content_policy(scripts),
            version=metadata.version("hamcache"),
        )
    )


def facts(board: Board) -> list[tuple[int, int, int, str, int]]:
    """Images, lesions, classes, what they are of, and runs: a line for each cohort, or for those alike but in seed."""
    alike: dict[tuple[str, str, int, int, int], list[Cohort]] = {}
    for one in board.cohorts:
        alike.setdefault((one.dataset, one.policy, one.images, one.lesions, len(one.classes)), []).append(one)
    lines = []
    for (dataset, policy, images, lesions, classes), cohorts in alike.items():
        seeds = sorted({cohort.seed for cohort in cohorts})
        words = f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        lines.append(
            (images, lesions, classes, f"{dataset}, {policy}, {words}", sum(cohort.runs for cohort in cohorts))
        )
    return lines


def content_policy(scripts: Sequence[str]) -> str:
    """The page's permissions: show pictures that are in it, and run these scripts."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def _contents(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Anchor and name of each section that is there."""
    sections = [
        ("leaderboard", "Leaderboard", True),
        ("hybrids", "Hybrids", content["contributions"]),
        ("cost", "Cost", content["costs"]),
        ("sweeps", "Sweeps", content["sweeps"]),
        ("grids", "Grids", content["grids"]),
        ("subgroups", "Subgroups", content["subgroups"]),
        ("evaluations", "Other data", content["evaluations"]),
        ("gallery", "Mistakes", content["gallery"]),
        ("map", "Map", content["maps"]),
        ("data", "Data", True),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, name) for anchor, name, there in sections if there]


def _score_scale(board: Board) -> Scale:
    """The scale of all intervals of the leaderboard."""
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
    return "\n".join(content["views"][row.run.id].command for row in content["detailed"][:3])


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
