"""HAM10000 from Kaggle, through Kaggle's own client (the package `kagglesdk`), which names the file's link.

Public data needs no account: the client asks without credentials first, and signs in where Kaggle says so. The bytes
are then fetched by `data.fetch.http`, with the request that the client made: a link that Kaggle gives is valid for a
while only, so the client is asked for one at each attempt.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import requests

from hamcache.data.errors import CredentialsError, DownloadError
from hamcache.data.fetch.http import Http, RemoteFile
from hamcache.data.fetch.retry import status_of

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
        self._login: Login | None = None  # until Kaggle asks for one

    def files(self, http: Http) -> list[RemoteFile]:
        """The archive; its size and digest are told when it is fetched."""
        return [RemoteFile(name=f"{SLUG.split('/')[1]}.zip", locate=self._locate, advice=self._advice)]

    def _locate(self) -> requests.PreparedRequest:
        """The request that brings the archive: what Kaggle's client was redirected to, signed as it was signed."""
        try:
            try:
                return _ask(self._login)
            except requests.HTTPError as error:
                if self._login is not None or status_of(error) not in (401, 403):
                    raise
            self._login = sign_in()
            return _ask(self._login)
        except (requests.RequestException, CredentialsError):
            raise
        except Exception as error:
            raise DownloadError(f"Kaggle's client failed ({type(error).__name__}: {error}). {OTHER_WAYS}") from None

    def _advice(self, status: int) -> str:
        source, problem = self._login.source if self._login else "", find_credentials().problem
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


class Login(NamedTuple):
    """Credentials for Kaggle as they stand on this machine.

    source: where they come from; "" where there are none.
    problem: what is wrong with them, in words; "" for nothing.
    values: what Kaggle's client takes: username and password, or api_token.
    """

    source: str = ""
    problem: str = ""
    values: Mapping[str, str] = {}


def sign_in() -> Login:
    """The credentials to sign in with.

    Raises:
        CredentialsError: there are none, or only a part of them; says the steps to take.
        requests.RequestException: Kaggle could not be asked to renew a token.
    """
    login = find_credentials()
    if login.values:
        return login
    if login.source and not login.problem:  # of a browser: a token that is renewed
        from kagglesdk.kaggle_client import KaggleClient
        from kagglesdk.kaggle_creds import KaggleCredentials

        stored = KaggleCredentials.load(KaggleClient())
        if stored is not None and (token := stored.get_access_token()):
            return login._replace(values={"api_token": token})
        login = login._replace(problem=f"Kaggle does not accept the credentials from {login.source}")
    missing = (
        "Kaggle asks for an account, but there are no Kaggle credentials: neither KAGGLE_API_TOKEN nor KAGGLE_USERNAME "
        f"and KAGGLE_KEY are set, and there is no {_config()}"
    )
    raise CredentialsError(f"{login.problem or missing}.\n{_steps()}")


def find_credentials() -> Login:
    """The credentials on this machine, in the order in which Kaggle's programs look for them."""
    if token := os.environ.get("KAGGLE_API_TOKEN", ""):
        if Path(token).is_file():
            text = _stripped(Path(token))
            problem = "" if text else f"KAGGLE_API_TOKEN names the file {token}, but that is empty"
            return Login("KAGGLE_API_TOKEN", problem, {"api_token": text} if text else {})
        return Login("KAGGLE_API_TOKEN", values={"api_token": token})
    home = Path("~/.kaggle").expanduser()
    for token_file in (home / "access_token", home / "access_token.txt"):
        if token_file.is_file() and (text := _stripped(token_file)):
            return Login(str(token_file), values={"api_token": text})

    values, problem = _read_config()
    where = dict.fromkeys(values, str(_config()))
    for field, variable in _VARIABLES.items():
        if variable in os.environ:  # they are taken before the file, even where they are empty
            values[field], where[field] = os.environ[variable], variable
    there = [field for field in _VARIABLES if values.get(field)]
    if len(there) == len(_VARIABLES):
        source = " and ".join(dict.fromkeys(where[field] for field in there))
        return Login(source, values={"username": values["username"], "password": values["key"]})
    if there and not problem:
        (lacking,) = set(_VARIABLES) - set(there)
        variable = _VARIABLES[lacking]
        problem = (
            f"Only a part of the Kaggle credentials is there: a {there[0]} (from {where[there[0]]}), but no {lacking}: "
            + (f"{variable} is empty" if variable in os.environ else f"it is neither in {variable} nor in {_config()}")
        )
    if not problem and (home / "credentials.json").is_file():
        return Login(str(home / "credentials.json"))
    return Login(problem=problem)


def _ask(login: Login | None) -> requests.PreparedRequest:
    """Ask Kaggle for the archive and hang up: the request that its answer came from."""
    from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest
    from kagglesdk.kaggle_client import KaggleClient

    wanted = ApiDownloadDatasetRequest()
    wanted.owner_slug, wanted.dataset_slug = SLUG.split("/")
    client = KaggleClient(**(login.values if login else {}))
    if login is None:
        client.http_client()._signed_in = False  # else it looks for credentials by itself
    with client:
        answer = client.datasets.dataset_api_client.download_dataset(wanted)
        answer.close()
    request: requests.PreparedRequest = answer.request.copy()
    return request


def _stripped(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip()


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
