"""Fixtures for all tests: a small HAM10000 made on the spot, and the real one where there is a copy."""

import csv
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from hamcache.data import ham10000
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from tests.s3_server import S3Server

settings.register_profile("hamcache", deadline=None)  # machines are shared: no test may depend on the clock
settings.register_profile("stress", deadline=None)  # see tests/fuzz: many more examples, others at each run
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "hamcache"))

LESIONS = {"akiec": 6, "bcc": 6, "bkl": 7, "df": 5, "mel": 7, "nv": 15, "vasc": 5}
COLOURS = {
    "akiec": (190, 120, 110),
    "bcc": (210, 150, 150),
    "bkl": (150, 110, 70),
    "df": (170, 130, 120),
    "mel": (60, 45, 50),
    "nv": (120, 75, 50),
    "vasc": (170, 30, 50),
}


def write_ham10000(
    folder: Path, lesions: Mapping[str, int] = LESIONS, seed: int = 0, size: tuple[int, int] = (40, 30)
) -> Path:
    """Writes a small data set in HAM10000's Kaggle layout and returns its folder.

    Lesions have 1, 1, 1, 2, 3 images in turn; each class has its colour (with noise), so a head can learn it; image ids
    are in no order of class or lesion; one age is not known.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for label, count in lesions.items():
        for number in range(count):
            lesion = f"HAM_{label}_{number:03d}"
            rows += [[lesion, "", label, "histo", "45.0", "male", "back"] for _ in range((1, 1, 1, 2, 3)[number % 5])]
    for number, row in zip(rng.permutation(len(rows)), rows, strict=True):
        row[1] = f"ISIC_{number:07d}"
    rows[0][4] = ""

    parts = [folder / f"HAM10000_images_part_{part}" for part in (1, 2)]
    for part in parts:
        part.mkdir(parents=True, exist_ok=True)
    for position, (_, image_id, label, *_) in enumerate(rows):
        pixels = rng.normal(COLOURS[label], 12, (size[1], size[0], 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(parts[position % 2] / f"{image_id}.jpg", quality=90)
    with (folder / ham10000.METADATA).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"])
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def make_ham10000() -> Callable[..., Path]:
    """The function `write_ham10000(folder, lesions=..., seed=0, size=(40, 30)) -> folder`."""
    return write_ham10000


@pytest.fixture
def ham10000_folder(tmp_path: Path) -> Path:
    """A small HAM10000 (78 images of 51 lesions, 40x30 pixels) of this test's own, free to be damaged."""
    return write_ham10000(tmp_path / "ham10000")


@pytest.fixture
def ham10000_table(ham10000_folder: Path) -> ImageTable:
    """The image table of `ham10000_folder`."""
    return ham10000.read_table(ham10000_folder)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are written and replaced as ever, but nothing waits until the disk has them: no test cuts the power."""
    with mock.patch("os.fsync", lambda descriptor: None):
        yield


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty workspace of this test's own."""
    folder = tmp_path / "workspace"
    folder.mkdir()
    return Workspace(folder)


@pytest.fixture(scope="session")
def s3_of_this_session() -> Iterator[S3Server]:
    """One S3 server for all tests; ask for `s3`."""
    server = S3Server()
    with mock.patch.dict(os.environ, server.environment):
        server.make_bucket()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_of_this_session: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An S3 server with the bucket `bucket`, which this test's process and those that it starts can reach."""
    for name, value in s3_of_this_session.environment.items():
        monkeypatch.setenv(name, value)
    return s3_of_this_session


@pytest.fixture(scope="session")
def real_ham10000() -> Path:
    """The folder of the real HAM10000, downscaled; skips the test where there is no copy."""
    beside = Path(__file__).parents[2] / "shared" / "ham10000-200x150"
    folder = Path(os.environ.get("HAMCACHE_HAM10000") or beside)
    if not (folder / ham10000.METADATA).is_file():
        pytest.skip(f"no real HAM10000 at {folder}: set HAMCACHE_HAM10000 to its folder")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, that of the system; skips the test where there is none, except where CI has installed one."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        (pytest.fail if os.environ.get("HAMCACHE_NEEDS_CHROMIUM") else pytest.skip)("no Chromium is installed")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a fresh browser; an error in a script of the page fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
