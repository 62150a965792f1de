"""The front door for Python: one object, `Lab`, with the words of the command line.

Each method is the command of the same name without its printing: it calls the same function, and gives back what that
gives back. Nothing heavy is imported before a method needs it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hamcache.data.workspace import Workspace
from hamcache.lab_frames import LabFrames
from hamcache.lab_results import LabResults
from hamcache.lab_studies import LabStudies

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from PIL import Image
    from torch.nn import Module

    from hamcache.cache.store import FeatureStore
    from hamcache.data.dataset import Dataset, DatasetWords
    from hamcache.data.splits import Split
    from hamcache.data.summary import Summary
    from hamcache.data.table import ImageTable
    from hamcache.extract.fill import ExtractionSummary
    from hamcache.extract.recipes import Recipes
    from hamcache.pipeline.config.schema import ExperimentConfig
    from hamcache.pipeline.evaluate.evaluations import Evaluation
    from hamcache.pipeline.runs.records import Run

# timm imports tqdm, which asks every notebook to install ipywidgets.
warnings.filterwarnings("ignore", message="IProgress not found")


class Lab(LabFrames, LabStudies, LabResults):
    """A data set and a workspace: where one looks at images, extracts their features, and trains on them.

    >>> Lab("photos/moles.csv", "workspace", columns={"path": "file", "label": "diagnosis"})
    Lab('photos/moles.csv', workspace='workspace')

    Args:
        dataset: A folder in HAM10000's Kaggle layout, a CSV, a folder of class folders, the name of a data set in the
            workspace, or `synthetic`, which is drawn when it is first used (see `data.readers.resolve.read_dataset`).
        workspace: Where everything made lies (default: see `find_workspace`).
        columns: For a CSV: `image_id`, `path`, `label`, `group` -> what the file calls them, where that differs.
        name: Name of the data set (default: from its folder or file).
        features_url: Where the feature stores lie, if not in the workspace (a folder or an fsspec URL).
        recipes: A YAML file of your own augmentations, over those of `augmentations.yaml` in the workspace.
        plots: Draw the pictures of each run, which takes about a second; `hamcache runs plot` does it later.
    """

    def __init__(
        self,
        dataset: str | Path = "synthetic",
        workspace: str | Path | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        name: str | None = None,
        features_url: str | None = None,
        recipes: str | Path | None = None,
        plots: bool = True,
    ) -> None:
        self.dataset = str(dataset)
        path = Path(workspace) if workspace is not None else find_workspace()
        self.workspace = Workspace(path, features_url)
        self.plots = plots
        self._columns, self._name = dict(columns or {}), name
        self._recipes_file = None if recipes is None else Path(recipes)

    def __repr__(self) -> str:
        return f"Lab({self.dataset!r}, workspace={str(self.workspace.path)!r})"

    # -- the images

    @cached_property
    def table(self) -> ImageTable:
        """The image table, whose `frame` has `image_id, path, label, group` and what else is known of each image."""
        from hamcache.pipeline.cli.extraction import announce_drawing

        announce_drawing(self.dataset, self.workspace)
        return self._words.table(self.workspace)

    def summary(self) -> Summary:
        """Counts by class, images per lesion, missing files, identical files in different lesions."""
        from hamcache.data.summary import summarise

        return summarise(self.table, self._opened().digests)

    def split(
        self,
        policy: str = "one_per_lesion",
        *,
        seed: int = 0,
        file: str | Path | None = None,
        column: str | None = None,
        **settings: Any,
    ) -> Split:
        """Train, validation and test, no lesion in two of them; takes what `data.splits.make_split` takes.

        Instead of a policy, a `file` or a `column` of the table may give the split (see `data.given_split`).
        """
        from hamcache.data.given_split import given_split
        from hamcache.data.splits import make_split

        given = given_split(self.table, file, column)
        if given is None:
            return make_split(self.table, policy, seed=seed, **settings)
        return given.splits(self.table, seed=seed, **settings)[0]

    def views(self, image_id: str, augmentation: str = "none", views: int = 8, *, seed: int = 0) -> list[Image.Image]:
        """Views of one image, drawn as `extract` draws them: view 0, 1, ..., no more than the augmentation has."""
        from hamcache.extract.decode import decode_file
        from hamcache.extract.sheet import drawn_views

        path = self.table.subset([image_id]).frame["path"].iloc[0]
        self.table.require_images("Drawing views", [image_id])
        return drawn_views(decode_file(path), image_id, self._recipes.get(augmentation), views, seed)

    # -- the cache

    def give(self, module: Module, name: str, preprocessing: Any = None) -> str:
        """Make a network of your own known to this process by a name, for `predictor`; `extract` does so, too.

        Args:
            module: Returns features `[n, dim]`, maps `[n, channels, h, w]`, or a dict of them by kind. It is copied.
            name: The name of its features.
            preprocessing: Plain data: any of `size`, `crop_pct`, `interpolation`, `mean` and `std`; or torchvision's
                preset of some weights (default: as for ImageNet).
        """
        from hamcache.extract.backbones import give_backbone

        give_backbone(name, module, preprocessing)
        return name

    def extract(
        self,
        backbones: str | Sequence[str] | Module,
        augmentation: str = "none",
        views: int = 1,
        *,
        name: str | None = None,
        preprocessing: Any = None,
        **options: Any,
    ) -> ExtractionSummary:
        """Compute the features that the cache lacks.

        Args:
            backbones: Names, as a list or separated by commas; or a network of your own.
            augmentation: What views are drawn of.
            views: How many of each image.
            name, preprocessing: Of a network of your own, see `give`.
            options: Further fields of `experiment.extraction.FeatureWords` (precision, seed, ...), and options of
                `extract_features` (workers, scheduler, device).
        """
        from hamcache.extract.names import split_list
        from hamcache.pipeline.cli.extraction import extract_behind_bar
        from hamcache.pipeline.experiment.extraction import FeatureWords

        if not isinstance(backbones, Sequence):
            backbones = self.give(backbones, name or "", preprocessing)
        names = split_list(backbones) if isinstance(backbones, str) else list(backbones)
        running = {name: options.pop(name) for name in ("workers", "scheduler", "device") if name in options}
        words = FeatureWords(names, [augmentation], views, **{"recipes": self._recipes, **options})
        return extract_behind_bar(self._opened(), self.workspace, words, **running)

    def stores(self) -> list[FeatureStore]:
        """The feature stores of this data set."""
        from hamcache.cache.catalogue import Catalogue

        return Catalogue(self.workspace.features).stores(self.table.name)

    def features(
        self, backbone: str, augmentation: str = "none", views: int = 1, *, image_ids: Sequence[str] | None = None
    ) -> np.ndarray:
        """Cached features, float32 `[images, views, dim]`, in the order of `image_ids` (default: that of the table).

        Raises:
            MissingFeaturesError: The cache lacks some; names the command that makes them.
        """
        from hamcache.pipeline.experiment.inputs import open_inputs

        ids = list(self.table.frame["image_id"]) if image_ids is None else list(image_ids)
        config = self.config(backbone, augmentation, views)
        inputs = open_inputs(config, self.workspace, dataset=self._opened())
        (block,) = inputs.load(config.features, ids)
        return block.arrays(ids).views

    # -- experiments

    def config(
        self,
        features: str | None = None,
        augmentation: str = "none",
        views: int = 1,
        head: str | Mapping[str, Any] | None = None,
        *,
        config: str | Path | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> ExperimentConfig:
        """The experiment that `train` would run with these arguments."""
        from hamcache.pipeline.config.schema import load_config

        chosen = self._chosen(seed, features, augmentation, views, head)
        return load_config(config, {**chosen, **(settings or {})})

    def train(
        self,
        features: str | None = None,
        augmentation: str = "none",
        views: int = 1,
        head: str | Mapping[str, Any] | None = None,
        *,
        config: str | Path | None = None,
        seed: int | None = None,
        settings: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """Train, score and keep one experiment; one that has a finished run is found, not run again.

        Args:
            features: A backbone, or several joined by `+`, whose features are in the cache.
            augmentation: Augmentation whose views are read.
            views: How many of each image.
            head: A head of the zoo, `package.module:Class` or `file.py:Class` (default: `logreg`, or as configured).
            config: A YAML file, or the name of a packaged configuration, that gives all that the rest doesn't.
            seed: Seed of the split and of the head.
            settings: Any fields of the configuration: `{"head.lr": 1e-3, "split.policy": "grouped"}`.
            options: Further arguments of `experiment.runner.run_experiment` (`test=True` opens the test set).
        """
        from hamcache.pipeline.experiment.inputs import open_inputs
        from hamcache.pipeline.experiment.runner import run_experiment

        experiment = self.config(features, augmentation, views, head, config=config, seed=seed, settings=settings)
        inputs = open_inputs(experiment, self.workspace, dataset=self._opened())
        return self._drawn(run_experiment(experiment, self.workspace, **{"inputs": inputs, **options}))

    # -- results

    def runs(self) -> pd.DataFrame:
        """One row a finished run on this data set, the latest first: what it is, and each score."""
        from hamcache.pipeline.runs.records import list_runs

        runs = list_runs(self.workspace)
        return runs[runs["dataset"] == self.table.name].reset_index(drop=True)

    def evaluate(self, run: Run | str, **choices: Any) -> Evaluation:
        """Score a finished run, of whatever data set, on this one: `Lab("clinic.csv").evaluate(run).record["scores"]`.

        Takes the fields of `use.external.external.Evaluating` (`pairs=[("bcc", "BCC")]`, `corruptions=["blur"]`).
        """
        from hamcache.pipeline.use.external.external import Evaluating, evaluate_run

        return evaluate_run(self._loaded([run])[0], self._opened(), self.workspace, Evaluating(**choices))

    def _chosen(
        self,
        seed: int | None,
        features: str | None = None,
        augmentation: str = "none",
        views: int = 1,
        head: str | Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The arguments as settings, by the fields of the configuration."""
        from hamcache.pipeline.config.own_recipes import recipe_settings
        from hamcache.pipeline.config.schema import blocks_from

        about = {"dataset_name": self._name, "columns": self._columns, "seed": seed, "head": head}
        chosen: dict[str, Any] = {**recipe_settings(self._recipes), "dataset": self.dataset}
        chosen |= {key: value for key, value in about.items() if value not in (None, {})}
        if features is not None:
            chosen["features.blocks"] = blocks_from(features, augmentation, views)
        return chosen

    @property
    def _recipes(self) -> Recipes:
        """The augmentations that names stand for, read anew: the files may have changed since the last call."""
        from hamcache.extract.recipes import recipes_of

        return recipes_of(self.workspace, self._recipes_file)

    @property
    def _words(self) -> DatasetWords:
        from hamcache.data.dataset import DatasetWords

        return DatasetWords(self.dataset, self._columns, self._name)

    def _opened(self) -> Dataset:
        """The data set, its files digested anew: they may have changed since the last call."""
        from hamcache.data.dataset import Dataset

        return Dataset(self._words, self.table, self.workspace.digests(self.table.name))


def find_workspace() -> Path:
    """`HAMCACHE_WORKSPACE`; without it `workspace` in this folder, or beside it for a notebook in `notebooks`."""
    named = os.environ.get("HAMCACHE_WORKSPACE")
    if named:
        return Path(named)
    here = Path.cwd()
    return (here.parent if here.name == "notebooks" else here) / "workspace"
