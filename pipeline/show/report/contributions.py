"""The contribution of each backbone to the hybrids among the runs, where the runs without it are here too."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from hamcache.pipeline.config.features_config import BlockConfig
from hamcache.pipeline.evaluate.intervals import RESAMPLES
from hamcache.pipeline.show.report.board import Board, Row
from hamcache.pipeline.studies.hybrids import what_each_adds


@dataclass(frozen=True, eq=False)
class Contribution:
    """A hybrid and what its backbones add.

    Attributes:
        row: The full hybrid.
        adds: See `studies.hybrids.what_each_adds`.
        without: Backbone -> the run without it.
    """

    row: Row
    adds: pd.DataFrame
    without: dict[str, Row]


def contributions(board: Board, resamples: int = RESAMPLES) -> list[Contribution]:
    """The hybrids that can be taken apart, best first.

    That is, those where another run has the same configuration but for one block, which it lacks. A hybrid that is
    such a part of a larger one is not listed by itself.
    """
    families: dict[tuple[int, str], dict[frozenset[BlockConfig], Row]] = {}
    for row in reversed(board.rows):  # of several runs of one experiment the first of the board stays
        if row.run.config.net is None:
            blocks = frozenset(row.run.config.features.blocks)
            families.setdefault((row.cohort, _all_but_blocks(row)), {})[blocks] = row
    found = []
    for family in families.values():
        taken_apart = [blocks for blocks in family if any(blocks - {one} in family for one in blocks)]
        found += [
            _contribution(board, family, family[blocks], resamples)
            for blocks in taken_apart
            if not any(blocks < other for other in taken_apart)
        ]
    return sorted(found, key=lambda one: board.rows.index(one.row))


def _contribution(board: Board, family: dict[frozenset[BlockConfig], Row], full: Row, resamples: int) -> Contribution:
    blocks = full.run.config.features.blocks
    names = _names(blocks)
    without = {
        name: family[rest]
        for name, one in zip(names, blocks, strict=True)
        if (rest := frozenset(blocks) - {one}) in family
    }
    runs = {"+".join(names): full.run}
    runs |= {"+".join(other for other in names if other != name): row.run for name, row in without.items()}
    adds = what_each_adds(runs, names, board.metric.name, board.part, resamples=resamples)
    return Contribution(full, adds, without)


def _names(blocks: Sequence[BlockConfig]) -> list[str]:
    """A name for each block: its backbone, and where two have the same one, what tells them apart."""
    backbones = [block.backbone for block in blocks]
    return [
        block.backbone
        if backbones.count(block.backbone) == 1
        else f"{block.backbone} ({block.augmentation} x{block.views}, {block.transform})"
        for block in blocks
    ]


def _all_but_blocks(row: Row) -> str:
    content = row.run.config.content()
    content["features"] = {k: v for k, v in content["features"].items() if k not in ("blocks", "metadata")}
    return json.dumps(content, sort_keys=True)
