"""Fetch HAM10000 from Kaggle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data import ham10000
from data.errors import DataError
from data.table import ImageTable

SLUG = "kmader/skin-cancer-mnist-ham10000"
IMAGES = 10_015

CREDENTIALS = (
    "If Kaggle asks for an account: at kaggle.com, Settings, API, create a token; then put kaggle.json into ~/.kaggle/ "
    "or set KAGGLE_USERNAME and KAGGLE_KEY (or KAGGLE_API_TOKEN), and run the command again. Without any of it: "
    "`--dataset synthetic` needs no download, and any folder with HAM10000_metadata.csv and the images will do."
)


class DownloadError(DataError, OSError):
    """The data could not be fetched, or what was fetched is not whole."""


def download_ham10000(folder: Path) -> ImageTable:
    """Fetch and unpack HAM10000 (about 5.2 GB) into a folder, unless it is there; returns its image table.

    Raises:
        DownloadError: no credentials, no network, or not all images arrived; says what to do.
    """
    if is_complete(folder):
        return ham10000.read_table(folder)
    api = _kaggle_api()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        api.dataset_download_files(SLUG, path=str(folder), unzip=True, quiet=False)
    except (Exception, SystemExit) as error:
        raise DownloadError(f"Kaggle did not deliver {SLUG} ({error}). {CREDENTIALS}") from None
    if not is_complete(folder):
        raise DownloadError(
            f"Expected {IMAGES:,} images of HAM10000 in {folder}, but not all are there. "
            "Remove the folder and try again."
        )
    return ham10000.read_table(folder)


def is_complete(folder: Path) -> bool:
    """Whether a folder holds all of HAM10000: the metadata and a file for each of its images."""
    if not folder.is_dir() or ham10000.find_metadata(folder) is None:
        return False
    table = ham10000.read_table(folder)
    return len(table) == IMAGES and not table.missing_files()


def _kaggle_api() -> Any:
    """Kaggle's client, signed in. Importing it signs in, and may end the process when it can't: hence SystemExit."""
    try:
        import kaggle
    except (Exception, SystemExit) as error:
        detail = str(error).strip().splitlines()
        raise DownloadError(f"Kaggle refused to sign in ({detail[0] if detail else error!r}). {CREDENTIALS}") from None
    return kaggle.api
