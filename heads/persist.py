"""Save and load fitted heads without pickle: `head.skops` holds the head, `head.json` describes it in words."""

import json
import re
import sys
from collections.abc import Callable, Collection, Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from hamcache.data.errors import DataError
from hamcache.data.files import write_bytes, write_text
from hamcache.data.named_code import OWN_FILE, imported_file
from hamcache.heads.base import BaseHead
from hamcache.heads.errors import HeadError, HeadFileError, OwnHeadError
from hamcache.heads.logit_adjustment import LogitAdjusted, unadjusted
from hamcache.heads.own_heads import own_identity
from hamcache.heads.skops_format import COMPRESSION, skops_bytes
from hamcache.heads.trusted_types import TRUSTED_TYPES, file_modules, own_in, refuse_untrusted, type_names

MOVED = {"calibration": "temperature"}
"""Modules of `heads` that had another name when a head was saved: former name -> today's."""
_ARRAY_LIBRARIES = [f"sklearn.externals.array_api_compat.{name}" for name in ("cupy", "dask", "torch")]
_FORMER_MODULE = re.compile(r'"(?:hamcache\.)?heads\.(\w+)"')  # until 0.1.0 `heads` was a package of its own


def save_head(head: BaseHead, folder: Path, trust: Collection[str] = ()) -> list[str]:
    """Write a fitted head into `folder` (made if missing) as `head.skops` and `head.json`.

    Everything is an array, a number or a string there: networks are kept as arrays in `weights_`. A network trained
    from images writes `head.safetensors` instead of `head.skops`.

    Args:
        head: the head.
        folder: of its run.
        trust: types that may be in it beside those that are known to be harmless (see `heads.trusted_types`).

    Returns:
        Those of them that are in it.

    Raises:
        OwnHeadError: a class of one's own can't be kept, or holds types that are not trusted.
    """
    net = unadjusted(head)
    if hasattr(net, "save_net"):
        net.save_net(folder, tau=head.tau if isinstance(head, LogitAdjusted) else None)
        return []
    own = own_in(head)
    content, trusted = own_bytes(head, own, trust) if own else (skops_bytes(head), [])
    write_bytes(folder / "head.skops", _skops().dumps(head, **COMPRESSION) if content is None else content)
    description = {
        "head": type(head).__name__,
        "classes": list(head.class_names),
        "features": int(head.n_features_in_),
        "versions": {name: version(name) for name in ("scikit-learn", "skops", "torch", "numpy")},
    }
    if own:
        description["own"] = {"files": file_modules(own), "identity": own_identity(own)}
    write_text(folder / "head.json", json.dumps(description, indent=2) + "\n")
    return trusted


def load_head(folder: Path, trust: Collection[str] = ()) -> BaseHead:
    """Load the head that `save_head` wrote into `folder`; its `predict_proba` gives the same bits.

    Args:
        folder: of its run.
        trust: types that may be loaded beside those that are known to be harmless.

    Raises:
        HeadFileError: no `head.skops` there, a damaged one, or one that holds types that are not trusted.
    """
    if (folder / "head.safetensors").is_file():
        from hamcache.heads.nets.classifier import load_net  # imports timm: only for nets

        network: Any
        network, tau = load_net(folder)
        return network if tau is None else LogitAdjusted.of_fitted(network, tau)
    path = folder / "head.skops"
    if not path.is_file():
        raise HeadFileError(f"Expected a saved head at {path}, got none. Train the run again.")
    return _loaded(path, _own_in(folder / "head.json"), trust)


def own_bytes(head: BaseHead, own: Collection[str], trust: Collection[str] = ()) -> tuple[bytes, list[str]]:
    """The file of a head that holds classifiers of one's own, and the types in it that had to be trusted.

    Args:
        head: fitted.
        own: names of those classifiers.
        trust: types that may be in it.

    Raises:
        OwnHeadError: it can't be kept without pickle, or holds types that are not trusted.
    """
    skops, names = _skops(), " and ".join(own)
    try:
        content = skops.dumps(head, **COMPRESSION)
        found = type_names(skops.get_untrusted_types(data=content), file_modules(own))
    except Exception as error:  # whatever the state of a class of others makes the writer stumble over
        raise OwnHeadError(
            f"Expected {names} to be kept without pickle, but skops cannot write it ({type(error).__name__}: {error}). "
            "Let it hold arrays, numbers, text, and estimators of these."
        ) from error
    refuse_untrusted(found.values(), trust, f"the fitted {names}", OwnHeadError)
    return content, sorted(set(found.values()))


def loaded_bytes(content: bytes, files: Mapping[str, str], trust: Collection[str]) -> Any:
    """The head in a file's content; types that are not trusted are refused before any of their code is imported.

    Args:
        content: of the file.
        files: modules of files as they were called when it was written -> the files.
        trust: types that may be in it.

    Raises:
        HeadFileError: it holds types that are not trusted.
    """
    skops = _skops()
    found = type_names(skops.get_untrusted_types(data=content), files)
    refuse_untrusted(found.values(), trust, "the run's head", HeadFileError)
    used = {name.rpartition(".")[0] for name in found} & files.keys()
    today = {module: imported_file(Path(files[module])).__name__ for module in used if module.startswith(OWN_FILE)}
    content = _with_modules(content, lambda schema: _renamed(schema, today))
    return skops.loads(content, trusted=[*TRUSTED_TYPES, *(_renamed(name, today) for name in found)])


def _loaded(path: Path, own: Mapping[str, Any], trust: Collection[str]) -> BaseHead:
    try:
        head = loaded_bytes(_with_modules(path.read_bytes(), _todays_names), own.get("files", {}), trust)
        known = {name: identity.get("code") for name, identity in own.get("identity", {}).items()}
        changed = [name for name, code in known.items() if own_identity([name])[name].get("code") != code]
    except (HeadError, DataError) as error:
        raise HeadFileError(f"{error} The head is in {path}.") from error
    except Exception as error:  # whatever a damaged archive makes the reader stumble over
        raise HeadFileError(
            f"Expected a saved head at {path}, got a file that cannot be read ({error}). Train the run again."
        ) from error
    if changed:
        raise HeadFileError(
            f"Expected {', '.join(changed)} as it was when {path} was written, got other code. Put the former code "
            "back, or train the run again."
        )
    if not isinstance(head, BaseHead):
        raise HeadFileError(f"Expected a head in {path}, got a {type(head).__name__}. Train the run again.")
    return head


def _own_in(path: Path) -> dict[str, Any]:
    """The classes of one's own of which a head's description says that it holds them."""
    try:
        own = json.loads(path.read_text(encoding="utf-8")).get("own", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return own if isinstance(own, dict) else {}


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


def _todays_names(schema: str) -> str:
    """A schema in which our classes have today's module names; most have them already."""
    return _FORMER_MODULE.sub(lambda found: f'"hamcache.heads.{MOVED.get(found[1], found[1])}"', schema)


def _renamed(text: str, modules: Mapping[str, str]) -> str:
    for former, today in modules.items():
        text = text.replace(former, today)
    return text


def _with_modules(content: bytes, rename: Callable[[str], str]) -> bytes:
    """A saved head in whose schema modules have other names."""
    with ZipFile(BytesIO(content)) as archive:
        schema = archive.read("schema.json").decode()
        renamed = rename(schema)
        if renamed == schema:
            return content
        target = BytesIO()
        with ZipFile(target, "w") as copy:
            for name in archive.namelist():
                copy.writestr(name, renamed if name == "schema.json" else archive.read(name))
    return target.getvalue()
