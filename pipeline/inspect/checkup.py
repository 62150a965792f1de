"""A look at the machine, the network and a workspace: what hamcache finds there, and what to do about what is amiss."""

import os
import platform
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from hamcache.cache.catalogue import Catalogue
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.housekeeping import workspace_leftovers
from hamcache.pipeline.runs.records import RUNS, all_runs

GB = 1e9
LOW_MEMORY, LOW_DISK = 4 * GB, 5 * GB
PATIENCE = 3.0
"""Seconds to wait for a server."""
SERVERS = {"model hub": "https://huggingface.co", "Kaggle": "https://www.kaggle.com"}
EXTRAS = {
    "s3": "feature stores on s3://",
    "serve": "`hamcache serve`, a page to drop images on",
    "export": "`hamcache export`, runs as ONNX files",
    "open-clip": "backbones open_clip/NAME@TAG",
    "transformers": "backbones transformers/NAME",
    "umap": "maps of features by UMAP",
    "mlflow": "`hamcache runs export --to mlflow`",
    "notebooks": "the notebooks' kernel",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: Its name.
        found: What it is like.
        advice: What to do; empty where nothing need be done.
    """

    what: str
    found: str
    advice: str = ""


def look_around(workspace: Workspace, *, servers: bool = True) -> list[Finding]:
    """Everything, in the order of a screen; with `servers` also whether those of data and weights can be reached."""
    asked = [partial(_server, name, url) for name, url in SERVERS.items()] if servers else []
    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as threads:  # while the rest is looked at
        answers = [threads.submit(ask) for ask in asked]
        here = [
            _programs(),
            *_processor(),
            _gpu(),
            _memory(),
            _disk(workspace.path),
            *_stores(workspace),
            *_runs(workspace),
        ]
        return [*here, *(answer.result() for answer in answers), *map(_extra, EXTRAS)]


def _programs() -> Finding:
    from hamcache import __version__

    return Finding("hamcache", f"{__version__}, Python {platform.python_version()}, {sys.platform}")


def _processor() -> list[Finding]:
    """Cores, and whether bfloat16 is fast."""
    from hamcache.extract.precision import has_bf16  # imports torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    of = f" of {os.cpu_count()}" if usable != os.cpu_count() else ""
    fast = has_bf16()
    return [
        Finding("processor", f"{_processor_name()}, {usable}{of} cores"),
        Finding(
            "bfloat16", "fast here: --precision auto takes it" if fast else "slow here: --precision auto takes fp32"
        ),
    ]


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        about = torch.cuda.get_device_properties(0)
        count = torch.cuda.device_count()
        more = f", and {count - 1} more" if count > 1 else ""
        return Finding("GPU", f"{about.name}, {about.total_memory / GB:.0f} GB{more}")
    if shutil.which("nvidia-smi"):
        return Finding("GPU", "PyTorch uses none", "There is an NVIDIA driver: install a PyTorch build for its CUDA.")
    return Finding("GPU", "none: extraction uses the processor")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    advice = "Little is free: take fewer --workers." if memory.available < LOW_MEMORY else ""
    return Finding("memory", f"{memory.available / GB:.1f} of {memory.total / GB:.1f} GB free", advice)


def _disk(path: Path) -> Finding:
    place = path.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        return Finding("disk", f"{place} can't be written", "Choose another place with --workspace.")
    return Finding("disk", f"{free / GB:.1f} GB free at {place}", "Make room." if free < LOW_DISK else "")


def _stores(workspace: Workspace) -> list[Finding]:
    catalogue = Catalogue(workspace.features)
    broken, stores = catalogue.broken(), catalogue.stores()
    damaged = f", {len(broken)} that don't open" if broken else ""
    advice = "`hamcache cache ls` names them; `hamcache cache verify` reads every byte." if broken else ""
    found = [Finding("feature stores", f"{len(stores)}{damaged} in {workspace.features}", advice)]
    leftovers = [*catalogue.leftovers(), *workspace_leftovers(workspace)]
    if leftovers:
        size = sum(leftover.bytes for leftover in leftovers) / GB
        words = f"{len(leftovers)} of killed processes, {size:.2f} GB"
        found.append(Finding("leftovers", words, "`hamcache cache gc` frees it."))
    return found


def _runs(workspace: Workspace) -> list[Finding]:
    whole, folders = len(all_runs(workspace)), len(RUNS.folders(workspace))
    damaged = folders - whole
    advice = "`hamcache runs verify` names what is wrong." if damaged else ""
    return [Finding("runs", f"{whole}{f', {damaged} damaged' if damaged else ''}", advice)]


def _server(name: str, url: str) -> Finding:
    """The finding that a server answers, whatever it says, or none."""
    import requests

    advice = {
        "model hub": "Weights of timm can't be fetched: take tf_efficientnet_lite0, or --weights BACKBONE=FILE.",
        "Kaggle": "`hamcache download` can't fetch from there: `--source FILE` takes archives that you have.",
    }
    try:
        requests.head(url, timeout=PATIENCE, allow_redirects=False)
    except requests.RequestException as error:
        return Finding(name, f"{url} does not answer ({type(error).__name__})", advice[name])
    return Finding(name, f"{url} answers")


def _extra(name: str) -> Finding:
    """The finding that the packages of an extra are installed, or not."""
    missing = [package for package in _packages_of(name) if not _is_there(package)]
    if not missing:
        return Finding(f"extra {name}", "installed")
    return Finding(
        f"extra {name}", f"not here ({', '.join(missing)}): {EXTRAS[name]}", f"pip install 'hamcache[{name}]'"
    )


def _packages_of(extra: str) -> list[str]:
    """Names of the packages that an extra declares."""
    try:
        declared = requires("hamcache") or []
    except PackageNotFoundError:  # run from its sources
        return []
    of_extra = [line for line in declared if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in of_extra]


def _is_there(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True
