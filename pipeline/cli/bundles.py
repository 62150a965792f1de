"""Arguments that are made from several options: a command names the bundle in one parameter, without a default.

`Commands` shows typer the options of a bundle after the command's own, and gives the command what the bundle's
function makes of them. An option that the command or another bundle names as well is given to each of them.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hamcache.configs.defaults import AUGMENTATION, COVERAGE, DATASET, VIEWS
from hamcache.data.workspace import Workspace
from hamcache.pipeline.cli import options
from hamcache.pipeline.cli.manner import EVERYWHERE, OF_TABLES, manner

if TYPE_CHECKING:
    from hamcache.cache.catalogue import Catalogue
    from hamcache.data.dataset import DatasetWords
    from hamcache.data.readers.imported import Terms


class Bundle:
    """Marks a parameter that `make` gives; its own parameters are the options, less some, with other defaults."""

    def __init__(self, make: Callable[..., Any], without: Sequence[str] = (), **defaults: Any) -> None:
        self.make = make
        self.parameters = {
            name: parameter.replace(default=defaults.get(name, parameter.default))
            for name, parameter in inspect.signature(make).parameters.items()
            if name not in without
        }


def check_numbers(given: Mapping[str, Any]) -> None:
    """Refuse numbers that no computation takes; typer's bounds let NaN pass.

    Raises:
        typer.BadParameter: NaN, an infinite number, or a whole number of more than 64 bits.
    """
    for name, value in given.items():
        if (isinstance(value, float) and not isfinite(value)) or (isinstance(value, int) and abs(value) >= 1 << 63):
            expected = "a finite number" if isinstance(value, float) else "a whole number of at most 64 bits"
            raise typer.BadParameter(
                f"expected {expected}, got {value!r:.50}", param_hint=f"--{name.replace('_', '-')}"
            )


def unbundled(command: Callable[..., Any], common: Mapping[str, Any]) -> Callable[..., Any]:
    """A command as typer understands it, with the options of its bundles in their place, and the common ones last."""
    parameters = inspect.signature(command, eval_str=True).parameters
    bundles = {
        name: mark
        for name, parameter in parameters.items()
        for mark in getattr(parameter.annotation, "__metadata__", ())
        if isinstance(mark, Bundle)
    }
    own = {name: parameter for name, parameter in parameters.items() if name not in bundles}
    shown = dict(own)
    for bundle in bundles.values():
        shown |= {name: parameter for name, parameter in bundle.parameters.items() if name not in own}
    spoken = {name: option for name, option in common.items() if name not in shown}
    for name, option in spoken.items():
        shown[name] = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=option)

    def call(**given: Any) -> Any:
        manner.begin(**{name: given.pop(name) for name in spoken})
        check_numbers(given)
        made = {
            name: bundle.make(**{option: given[option] for option in bundle.parameters})
            for name, bundle in bundles.items()
        }
        try:
            result = command(**{name: given[name] for name in own}, **made)
        except typer.Exit:
            manner.end()
            raise
        manner.end()
        return result

    call.__name__, call.__doc__, call.__module__ = command.__name__, command.__doc__, command.__module__
    call.__annotations__ = {name: parameter.annotation for name, parameter in shown.items()}
    keywords = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shown.values()]
    call.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return call


class Commands(typer.Typer):
    """A typer app whose commands may take bundles, and all have the options of `manner`."""

    def command(self, *names: Any, tables: bool = False, **about: Any) -> Callable[[Callable[..., Any]], Any]:
        """Add a command; with `tables` it can print its tables as JSON."""
        add = super().command(*names, **about)
        common = EVERYWHERE | (OF_TABLES if tables else {})
        return lambda function: add(unbundled(function, common))

    def callback(self, *names: Any, tables: bool = False, **about: Any) -> Callable[[Callable[..., Any]], Any]:
        """Set what runs before every command of the app; with `tables` it is a command itself."""
        add = super().callback(*names, **about)
        common = EVERYWHERE | OF_TABLES if tables else {}
        return lambda function: add(unbundled(function, common))


# -- where everything is


def workspace_at(
    workspace: options.WorkspacePath = options.WORKSPACE, features_url: options.FeaturesUrl = None
) -> Workspace:
    """The workspace."""
    return Workspace(workspace, features_url or None)


def catalogue_at(
    workspace: options.WorkspacePath = options.WORKSPACE, features_url: options.FeaturesUrl = None
) -> "Catalogue":
    """The catalogue of a workspace's feature stores."""
    from hamcache.cache.catalogue import Catalogue

    return Catalogue(workspace_at(workspace, features_url).features)


PlainWorkspace = Annotated[Workspace, Bundle(workspace_at, without=["features_url"])]
"""For commands that touch no features."""
FullWorkspace = Annotated[Workspace, Bundle(workspace_at)]
Stores = Annotated["Catalogue", Bundle(catalogue_at)]

# -- the data set and experiments on it


def dataset_words(
    dataset: options.Dataset = None, column: options.Columns = None, dataset_name: options.DatasetName = None
) -> "DatasetWords":
    """The words that name a data set."""
    from hamcache.data.dataset import DatasetWords

    return DatasetWords(dataset or DATASET, options.pairs(column), dataset_name)


