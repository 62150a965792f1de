"""HAM10000 from Kaggle, through Kaggle's own client (the package `kaggle`): it signs in and names the file's link.

The bytes are then fetched by `data.fetch.http`, with the request that the client made: a link that Kaggle gives is
valid for a while only, so the client is asked for one at each attempt.
"""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import requests

from hamcache.data.errors import CredentialsError, DownloadError
from hamcache.data.fetch.http import Http, RemoteFile

SLUG = "kmader/skin-cancer-mnist-ham10000"
PAGE = f"https://www.kaggle.com/datasets/{SLUG}"
OTHER_WAYS = (
    "Without Kaggle: `hamcache download --source dataverse` needs no account, `--source FILE` takes archives that you "
    "have, and every command takes `--dataset synthetic`."
)
_VARIABLES = {"username": "KAGGLE_USERNAME", "key": "KAGGLE_KEY"}


class Kaggle:
    """The one archive of the data set at Kaggle: metadata, both folders of images, and much that is not wanted."""

    def __init__(self) -> None:
        self._api: Any = None

    def files(self, http: Http) -> list[RemoteFile]:
        """The archive; its size and digest are told when it is fetched."""
        return [RemoteFile(name=f"{SLUG.split('/')[1]}.zip", locate=self._locate, advice=self._advice)]

    def _locate(self) -> requests.PreparedRequest:
        """The request that brings the archive: what Kaggle's client was redirected to, signed as it was signed."""
        self._api = self._api or sign_in()
        try:
            from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

            wanted = ApiDownloadDatasetRequest()
            wanted.owner_slug, wanted.dataset_slug = SLUG.split("/")
            with _undisturbed(), self._api.build_kaggle_client() as client:
                answer = client.datasets.dataset_api_client.download_dataset(wanted)
                answer.close()
        except requests.RequestException:
            raise
        except (Exception, SystemExit) as error:
            raise DownloadError(f"Kaggle's client failed ({type(error).__name__}: {error}). {OTHER_WAYS}") from None
        request: requests.PreparedRequest = answer.request.copy()
        return request

    def _advice(self, status: int) -> str:
        source, problem = find_credentials()
        if status == 401:
            from_where = f" from {source}" if source else ""
            why = problem or "they are wrong, or no longer valid"
            return f"Kaggle refused the credentials{from_where}: {why}.\n{_steps()}"
        if status == 403:
            return (
                f"Kaggle does not let this account (credentials from {source}) have the data set.\nSteps:\n"
                f"  1. Sign in at {PAGE} with the same account.\n"
                "  2. Press Download there, and confirm what Kaggle asks for (terms, a phone number).\n"
                f"  3. Run this command again, or give the file that came with --source FILE.\n{OTHER_WAYS}"
            )
        if status == 404:
            return f"Kaggle has no data set {SLUG} (see {PAGE}). {OTHER_WAYS}"
        return OTHER_WAYS


def sign_in() -> Any:
    """Kaggle's client, signed in.

    Raises:
        CredentialsError: there are no credentials, or only a part of them; says the steps to take.
        requests.RequestException: Kaggle could not be asked whether a token is valid.
    """
    try:
        with _undisturbed():
            # Importing it signs in, too, but keeps to itself why it could not; without credentials it ends the process.
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except requests.RequestException:
        raise
    except (Exception, SystemExit) as error:
        source, problem = find_credentials()
        if not problem and source:
            problem = f"Kaggle does not accept the credentials from {source}: they are wrong, or no longer valid"
        if not problem and not isinstance(error, SystemExit):
            problem = f"Kaggle's client failed ({type(error).__name__}: {error})"
        missing = (
            "There are no Kaggle credentials: neither KAGGLE_API_TOKEN nor KAGGLE_USERNAME and KAGGLE_KEY are set, "
            f"and there is no {_config()}"
        )
        raise CredentialsError(f"{problem or missing}.\n{_steps()}") from None
    return api


def find_credentials() -> tuple[str, str]:
    """The source of the credentials of Kaggle's client ("": none), and what is wrong with them as they stand."""
    if token := os.environ.get("KAGGLE_API_TOKEN", ""):
        empty = Path(token).is_file() and not Path(token).read_text(encoding="utf-8", errors="replace").strip()
        return "KAGGLE_API_TOKEN", f"KAGGLE_API_TOKEN names the file {token}, but that is empty" if empty else ""
    home = Path("~/.kaggle").expanduser()
    for token_file in (home / "access_token", home / "access_token.txt"):
        if token_file.is_file() and token_file.read_text(encoding="utf-8", errors="replace").strip():
            return str(token_file), ""

    values, problem = _read_config()
    where = dict.fromkeys(values, str(_config()))
    for field, variable in _VARIABLES.items():
        if variable in os.environ:  # the client takes it before the file, even where it is empty
            values[field], where[field] = os.environ[variable], variable
    there = [field for field in _VARIABLES if values.get(field)]
    if len(there) == len(_VARIABLES):
        return " and ".join(dict.fromkeys(where[field] for field in there)), ""
    if there and not problem:
        (lacking,) = set(_VARIABLES) - set(there)
        variable = _VARIABLES[lacking]
        problem = (
            f"Only a part of the Kaggle credentials is there: a {there[0]} (from {where[there[0]]}), but no {lacking}: "
            + (f"{variable} is empty" if variable in os.environ else f"it is neither in {variable} nor in {_config()}")
        )
    if not problem and (home / "credentials.json").is_file():
        return str(home / "credentials.json"), ""
    return "", problem


def _read_config() -> tuple[dict[str, str], str]:
    """The username and key in kaggle.json, and what is wrong with that file."""
    config = _config()
    if not config.is_file():
        return {}, ""
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"{config} cannot be read ({error.strerror})"
    except ValueError:
        return {}, f"{config} is not JSON, as Kaggle's file is"
    if not isinstance(values, dict) or not any(values.get(field) for field in _VARIABLES):
        return {}, f'{config}: expected {{"username": ..., "key": ...}}, but it holds neither'
    return {field: str(values.get(field) or "") for field in _VARIABLES}, ""


def _config() -> Path:
    """Path at which the client looks for kaggle.json."""
    if folder := os.environ.get("KAGGLE_CONFIG_DIR"):
        return Path(folder) / "kaggle.json"
    old = Path("~/.kaggle").expanduser()
    new = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()) / "kaggle"
    return (new if sys.platform.startswith("linux") and not old.exists() else old) / "kaggle.json"


def _steps() -> str:
    return (
        "Steps:\n"
        "  1. Sign in at https://www.kaggle.com/settings/api (an account is free).\n"
        "  2. Generate a token there, and set KAGGLE_API_TOKEN to it. Or create a legacy key, which comes as a file:\n"
        f"     put it at {_config()} (chmod 600), or set KAGGLE_USERNAME and KAGGLE_KEY to what it says.\n"
        f"  3. Run this command again.\n{OTHER_WAYS}"
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the client's own hints off the screen, and standard input open: `exit()`, which it calls, closes it."""
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        sys.stdin = stdin
