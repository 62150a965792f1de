"""Provenance of the whole page: stores and their keys, versions, and the commands that make them again."""

from dataclasses import dataclass

from hamcache.cache.errors import extract_command
from hamcache.extract.errors import ExtractError
from hamcache.pipeline.experiment.inputs import stores_needed
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.show.report.board import Board


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
    """Everything that the runs were made from."""
    used: dict[tuple[str, str], int] = {}
    versions: dict[str, list[str]] = {}
    needed: dict[tuple[str, str, int], dict[str, None]] = {}
    for row in board.rows:
        for folder, key in row.run.provenance.get("stores", {}).items():
            used[str(folder), str(key)] = used.get((str(folder), str(key)), 0) + 1
        for library, version in row.run.provenance.get("versions", {}).items():
            known = versions.setdefault(str(library), [])
            if str(version) not in known:
                known.append(str(version))
        for backbone, augmentation, views in _features_of(row.run):
            needed.setdefault((row.run.config.dataset, augmentation, views), {})[backbone] = None
    stores = [Store(folder, key, runs) for (folder, key), runs in sorted(used.items(), key=lambda item: -item[1])]
    commands = [
        extract_command(dataset, ",".join(sorted(backbones)), augmentation, views)
        for (dataset, augmentation, views), backbones in needed.items()
    ]
    return Origins(stores, {name: sorted(known) for name, known in versions.items()}, commands)


def _features_of(run: Run) -> list[tuple[str, str, int]]:
    """Backbone, augmentation and views of what a run reads; nothing where its recipe is not known here."""
    try:
        return stores_needed(run.config)
    except ExtractError:
        return []