def settings(
    set_: options.Set = None,
    dataset: options.Dataset = None,
    features: options.Features = None,
    augmentation: options.Augmentation = AUGMENTATION,
    views: options.Views = VIEWS,
    head: options.Head = None,
    seed: options.Seed = None,
    objective: options.Objective = None,
    trust: options.Trust = None,
    exclude: options.Exclude = None,
    merge_groups: options.MergeGroups = None,
    split_file: options.SplitFile = None,
    split_column: options.SplitColumn = None,
    column: options.Columns = None,
    dataset_name: options.DatasetName = None,
    recipes: options.Recipes = None,
    workspace: options.WorkspacePath = options.WORKSPACE,
) -> dict[str, Any]:
    """Options as settings of an experiment's configuration, by dotted keys; the texts of `--set` come last."""
    from hamcache.extract.recipes import recipes_of
    from hamcache.pipeline.config.overrides import in_order, parse_settings
    from hamcache.pipeline.config.own_recipes import recipe_settings
    from hamcache.pipeline.config.schema import blocks_from

    if features and "," in features:
        raise typer.BadParameter(f"expected one feature set, got {features!r}", param_hint="--features")
    chosen = {
        "dataset": dataset,
        "dataset_name": dataset_name,
        "columns": options.pairs(column) or None,
        "seed": seed,
        "split.exclude": None if exclude is None else str(exclude),
        "split.merge_groups": None if merge_groups is None else str(merge_groups),
        "split.file": None if split_file is None else str(split_file),
        "split.column": split_column,
        "features.blocks": None if features is None else blocks_from(features, augmentation, views),
        "head": head,
        "objective": objective,
        "trust": trust or None,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    return in_order(recipe_settings(recipes_of(Workspace(workspace), recipes)), given, parse_settings(set_))


@dataclass(frozen=True)
class Extracting:
    """Options of an extraction before the work: if there is one, with which weights, and on which device."""

    extract: options.Extract = False
    weights: options.Weights = None
    device: options.Device = "auto"

    def __post_init__(self) -> None:
        for name, is_given in (("weights", bool(self.weights)), ("device", self.device != "auto")):
            if is_given and not self.extract:
                net = " (where a net trains says --set net.device=...)" if name == "device" else ""
                raise typer.BadParameter(f"expected --extract beside it{net}", param_hint=f"--{name}")


@dataclass(frozen=True)
class Running(Extracting):
    """Options of every study: test set, extraction, workers, plots."""

    test: options.Test = False
    workers: options.Workers = None
    plots: options.Plots = True


_OF_MODELS = ["features", "augmentation", "views", "head", "objective"]
_OF_SPLITS = ["exclude", "merge_groups", "split_file", "split_column"]
Words = Annotated["DatasetWords", Bundle(dataset_words)]
OneExperiment = Annotated[dict[str, Any], Bundle(settings, without=["objective"])]
SweptExperiment = Annotated[dict[str, Any], Bundle(settings, without=["head"])]
Experiments = Annotated[dict[str, Any], Bundle(settings, without=_OF_MODELS)]
SeededExperiments = Annotated[dict[str, Any], Bundle(settings, without=[*_OF_MODELS, "seed"])]
"""For a study that draws its own seeds."""
TornExperiments = Annotated[dict[str, Any], Bundle(settings, without=[*_OF_MODELS, "seed", "exclude", "merge_groups"])]
"""For a study that splits by itself, beside the test set of the experiments' split."""
Mapped = Annotated[dict[str, Any], Bundle(settings, without=["views", "head", "objective", "trust", *_OF_SPLITS])]
Extraction = Annotated[Extracting, Bundle(Extracting)]
Study = Annotated[Running, Bundle(Running)]
ExtractingStudy = Annotated[Running, Bundle(Running, extract=True)]

# -- finished runs in use


def networks(
    weights: options.Weights = None,
    recipes: options.Recipes = None,
    device: options.Device = "auto",
    trust: options.Trust = None,
) -> dict[str, Any]:
    """The networks and heads that new images are run through, as `use.predict.predictor.load_predictor` takes them."""
    return {"weights": options.pairs(weights), "recipes_file": recipes, "device": device, "trust": trust or ()}


def promise(
    coverage: options.Coverage = COVERAGE,
    sets: options.Sets = "lac",
    class_conditional: options.ClassConditional = False,
) -> tuple[float, str, bool]:
    """The coverage of prediction sets, their kind, and True where it holds for each class."""
    return coverage, sets, class_conditional


def terms(licence: options.Licence = None, citation: options.Citation = None) -> "Terms":
    """The terms of the data."""
    from hamcache.data.readers.imported import Terms

    return Terms(licence or "", citation or "")


Networks = Annotated[dict[str, Any], Bundle(networks)]
NetworksOnCpu = Annotated[dict[str, Any], Bundle(networks, without=["device"])]
Promise = Annotated[tuple[float, str, bool], Bundle(promise)]
DataTerms = Annotated["Terms", Bundle(terms)]
