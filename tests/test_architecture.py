"""What keeps the house in order: arrows point down, nothing is pickled, modules stay small, everything is shipped."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "data": set(),
    "cache": set(),
    "extract": {"cache", "data"},
    "heads": {"extract", "data"},
    "pipeline": {"heads", "extract", "cache", "data"},
    "configs": set(),
}
NETWORKS = {"torch", "torchvision", "timm", "skorch"}
MOST_LINES = 400
STANDARD = sys.stdlib_module_names
MODULES = sorted(path.relative_to(ROOT) for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


@cache
def tree(module: Path) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imports(parsed: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported module by its full name, with its line: at the top, inside functions, by name or relative."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield ("." * node.level or "") + (node.module or ""), node.lineno
        elif isinstance(node, ast.Call) and called(node).split(".")[-1] in ("import_module", "__import__"):
            for argument in node.args[:1]:
                yield argument.value if isinstance(argument, ast.Constant) else "?", node.lineno


def called(node: ast.Call) -> str:
    """`torch.load` for `torch.load(...)`; empty for a call of something without a name."""
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    return ".".join([function.id, *reversed(parts)]) if isinstance(function, ast.Name) else ""


def tracked() -> list[Path]:
    """Files that git tracks (or all, where there is no repository)."""
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository: nothing says which files are part of the project")
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def test_there_are_modules_to_look_at() -> None:
    assert {module.parts[0] for module in MODULES} == set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_dependencies_point_down(package: str) -> None:
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package}
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        if module.parts[0] == package
        for name, line in imports(tree(module))
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_imports_are_seen_wherever_they_stand() -> None:
    code = "import a.b\ndef f():\n    from c.d import e\n    if x: importlib.import_module('g')\nfrom . import h"
    assert {name for name, _ in imports(ast.parse(code))} == {"a.b", "c.d", "g", "."}


def test_the_cache_and_the_data_know_no_networks() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        if module.parts[0] in ("cache", "data")
        for name, line in imports(tree(module))
        if name.split(".")[0] in NETWORKS
    ]
    assert wrong == []


def test_imports_are_absolute() -> None:
    assert [f"{m}:{line}" for m in MODULES for name, line in imports(tree(m)) if name.startswith(".")] == []


def test_commands_import_heavy_libraries_only_when_they_run() -> None:
    light = {"__future__", "typer", "pipeline", "rich"}
    wrong = []
    for module in MODULES:
        if module.parts[:2] != ("pipeline", "commands"):
            continue
        for node in tree(module).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            top = {name.split(".")[0] for name in names}
            wrong += [f"{module}:{node.lineno}" for name in top if name not in light | STANDARD]
    assert wrong == []


def test_nothing_is_pickled() -> None:
    wrong = []
    for module in MODULES:
        wrong += [
            f"{module}:{line} imports {name}"
            for name, line in imports(tree(module))
            if name.split(".")[0] in ("pickle", "cloudpickle", "dill", "shelve", "marshal")
        ]
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Call) and pickles(node):
                wrong.append(f"{module}:{node.lineno} calls {called(node)}")
    assert wrong == []


def pickles(node: ast.Call) -> bool:
    """Whether a call writes or trusts a pickle."""
    name = called(node)
    given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    if name == "torch.load":
        return given.get("weights_only") is not True
    if name in ("numpy.load", "np.load"):
        return given.get("allow_pickle", False) is not False
    return name in ("torch.save", "joblib.dump", "joblib.load") or name.endswith((".to_pickle", ".read_pickle"))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("joblib.dump(x, f)", True),
        ("np.load(f)", False),
        ("np.load(f, allow_pickle=True)", True),
        ("frame.to_pickle(f)", True),
        ("json.dump(x, f)", False),
    ],
)
def test_pickles_are_recognised(code: str, expected: bool) -> None:
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    assert pickles(statement.value) is expected


def test_modules_stay_small() -> None:
    lines = {str(module): len((ROOT / module).read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


def test_every_package_and_configuration_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert sorted(settings["packages"]) == sorted({".".join(module.parent.parts) for module in MODULES})
    patterns = settings["package-data"]["configs"]
    shipped = {path for pattern in patterns for path in (ROOT / "configs").glob(pattern)}
    assert shipped == {p for p in (ROOT / "configs").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    for package in settings["packages"]:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file(), package


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(m) for m in MODULES if m.name != "__init__.py" and not ast.get_docstring(tree(m))]
    assert silent == []


def test_no_file_names_a_machine() -> None:
    home = r"(?<![\w.}])/(?:work|home|root|Users|mnt)/\w"
    registry = r"https?://[\w.-]*(?:pypi|files\.pythonhosted|artifactory|nexus|registry|mirror)[\w.-]*|--index-url"
    wrong = []
    for path in tracked():
        if path.suffix in (".png", ".jpg") or path == Path(__file__) or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            wrong += [f"{path.relative_to(ROOT)}:{number}: {found}" for found in re.findall(f"{home}|{registry}", line)]
    assert wrong == []


def test_no_data_or_weights_are_tracked() -> None:
    big = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1_000_000]
    kinds = {".pt", ".pth", ".safetensors", ".npy", ".npz", ".zip", ".pkl", ".joblib", ".skops", ".zarr"}
    assert big + [str(path.relative_to(ROOT)) for path in tracked() if path.suffix in kinds] == []
