"""What keeps the house in order: arrows point down, nothing is pickled, modules stay small, everything is shipped."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("hamcache", "pipeline", "heads", "extract", "cache", "data", "configs")
LEVELS = [  # from the top: a room imports from those below it, never from its neighbours
    {"hamcache"},
    {"pipeline.cli"},
    {"pipeline.use"},
    {"pipeline.show"},
    {"pipeline.inspect"},
    {"pipeline.studies"},
    {"pipeline.evaluate", "pipeline.experiment"},
    {"pipeline.runs"},
    {"pipeline.config"},
    {"heads"},
    {"extract"},
    {"cache"},
    {"data"},
    {"configs", "pipeline.errors"},
]
LEVEL_OF = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
SHOWN_ELSEWHERE = ("cli", "show")
"""Rooms whose modules may be named like the thing that they show or offer (`cli/grid.py`, `show/plots/grid.py`)."""
NETWORKS = {"torch", "torchvision", "timm", "skorch"}
MOST_LINES = 400
STANDARD = sys.stdlib_module_names
MODULES = sorted(path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


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


def name_of(module: Path) -> str:
    """The dotted name of a module, without the package's: `pipeline.runs.records`, `hamcache.lab`."""
    return ".".join(module.with_suffix("").parts).removesuffix(".__init__")


def room_of(name: str) -> str:
    """The room of a dotted name: `pipeline.runs` for `pipeline.runs.records`, `heads` for `heads.nets.loop`."""
    return ".".join(name.split(".")[: 2 if name.startswith("pipeline.") else 1])


@cache
def ours() -> dict[str, set[str]]:
    """For each module by name, the modules of ours that it imports anywhere in its code."""
    names = {name_of(module) for module in MODULES}
    found: dict[str, set[str]] = {}
    for module in MODULES:
        reached = found.setdefault(name_of(module), set())
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Import):
                asked = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                asked = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            for name in asked:
                for short in (name, name.removeprefix("hamcache.")):
                    if name.startswith("hamcache.") and short in names and short != name_of(module):
                        reached.add(short)
    return found


def test_there_are_modules_to_look_at() -> None:
    assert {module.parts[0] for module in MODULES} == set(FOLDERS)


def test_every_module_is_in_a_room_that_has_a_level() -> None:
    rooms = {room_of(name_of(module)) for module in MODULES} - {"pipeline"}
    assert rooms == set(LEVEL_OF)


def test_arrows_point_down() -> None:
    wrong = [
        f"{source} imports {target}"
        for source, targets in ours().items()
        for target in targets
        if room_of(source) != room_of(target) and LEVEL_OF.get(room_of(target), 99) <= LEVEL_OF[room_of(source)]
    ]
    assert wrong == []


def test_no_circle_lazy_imports_counted() -> None:
    sorter = graphlib.TopologicalSorter(ours())
    sorter.prepare()  # raises CycleError, which names the circle


def test_no_two_modules_have_one_name_for_two_things() -> None:
    named: dict[str, list[str]] = {}
    for module in MODULES:
        if module.stem not in ("__init__", "errors") and not set(module.parts) & set(SHOWN_ELSEWHERE):
            named.setdefault(module.stem, []).append(str(module))
    packages = {module.parent.name for module in MODULES if module.parent.name not in SHOWN_ELSEWHERE}
    assert {name: places for name, places in named.items() if len(places) > 1} == {}
    twice = {name for name in set(named) & packages if Path(named[name][0]).parent.name != name}
    assert twice == set()


def test_only_the_command_line_prints_or_knows_typer() -> None:
    wrong = []
    for module in MODULES:
        if module.parts[:2] == ("pipeline", "cli"):
            continue
        wrong += [
            f"{module}:{line} imports {name}"
            for name, line in imports(tree(module))
            if name.split(".")[0] in ("typer", "click", "rich")
        ]
        wrong += [
            f"{module}:{node.lineno} prints"
            for node in ast.walk(tree(module))
            if isinstance(node, ast.Call) and called(node) in ("print", "pprint", "sys.stdout.write")
        ]
    assert wrong == []


