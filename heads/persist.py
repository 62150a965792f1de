"""Save and load fitted heads without pickle: `head.skops` holds the head, `head.json` describes it in words."""

import json
import re
import sys
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from hamcache.data.files import write_bytes, write_text
from hamcache.heads.base import BaseHead
from hamcache.heads.errors import HeadFileError
from hamcache.heads.logit_adjustment import LogitAdjusted
from hamcache.heads.skops_format import COMPRESSION, skops_bytes

# Types beyond skops' own list that a head may hold. A file that holds any other is refused.
TRUSTED_TYPES = [
    "hamcache.heads.blocks.BlockTransformer",
    "hamcache.heads.blocks.ScaledPCA",
    "hamcache.heads.blocks.signed_root",
    "hamcache.heads.temperature.TemperatureScaling",
    "hamcache.heads.ensemble.AverageHead",
    "hamcache.heads.ensemble.StackHead",
    "hamcache.heads.estimator.EstimatorHead",
    "hamcache.heads.knn.CosineKNN",
    "hamcache.heads.logit_adjustment.LogitAdjusted",
    "hamcache.heads.mlp.MLPHead",
    "hamcache.heads.svm.OneVsRestSVC",
    "hamcache.heads.table_columns.TableColumns",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
]

MOVED = {"calibration": "temperature"}
"""Modules of `heads` that had another name when a head was saved: former name -> today's."""
_ARRAY_LIBRARIES = [f"sklearn.externals.array_api_compat.{name}" for name in ("cupy", "dask", "torch")]
_FORMER_MODULE = re.compile(r'"(?:hamcache\.)?heads\.(\w+)"')  # until 0.1.0 `heads` was a package of its own


def save_head(head: BaseHead, folder: Path) -> None:
    """Write a fitted head into `folder` (made if missing) as `head.skops` and `head.json`.

    Everything is an array, a number or a string there: networks are kept as arrays in `weights_`. A network trained
    from images writes `head.safetensors` instead of `head.skops`.
    """
    net = head.head if isinstance(head, LogitAdjusted) else head
    if hasattr(net, "save_net"):
        net.save_net(folder, tau=head.tau if isinstance(head, LogitAdjusted) else None)
        return
    content = skops_bytes(head)
    write_bytes(folder / "head.skops", _skops().dumps(head, **COMPRESSION) if content is None else content)
    description = {
        "head": type(head).__name__,
        "classes": list(head.classes),
        "features": int(head.n_features_in_),
        "versions": {name: version(name) for name in ("scikit-learn", "skops", "torch", "numpy")},
    }
    write_text(folder / "head.json", json.dumps(description, indent=2) + "\n")


def load_head(folder: Path) -> BaseHead:
    """Load the head that `save_head` wrote into `folder`; its `predict_proba` gives the same bits.

    Raises:
        HeadFileError: no `head.skops` there, a damaged one, or one that holds types that are not ours.
    """
    if (folder / "head.safetensors").is_file():
        from hamcache.heads.nets.classifier import load_net  # imports timm: only for nets

        network: Any
        network, tau = load_net(folder)
        return network if tau is None else LogitAdjusted.of_fitted(network, tau)
    skops = _skops()
    path = folder / "head.skops"
    if not path.is_file():
        raise HeadFileError(f"Expected a saved head at {path}, got none. Train the run again.")
    try:
        head = skops.loads(_with_todays_names(path), trusted=TRUSTED_TYPES)
    except skops.exceptions.UntrustedTypesFoundException as error:
        raise HeadFileError(
            f"Expected only types of ours in {path}, got others: {error}. Train the run again."
        ) from error
    except Exception as error:  # whatever a damaged archive makes the reader stumble over
        raise HeadFileError(
            f"Expected a saved head at {path}, got a file that cannot be read ({error}). Train the run again."
        ) from error
    if not isinstance(head, BaseHead):
        raise HeadFileError(f"Expected a head in {path}, got a {type(head).__name__}. Train the run again.")
    return head


def _skops() -> Any:
    """`skops.io`, imported without PyTorch and Dask, which no head of scikit-learn needs.

    It walks through all packages of scikit-learn to learn the names of its estimators, and so imports the array
    libraries that scikit-learn could work with. Those packages hold no estimators.
    """
    absent = [name for name in _ARRAY_LIBRARIES if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: such an import fails, the walk goes on
    try:
        import skops.io
        import skops.io.exceptions
    finally:
        for name in absent:
            del sys.modules[name]
    return skops.io


def _with_todays_names(path: Path) -> bytes:
    """A saved head in which our classes have today's module names; most files have them already."""
    content = path.read_bytes()
    with ZipFile(BytesIO(content)) as archive:
        schema = archive.read("schema.json").decode()
        renamed = _FORMER_MODULE.sub(lambda found: f'"hamcache.heads.{MOVED.get(found[1], found[1])}"', schema)
        if renamed == schema:
            return content
        target = BytesIO()
        with ZipFile(target, "w") as copy:
            for name in archive.namelist():
                copy.writestr(name, renamed if name == "schema.json" else archive.read(name))
    return target.getvalue()
