"""Where the numbers come from: stores and their keys, versions, and the commands that make them again."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from cache.errors import extract_command
from pipeline.features import stores_needed
from pipeline.report.board import Board, Row
from pipeline.runs import Run


@dataclass(frozen=True)
class Store:
    """A feature store that runs were trained on: its folder below the features root, its key, and how many runs."""

    folder: str
    key: str
    runs: int


@dataclass(frozen=True)
class Origins:
    """Of the whole page.

    Attributes:
        stores: Those with most runs first.
        versions: Library -> the versions that runs were made with.
        extract: Commands that make the features.
    """

    stores: list[Store]
    versions: dict[str, list[str]]
    extract: list[str]


def origins(board: Board) -> Origins:
    """What all runs were made from."""
    used: dict[tuple[str, str], int] = {}
    versions: dict[str, list[str]] = {}
    commands: dict[str, None] = {}
    for row in board.rows:
        for folder, key in row.run.provenance.get("stores", {}).items():
            used[str(folder), str(key)] = used.get((str(folder), str(key)), 0) + 1
        for library, version in row.run.provenance.get("versions", {}).items():
            known = versions.setdefault(str(library), [])
            if str(version) not in known:
                known.append(str(version))
        commands |= dict.fromkeys(_extract(row.run))
    stores = [Store(folder, key, runs) for (folder, key), runs in sorted(used.items(), key=lambda item: -item[1])]
    return Origins(stores, {name: sorted(known) for name, known in versions.items()}, list(commands))


def train_command(row: Row) -> str:
    """The command that runs an experiment again, from inside the workspace."""
    config = shlex.quote(f"runs/{row.run.id}/config.yaml")
    return f"hamcache train --config {config}" + (" --test" if "test" in row.run.metrics else "")


def compare_command(rows: Sequence[Row]) -> str:
    """The command that compares runs."""
    return " ".join(["hamcache compare", *(shlex.quote(row.run.id) for row in rows)])


def yaml_of(run: Run) -> str:
    """A run's configuration as it was written."""
    return yaml.safe_dump(run.config.content(), sort_keys=False, allow_unicode=True)


def _extract(run: Run) -> list[str]:
    """One command a backbone and augmentation."""
    dataset = shlex.quote(run.config.dataset)
    return [
        extract_command(dataset, shlex.quote(backbone), shlex.quote(augmentation), views)
        for backbone, augmentation, views in stores_needed(run.config.features)
    ]
