"""The wheel holds one package with every module and configuration, and works from any folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("hamcache", "pipeline", "extract", "heads", "cache", "data", "configs")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources without network or installation."""
    source = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, "dist"], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_configuration(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT / "hamcache" if folder == "hamcache" else ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        held = [name for name in archive.namelist() if ".dist-info/" not in name]
        (entry,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "hamcache = hamcache.pipeline.cli.app:main" in archive.read(entry).decode()
    assert {name.partition("/")[0] for name in held} == {"hamcache"}  # no other top-level name is installed
    assert {name.removeprefix("hamcache/") for name in held} == expected


def test_what_the_wheel_holds_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    for name in FOLDERS[1:]:  # a user's own modules of such names break nothing
        (tmp_path / f"{name}.py").write_text("raise ImportError('a module of the user was imported')")
    code = (
        "import sys; sys.path[:0] = ['site', '.']\n"
        "import hamcache; hamcache.Lab, hamcache.__version__\n"
        "import hamcache.pipeline.config.schema as c; from hamcache.extract.augmentations import load_augmentations\n"
        f"assert c.__file__.startswith({str(tmp_path)!r}), c.__file__\n"
        "assert 'original' in load_augmentations()\n"
        "print(*[c.load_config(name).model_name for name in ('logreg', 'best_embedded', 'simple_cnn')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["logreg", "mlp", "simple_cnn"], done.stderr
