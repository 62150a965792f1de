"""Configurations that come with the package, by their names in one folder of `configs/`."""

from importlib import resources
from pathlib import Path

from hamcache.data.nearest import unknown_name
from hamcache.pipeline.errors import ConfigNotFoundError


def packaged_names(folder: str) -> list[str]:
    """Names of the packaged files in `configs/<folder>`, sorted."""
    entries = resources.files("hamcache.configs").joinpath(folder).iterdir()
    return sorted(entry.name.removesuffix(".yaml") for entry in entries if entry.name.endswith(".yaml"))


def find_packaged(path_or_name: str | Path, folder: str, kind: str) -> Path:
    """The file that a path or a packaged name stands for (`mlp`, `configs/sweeps/mlp.yaml`).

    Args:
        path_or_name: what the user gave.
        folder: in `configs/`, such as `sweeps`.
        kind: what the folder holds, in one word, for the error.

    Raises:
        ConfigNotFoundError: neither a file nor a name; offers the nearest name.
    """
    path = Path(path_or_name)
    if path.is_file():
        return path
    name = str(path_or_name).removeprefix("configs/").removeprefix(f"{folder}/").removesuffix(".yaml")
    names = packaged_names(folder)
    if name in names:
        return Path(str(resources.files("hamcache.configs"))) / folder / f"{name}.yaml"
    raise ConfigNotFoundError(f"{path_or_name}: no such file, and {unknown_name(f'packaged {kind}', name, names)}")
