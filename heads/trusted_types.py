"""Types that a saved head may hold: those that are known to run no code from a file, and those that a user trusts."""

import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from hamcache.data.named_code import OWN_FILE

TRUSTED_TYPES = [
    "hamcache.heads.blocks.BlockTransformer",
    "hamcache.heads.blocks.ScaledPCA",
    "hamcache.heads.blocks.signed_root",
    "hamcache.heads.temperature.TemperatureScaling",
    "hamcache.heads.ensemble.AverageHead",
    "hamcache.heads.ensemble.StackHead",
    "hamcache.heads.estimator.EstimatorHead",
    "hamcache.heads.logreg_path.LogregPathHead",
    "hamcache.heads.knn.CosineKNN",
    "hamcache.heads.logit_adjustment.LogitAdjusted",
    "hamcache.heads.mlp.MLPHead",
    "hamcache.heads.own_estimator.OwnHead",
    "hamcache.heads.svm.OneVsRestSVC",
    "hamcache.heads.table_columns.TableColumns",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    # Boosters are kept in the libraries' own formats, which hold trees and no code.
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
]
"""Types beyond skops' own list that a head may hold. A file that holds any other is refused."""


def own_in(head: Any) -> list[str]:
    """Names of the classifiers of one's own in a head."""
    name = getattr(head, "name", None)
    names = [name] if name and hasattr(head, "classifier") else []
    for inner in (getattr(head, "head", None), *getattr(head, "members_", ())):
        names += own_in(inner) if inner is not None else []
    return list(dict.fromkeys(names))


def file_modules(names: Iterable[str]) -> dict[str, str]:
    """The modules as which the files in some names were imported -> those files, as they were named."""
    files = {str(Path(file).resolve()): file for file in map(file_of, names) if file is not None}
    found = {}
    for module, code in list(sys.modules.items()):
        if module.startswith(OWN_FILE) and (path := getattr(code, "__file__", None)) in files:
            found[module] = files[str(path)]
    return found


def file_of(name: str) -> str | None:
    """The file in `file.py:Class`; None for other names."""
    file = name.rpartition(":")[0]
    return file if file.endswith(".py") else None


def type_names(untrusted: Iterable[str], files: Mapping[str, str]) -> dict[str, str]:
    """Those of some types that are not harmless -> their names for people.

    Args:
        untrusted: types as skops names them.
        files: see `file_modules`; a class of a file is named by the file: `mine.py:Class`.
    """
    names = {}
    for name in untrusted:
        module, _, last = name.rpartition(".")
        if name not in TRUSTED_TYPES:
            is_file = module.startswith(OWN_FILE) and module in files
            names[name] = f"{files[module]}:{last}" if is_file else name
    return names


def refuse_untrusted(names: Iterable[str], trust: Collection[str], holder: str, error: type[Exception]) -> None:
    """Refuse types that are not trusted.

    Args:
        names: types, named for people.
        trust: names of types, `package.module.Class` or `file.py:Class`, or of whole packages and files.
        holder: what holds them, in words.
        error: the class of what is raised.
    """
    trusted = tuple(_plain(name) for name in trust)
    missing = sorted({n for n in names if not any(f"{_plain(n)}.".startswith(f"{name}.") for name in trusted)})
    if missing:
        raise error(
            f"Expected only types that are known to run no code from a file in {holder}, got {', '.join(missing)}. "
            f"If you trust what they do, say {' '.join(f'--trust {name}' for name in missing)}."
        )


def _plain(name: str) -> str:
    return name.removeprefix("./").replace(":", ".")