def test_only_the_rooms_that_show_draw() -> None:
    wrong = [
        f"{module}:{line} imports {name}"
        for module in MODULES
        if module.parts[:2] not in (("pipeline", "cli"), ("pipeline", "show"))
        for name, line in imports(tree(module))
        if name.split(".")[0] == "matplotlib"
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
    light = {"__future__", "typer", "hamcache", "rich"}
    wrong = []
    for module in MODULES:
        if module.parts[:2] != ("pipeline", "cli"):
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


def test_image_files_are_opened_in_one_place() -> None:
    """Pillow would try every format, and other programs; a plain read hangs at a pipe and never ends at a device."""
    home = {Path("data/image_files.py")}
    modules = [*MODULES, *(path.relative_to(ROOT) for path in (ROOT / "benchmarks").rglob("*.py"))]
    elsewhere = [
        f"{module}:{node.lineno}"
        for module in set(modules) - home
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and opens_an_image(node)
    ]
    assert elsewhere == [], "use data.image_files or extract.decode"
    assert not [m for m in set(modules) - home if "from PIL.Image import" in (ROOT / m).read_text(encoding="utf-8")]


def opens_an_image(node: ast.Call) -> bool:
    """True for `Image.open(...)`, and for decoding the bytes of a file that was read by other means."""
    if called(node).split(".")[-2:] == ["Image", "open"]:
        return True
    inner = [part for part in ast.walk(node) if isinstance(part, ast.Attribute) and part.attr in ("read_bytes", "read")]
    return called(node).split(".")[-1] in ("decode_image", "open_image") and bool(inner)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("Image.open(path)", True),
        ("PIL.Image.open(path, formats=FORMATS)", True),
        ("decode_image(Path(path).read_bytes())", True),
        ("decode_image(image_bytes(path))", False),
        ("webbrowser.open(path)", False),
    ],
)
def test_opening_an_image_is_recognised(code: str, expected: bool) -> None:
    call = ast.parse(code).body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    assert opens_an_image(call.value) is expected


def test_modules_stay_small() -> None:
    lines = {str(module): len((ROOT / module).read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


def test_every_package_and_configuration_is_shipped() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packages = {".".join(module.parent.parts) for module in MODULES}
    assert sorted(settings["packages"]) == sorted(p if p == "hamcache" else f"hamcache.{p}" for p in packages)
    patterns = settings["package-data"]["hamcache.configs"]
    shipped = {path for pattern in patterns for path in (ROOT / "configs").glob(pattern)}
    assert shipped == {p for p in (ROOT / "configs").rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")}
    for package in packages:
        assert (ROOT / package.replace(".", "/") / "__init__.py").is_file(), package


def test_every_package_says_what_lives_there() -> None:
    silent = [str(m) for m in MODULES if m.name == "__init__.py" and not ast.get_docstring(tree(m))]
    assert silent == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(m) for m in MODULES if m.name != "__init__.py" and not ast.get_docstring(tree(m))]
    assert silent == []


QUESTIONS = {"What", "Which", "How", "Whether", "Where", "Who", "When", "Why"}
MOST_PARAMETERS = 8
HYPERPARAMETERS = {"MLPHead.__init__"}
"""scikit-learn's contract: every hyperparameter of a head is a parameter of its `__init__`."""


def documented(module: Path) -> Iterator[tuple[str, str]]:
    """The docstrings of a module and of all that it defines, with the place of each."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield f"{module}:{getattr(node, 'lineno', 1)}", text


def test_docstrings_begin_with_a_noun_phrase_or_an_imperative() -> None:
    wrong = [
        f"{place}: {text.splitlines()[0]}"
        for module in MODULES
        for place, text in documented(module)
        if re.split(r"\W", text)[0] in QUESTIONS
    ]
    assert wrong == []


def functions(node: ast.AST, within: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function below a node, named with the class or function it stands in."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{within}{child.name}", child
        name = f"{child.name}." if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else ""
        yield from functions(child, f"{within}{name}")


def test_long_parameter_lists_are_missing_nouns() -> None:
    """Commands are exempt: their parameters are the options that a user is offered."""
    wrong = []
    for module in MODULES:
        for name, function in functions(tree(module)):
            given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
            count = len([argument for argument in given if argument.arg not in ("self", "cls")])
            if module.parts[:2] != ("pipeline", "cli") and count > MOST_PARAMETERS and name not in HYPERPARAMETERS:
                wrong.append(f"{module}:{function.lineno} {name} takes {count}")
    assert wrong == []


def test_nothing_is_none_and_never_empty_text() -> None:
    wrong = []
    for module in MODULES:
        for name, function in functions(tree(module)):
            defaults = [*function.args.defaults, *filter(None, function.args.kw_defaults)]
            if any(isinstance(default, ast.Constant) and default.value == "" for default in defaults):
                wrong.append(f"{module}:{function.lineno} {name}")
    assert wrong == []


def test_no_file_names_a_machine() -> None:
    home = r"(?<![\w.}])/(?:work|home|root|Users|mnt)/\w"
    registry = r"https?://[\w.-]*(?:pypi|files\.pythonhosted|artifactory|nexus|registry|mirror)[\w.-]*|--index-url"
    wrong = []
    for path in tracked():
        if path.suffix in (".png", ".jpg", ".webp") or path == Path(__file__) or path.name == "LICENSE":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            wrong += [f"{path.relative_to(ROOT)}:{number}: {found}" for found in re.findall(f"{home}|{registry}", line)]
    assert wrong == []


def test_no_data_or_weights_are_tracked() -> None:
    big = [str(path.relative_to(ROOT)) for path in tracked() if path.stat().st_size > 1_000_000]
    kinds = {".pt", ".pth", ".safetensors", ".npy", ".npz", ".zip", ".pkl", ".joblib", ".skops", ".zarr"}
    assert big + [str(path.relative_to(ROOT)) for path in tracked() if path.suffix in kinds] == []
