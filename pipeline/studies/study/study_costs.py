"""Processor seconds of a study: of extraction, of each row's training and search, and of one experiment more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from tempfile import TemporaryDirectory

import numpy as np

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.costs import Cost, add_costs, read_costs
from hamcache.cache.errors import CacheError
from hamcache.cache.keys import FeatureKey
from hamcache.cache.lock import writing
from hamcache.cache.storage import Root
from hamcache.data.dataset import open_dataset
from hamcache.data.workspace import Workspace
from hamcache.extract.errors import ExtractError
from hamcache.extract.names import PRE_LOGITS
from hamcache.pipeline.errors import PipelineError
from hamcache.pipeline.experiment.inputs import stores_needed
from hamcache.pipeline.runs.records import Run
from hamcache.pipeline.studies.study.study_run import RowResult, StudyResult

SAMPLE = 32
"""Images of which the cost of features is measured that were made before costs were kept."""


@dataclass(frozen=True)
class RowCost:
    """Processor seconds of a row; NaN where they are not known.

    Attributes:
        extraction: All features that the row and its search read, each store once.
        share: The same, but of its own run's features only, divided by the experiments of the study that read them.
        training: One run of what was chosen: all of it, but for the extraction.
        search: Every experiment that was tried until it was chosen, those of rows that it is based on included.
        one_more: What one experiment more like those costs, now that the features are there.
        tried: Number of those experiments.
    """

    extraction: float
    share: float
    training: float
    search: float
    one_more: float
    tried: int


@dataclass(frozen=True, eq=False)
class StudyCosts:
    """Costs of a study.

    Attributes:
        result: The study.
        workspace: Holds its features.
        images: Images of the data set.
    """

    result: StudyResult
    workspace: Workspace
    images: int

    @cached_property
    def each(self) -> dict[str, Cost]:
        """Vectors and processor seconds that are on record, by the folder of the store."""
        return read_costs(Root(self.workspace.features), self._table)

    @cached_property
    def stores(self) -> dict[str, float]:
        """Processor seconds of all vectors that experiments read, by the folder of the store; NaN: not known."""
        views: dict[str, int] = {}
        for run in self.result.runs():
            for folder, count in _views_of(run).items():
                views[folder] = max(count, views.get(folder, 0))
        return {
            folder: self.each[folder].each * count * self.images if folder in self.each else np.nan
            for folder, count in views.items()
        }

    @property
    def unknown(self) -> list[str]:
        """Stores whose cost is not on record."""
        return [folder for folder, seconds in self.stores.items() if np.isnan(seconds)]

    @cached_property
    def names(self) -> dict[str, str]:
        """Features and augmentation of each store, in words."""
        keys = {folder: FeatureKey.from_dict(key) for run in self.result.runs() for folder, key in _keys(run).items()}
        return {folder: f"{keys[folder].features_name} ({keys[folder].augmentation_name})" for folder in self.stores}

    @cached_property
    def readers(self) -> Counter[str]:
        """Number of experiments that read each store, trials of sweeps included."""
        count = Counter(folder for run in self.result.runs() for folder in _views_of(run))
        for row in self.result.rows:
            if row.sweep is not None and row.of is None:
                for folder in _views_of(row.runs[0]) if row.runs else ():
                    count[folder] += len(row.sweep.trials)
        return count

    def of(self, row: RowResult) -> RowCost:
        """The cost of a row that has a run."""
        tried, trials, beyond = self._searched(row)
        folders = {folder for run in (*tried, row.runs[0]) for folder in _views_of(run)}
        own = _views_of(row.runs[0])
        training = float(np.mean([processor_seconds(run) for run in row.runs]))
        count = len(tried) + trials
        search = sum(processor_seconds(run) for run in tried) + beyond
        return RowCost(
            extraction=sum(self.stores[folder] for folder in folders),
            share=sum(self.stores[folder] / self.readers[folder] for folder in own),
            training=training,
            search=search,
            one_more=search / count,
            tried=count,
        )

    def _searched(self, row: RowResult) -> tuple[list[Run], int, float]:
        """The runs that a row was chosen from, each once, and the number and seconds of trials of sweeps."""
        by_name = {each.name: each for each in self.result.rows}
        runs: dict[str, Run] = {}
        trials, seconds, waiting, seen = 0, 0.0, [row.name], set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            each = by_name[name]
            waiting += each.row.needs
            runs |= {run.id: run for run in each.tried}
            if each.sweep is not None and each.of is None and each.runs:
                trials += len(each.sweep.trials)
                seconds += _trials_seconds(each)
        return list(runs.values()), trials, seconds

    @cached_property
    def _table(self) -> str:
        return str(self.result.finished[0].runs[0].provenance["summary"]["dataset"])


def costs_of(result: StudyResult, workspace: Workspace) -> StudyCosts:
    """The costs of a study that was run, as far as they are on record."""
    return StudyCosts(result, workspace, len(result.experiments.first.dataset_words.table(workspace)))


def processor_seconds(run: Run) -> float:
    """Processor seconds of a run; of one that was made before they were recorded, its seconds by the clock."""
    seconds = run.provenance["seconds"]
    return float(seconds.get("processor", seconds.get("total", np.nan)))


def measure(costs: StudyCosts, on_store: Callable[[str], None] | None = None) -> StudyCosts:
    """Extract the features of a few images again, aside, for each store whose cost is not on record, and record it.

    A store of a backbone that cannot be built here is passed over.

    Args:
        costs: Of a study.
        on_store: Takes the name of each store before it is measured.
    """
    from hamcache.pipeline.experiment.extraction import FeatureWords, extract_features  # imports torch

    config = costs.result.experiments.first
    dataset = open_dataset(config.dataset_words, costs.workspace)
    root = Root(costs.workspace.features)
    left_out = {image_id for run in costs.result.runs() for image_id in run.provenance.get("left_out", {})}
    ids = [image_id for image_id in dataset.table.frame["image_id"] if image_id not in left_out][:SAMPLE]
    few = dataset.of(dataset.table.subset(ids))
    for folder in costs.unknown:
        store = Catalogue(root).by_prefix(folder)
        if on_store:
            on_store(costs.names[folder])
        key = store.key
        reader = next(run for run in costs.result.runs() if folder in run.provenance.get("keys", {}))
        name = key.backbone if key.kind == PRE_LOGITS else f"{key.backbone}:{key.kind}"
        fit = str(key.preprocessing.get("fit", "crop"))
        words = FeatureWords(
            [name],
            [key.augmentation_name],
            seed=key.seed,
            precision=key.precision,
            storage=key.storage,
            fit=fit,
            recipes=reader.config.augmentations,
        )
        with TemporaryDirectory() as aside:
            try:
                extract_features(few, Workspace(costs.workspace.path, aside), words)
            except (ExtractError, CacheError, PipelineError):
                continue
            measured = read_costs(Root(aside), few.name)
        with writing(root, few.name):
            add_costs(root, few.name, {folder: sum(measured.values(), Cost(0, 0.0))})
    return replace(costs)


def _trials_seconds(row: RowResult) -> float:
    """Processor seconds of a sweep's trials: their seconds by the clock, as busy as the run of the best one was."""
    assert row.sweep is not None
    seconds = row.runs[0].provenance["seconds"]
    busy = processor_seconds(row.runs[0]) / max(float(seconds.get("total", 0.0)), 1e-9)
    return float(np.nansum(row.sweep.trials["seconds"].to_numpy(dtype=float))) * busy


def _keys(run: Run) -> Mapping[str, Mapping[str, object]]:
    return dict(run.provenance.get("keys", {}))


def _views_of(run: Run) -> dict[str, int]:
    """Views that a run read of each store, by its folder."""
    keys = {folder: FeatureKey.from_dict(key) for folder, key in run.provenance.get("keys", {}).items()}
    most: Sequence[tuple[str, int]] = [(name, views) for _, name, views in stores_needed(run.config)]
    return {
        folder: max((views for name, views in most if name == key.augmentation_name), default=1)
        for folder, key in keys.items()
    }
