"""Features in two dimensions, to be looked at: each image a point, images that look alike to a backbone close together.

- `tsne`: principal components, then t-SNE (van der Maaten and Hinton, JMLR 2008; Barnes-Hut, started from the first two
  components: Kobak and Berens, Nature Communications 2019). Who is whose neighbour is kept, distances are not.
- `pca`: the first two principal components.
- `umap`: UMAP (McInnes, Healy and Melville, 2018), where its package is installed.

The same seed gives the same places. They are kept in the workspace under a digest of all that decides them.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

from hamcache.configs.defaults import LAYOUTS
from hamcache.data.errors import DataError
from hamcache.data.files import read_csv, write_csv
from hamcache.data.nearest import unknown_name
from hamcache.data.subset import stratified_subset
from hamcache.data.workspace import Workspace
from hamcache.heads.threads import one_thread
from hamcache.heads.views import BlockArrays, ViewPolicy
from hamcache.pipeline.config.features_config import FeaturesConfig
from hamcache.pipeline.config.schema import ExperimentConfig
from hamcache.pipeline.errors import FeaturesError, MapError, MissingExtraError
from hamcache.pipeline.experiment.inputs import Inputs, image_blocks, open_inputs
from hamcache.pipeline.inspect.neighbours import JointSpace

MOST_IMAGES = 20_000
"""Images on a map: of more, whole lesions in the data set's own mix of classes are drawn."""
COMPONENTS = 50
"""Principal components that neighbours are looked for in."""
NEIGHBOURS = 15
PERPLEXITY = 30.0
_VERSION = 1  # part of the key: another computation makes other maps


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """The images of a data set in the plane.

    Attributes:
        frame: `image_id, x, y`, one row an image in the order of ids; the longer side of the map is from 0 to 1.
        features: Blocks that it is of: `A+B`.
        method: See the module.
        images: Images that the data set has.
        reused: Whether it was found in the workspace.
    """

    frame: pd.DataFrame
    features: str
    method: str
    images: int
    reused: bool


def map_features(
    config: ExperimentConfig,
    workspace: Workspace,
    method: str = LAYOUTS[0],
    seed: int = 0,
    inputs: Inputs | None = None,
) -> FeatureMap:
    """Lay out the images of a data set by one view of its cached features; a map that was made before is found.

    Args:
        config: Names the data set and the blocks (see `one_view`).
        workspace: Holds `features/` and gets `maps/<data set>/`.
        method: One of `LAYOUTS`.
        seed: Of what is drawn.
        inputs: What `open_inputs` gave for the data set.

    Raises:
        MapError: No such method, no features of images, or fewer than three images.
        MissingExtraError: The package of the method is not installed.
        MissingFeaturesError: The cache lacks features.
    """
    check_method(method)
    if not image_blocks(config.features):
        raise MapError("Expected features of the images to lay out, got metadata alone. Name features, too.")
    config = config.model_copy(update={"features": one_view(config.features)})
    inputs = open_inputs(config, workspace, inputs=inputs)
    table = inputs.table
    if len(table) > MOST_IMAGES:
        table = stratified_subset(table, MOST_IMAGES)
    ids = [image_id for image_id in table.frame["image_id"] if image_id not in inputs.left_out]
    if len(ids) < 3:
        raise MapError(f"Expected three images or more to lay out, got {len(ids)}. Name a larger data set.")
    blocks = inputs.blocks_of(config.features)
    stores = [store.key.digest for block in blocks for store in block.stores]
    content = [_VERSION, method, seed, COMPONENTS, NEIGHBOURS, PERPLEXITY, stores]
    content.append([[image_id, inputs.digests[image_id]] for image_id in ids])
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    path = workspace.maps / table.name / f"{method}-{digest[:10]}.csv"
    frame = _read(path, ids)
    reused = frame is not None
    if frame is None:
        inputs.load(config.features, ids)
        arrays = [first_view(block.arrays(ids), config.features) for block in blocks]
        places = _in_unit_square(_METHODS[method](JointSpace.of(arrays).place(arrays), seed))
        frame = pd.DataFrame({"image_id": ids, "x": places[:, 0], "y": places[:, 1]})
        write_csv(path, frame)
    names = "+".join(block.backbone for block in config.features.blocks)
    return FeatureMap(frame, names, method, len(inputs.table), reused)


def check_method(method: str) -> None:
    """Find out that a method exists and is installed.

    Raises:
        MapError, MissingExtraError: It is not.
    """
    if method not in LAYOUTS:
        raise MapError(unknown_name("method", method, LAYOUTS))
    if method == "umap":
        try:
            import_module("umap")
        except ImportError:
            raise MissingExtraError(
                "Expected the package umap-learn for maps by UMAP, got an installation without it. Do "
                "`pip install 'hamcache[umap]'`, or take tsne."
            ) from None


def one_view(features: FeaturesConfig) -> FeaturesConfig:
    """The blocks of images with the one view that is compared: the plain image if that is predicted from, or view 0."""
    plain = features.views.predict == "plain"
    views = ViewPolicy(train="plain", predict="plain") if plain else ViewPolicy(train="all", predict="first")
    blocks = tuple(block.model_copy(update={"views": 1}) for block in image_blocks(features))
    return features.model_copy(update={"blocks": blocks, "views": views})


def first_view(arrays: BlockArrays, features: FeaturesConfig) -> np.ndarray:
    """float32 `[n, dim]`: the one view of a block of `one_view`."""
    views = arrays.plain if features.views.predict == "plain" and arrays.plain is not None else arrays.views
    return views[:, 0]


def _components(rows: np.ndarray, seed: int, most: int) -> np.ndarray:
    from sklearn.decomposition import PCA

    count = min(most, *rows.shape)
    with one_thread():  # a sum over several threads is rounded differently
        return PCA(count, svd_solver="randomized", random_state=seed).fit_transform(rows)


def _pca(rows: np.ndarray, seed: int) -> np.ndarray:
    return _components(rows, seed, 2)


def _tsne(rows: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    components = _components(rows, seed, COMPONENTS)
    start = components[:, :2] * (1e-4 / max(float(components[:, 0].std()), 1e-12))
    perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=1)
    return layout.fit_transform(components)


def _umap(rows: np.ndarray, seed: int) -> np.ndarray:
    neighbours = min(NEIGHBOURS, len(rows) - 1)
    layout = import_module("umap").UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
    return np.asarray(layout.fit_transform(_components(rows, seed, COMPONENTS)))


_METHODS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {"tsne": _tsne, "pca": _pca, "umap": _umap}


def _in_unit_square(places: np.ndarray) -> np.ndarray:
    """float64 `[n, 2]`, the longer side from 0 to 1, to four decimals: more than a screen shows."""
    if not np.isfinite(places).all():
        raise FeaturesError("Expected finite places of the images on a map, got others. Take another method.")
    places = places.astype(np.float64) - places.min(axis=0)
    return (places / max(float(places.max()), 1e-12)).round(4)


def _read(path: Path, ids: Sequence[str]) -> pd.DataFrame | None:
    """A map of these images that was made before; None where there is none, or it is damaged."""
    with suppress(DataError, OSError, ValueError, KeyError):
        frame, _ = read_csv(path)
        places = frame[["x", "y"]].astype(np.float64)
        if frame["image_id"].tolist() == list(ids) and np.isfinite(places.to_numpy()).all():
            return frame[["image_id"]].assign(x=places["x"], y=places["y"])
    return None
