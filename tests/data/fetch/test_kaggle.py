"""Through Kaggle's real client, which is sent to a server on this machine by its own settings."""

import hashlib
import json
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from hamcache.data.errors import CredentialsError, DownloadError
from hamcache.data.fetch.download import download_ham10000
from hamcache.data.fetch.kaggle import Kaggle, find_credentials
from hamcache.data.fetch.retry import Patience


@pytest.fixture
def fault(make_server: Any) -> Any:
    return make_server["Fault"]


@pytest.fixture
def download(tiny: Any, tmp_path: Path, patience: Patience, notes: Any) -> Any:
    """A function that downloads the tiny data set to `tmp_path`/data and returns the folder."""

    def run(**options: Any) -> Path:
        folder = tmp_path / "data"
        download_ham10000(folder, "kaggle", images=tiny.images, patience=patience, report=notes, **options)
        return folder

    return run


def gets(server: Any) -> list[tuple[str, str | None]]:
    """The signature and the range of each request for the archive's bytes by ours; the client looked before each."""
    asked = server.of("/bucket/archive.zip")[1::2]
    return [(asked.query["signature"][0], asked.headers.get("Range")) for asked in asked]


def test_the_data_set_comes_through_kaggles_client(kaggle: Any, download: Any, tiny: Any, server: Any) -> None:
    tiny.assert_is(download())
    first, second = server.of(kaggle.API)
    assert "Authorization" not in first.headers and second.headers["Authorization"].startswith("Basic ")
    assert gets(server) == [("1", None)]


def test_public_data_comes_without_an_account_and_no_credentials_are_sent(
    kaggle: Any, download: Any, tiny: Any, server: Any
) -> None:
    kaggle.anonymous = True
    tiny.assert_is(download())
    (asked,) = server.of(kaggle.API)
    assert "Authorization" not in asked.headers


def test_without_an_account_nothing_is_looked_for_on_this_machine(
    kaggle_environment: Path, kaggle: Any, download: Any, tiny: Any, monkeypatch: Any
) -> None:
    kaggle.anonymous = True
    monkeypatch.setattr("hamcache.data.fetch.kaggle.find_credentials", lambda: pytest.fail("looked for credentials"))
    tiny.assert_is(download())


def test_a_second_call_asks_nobody(kaggle: Any, download: Any, server: Any, notes: Any) -> None:
    folder = download()
    server.asked.clear()
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    download()
    assert server.asked == []
    assert notes.said[-1].startswith("Nothing to do: all 20 images")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == stamps


@pytest.mark.parametrize("cuts", [(5_000,), (1_000, 2_000, 3_000)])
def test_each_attempt_asks_kaggle_for_a_fresh_link(
    kaggle: Any, download: Any, tiny: Any, server: Any, fault: Any, cuts: tuple[int, ...]
) -> None:
    for cut in cuts:
        kaggle.file.faults += [fault(), fault(cut_after=cut)]  # the client's look at the answer, then our request
    tiny.assert_is(download())
    starts = [None, *(f"bytes={sum(cuts[: n + 1])}-" for n in range(len(cuts)))]
    assert gets(server) == [(str(n + 1), start) for n, start in enumerate(starts)]


def test_the_archive_may_come_from_kaggle_itself_without_a_redirect(
    kaggle: Any, download: Any, tiny: Any, server: Any
) -> None:
    body = kaggle.file.body
    del server.routes[kaggle.API]
    server.resources[kaggle.API] = type(kaggle.file)(body)
    tiny.assert_is(download())
    assert {asked.method for asked in server.of(kaggle.API)} == {"POST"}


def test_a_wrong_digest_is_an_error_and_nothing_is_unpacked(
    kaggle: Any, download: Any, tmp_path: Path, tiny: Any
) -> None:
    kaggle.file.headers["x-goog-hash"] = f"md5={b64encode(hashlib.md5(b'other').digest()).decode()}"
    with pytest.raises(DownloadError, match=r"md5 .* but what came has .* run the command again"):
        download()
    assert not (tmp_path / "data").exists()
    kaggle.file.headers["x-goog-hash"] = f"md5={b64encode(hashlib.md5(kaggle.file.body).digest()).decode()}"
    tiny.assert_is(download())


def test_what_is_no_archive_is_not_kept(kaggle: Any, download: Any, tiny: Any) -> None:
    body, kaggle.file.body = kaggle.file.body, b"<html>Please sign in to this network</html>"
    with pytest.raises(DownloadError, match="expected a zip archive"):
        download()
    kaggle.file.body, kaggle.file.etag = body, '"v2"'
    tiny.assert_is(download())


def test_an_archive_with_too_few_images_says_so_and_is_fetched_anew(kaggle: Any, download: Any, tiny: Any) -> None:
    body = kaggle.file.body
    lost = tiny.image_ids()[3]
    kaggle.file.body = body.replace(lost.encode(), b"ISIC_9999999")
    with pytest.raises(DownloadError, match=rf"1 of 20 images did not come: {lost}\. Run the command again"):
        download()
    kaggle.file.body = body
    tiny.assert_is(download())


def test_the_archive_is_kept_on_demand(kaggle: Any, download: Any, notes: Any) -> None:
    folder = download(keep_archives=True)
    kept = folder / ".download" / "skin-cancer-mnist-ham10000.zip"
    assert kept.read_bytes() == kaggle.file.body
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]
    assert notes.said == [f"kept: {kept}"]


def test_kaggles_json_is_used(
    kaggle: Any, download: Any, tiny: Any, kaggle_environment: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    monkeypatch.delenv("KAGGLE_KEY")
    (kaggle_environment / "kaggle.json").write_text(json.dumps({"username": "ada", "key": "secret"}))
    assert find_credentials()[:2] == (str(kaggle_environment / "kaggle.json"), "")
    tiny.assert_is(download())


def test_half_in_the_file_and_half_in_the_environment_is_whole(
    kaggle: Any, download: Any, tiny: Any, kaggle_environment: Path, monkeypatch: Any
) -> None:
    monkeypatch.delenv("KAGGLE_USERNAME")
    (kaggle_environment / "kaggle.json").write_text(json.dumps({"username": "ada"}))
    assert find_credentials()[:2] == (f"{kaggle_environment / 'kaggle.json'} and KAGGLE_KEY", "")
    tiny.assert_is(download())


@pytest.mark.parametrize("in_file", [True, False])
def test_a_token_is_used(
    kaggle: Any, download: Any, tiny: Any, server: Any, tmp_path: Path, monkeypatch: Any, in_file: bool
) -> None:
    token = "token-of-ada"
    if in_file:
        (tmp_path / "token").write_text(f"{token}\n")
        token = str(tmp_path / "token")
    monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    tiny.assert_is(download())
    assert server.of(kaggle.API)[1].headers["Authorization"] == "Bearer token-of-ada"


STEPS = (
    r"Steps:\n  1\. Sign in at https://www\.kaggle\.com/settings/api(.|\n)*"
    r"KAGGLE_USERNAME and KAGGLE_KEY(.|\n)*--source"
)


@pytest.mark.parametrize(
    ("environment", "file", "message"),
    [
        ({}, None, r"there are no Kaggle credentials: .* there is no {config}"),
        (
            {"KAGGLE_USERNAME": "ada"},
            None,
            r"a username \(from KAGGLE_USERNAME\), but no key: .* neither in KAGGLE_KEY",
        ),
        ({"KAGGLE_KEY": "s3cr3t"}, None, r"a key \(from KAGGLE_KEY\), but no username"),
        ({"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": ""}, None, "KAGGLE_KEY is empty"),
        ({}, '{"username": "ada"}', r"a username \(from {config}\), but no key"),
        ({}, "{not json", "{config} is not JSON"),
        ({}, "{}", r"{config}: expected .*username.* but it holds neither"),
        ({}, "[1]", r"{config}: expected .*username.* but it holds neither"),
        ({"KAGGLE_API_TOKEN": "s3cr3t"}, None, "401.*refused the credentials from KAGGLE_API_TOKEN"),
        ({"KAGGLE_USERNAME": "ada", "KAGGLE_KEY": "s3cr3t"}, None, "401.*refused the credentials from KAGGLE_USERNAME"),
        ({}, '{"username": "ada", "key": "s3cr3t"}', "401.*refused the credentials from {config}"),
    ],
)
def test_each_lack_of_credentials_says_what_it_is_and_the_steps_to_take(
    kaggle: Any,
    download: Any,
    server: Any,
    kaggle_environment: Path,
    monkeypatch: Any,
    tmp_path: Path,
    capfd: Any,
    environment: dict[str, str],
    file: str | None,
    message: str,
) -> None:
    for name in ("KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if file is not None:
        (kaggle_environment / "kaggle.json").write_text(file)
    expected = message.replace("{config}", str(kaggle_environment / "kaggle.json").replace(".", r"\."))
    with pytest.raises(CredentialsError, match=rf"{expected}(.|\n)*{STEPS}") as caught:
        download()
    assert isinstance(caught.value, PermissionError)
    assert "s3cr3t" not in str(caught.value)
    assert server.of("/bucket/archive.zip") == []
    assert not sys.stdin.closed
    assert capfd.readouterr().out == ""  # nor did the client print its own hints


def test_a_client_that_cannot_be_imported_is_no_stack_trace(
    kaggle_environment: Path, download: Any, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, "kagglesdk.kaggle_client", None)
    with pytest.raises(DownloadError, match=r"Kaggle's client failed \(ModuleNotFoundError"):
        download()


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, r"does not let this account \(credentials from KAGGLE_USERNAME and KAGGLE_KEY\)(.|\n)*Press Download"),
        (404, "Kaggle has no data set kmader/skin-cancer-mnist-ham10000"),
        (400, "hamcache download --source dataverse"),
    ],
)
def test_a_refusal_says_what_to_do(kaggle: Any, download: Any, fault: Any, status: int, message: str) -> None:
    kaggle.failures = [fault(status)] * 2  # without credentials, and with them
    with pytest.raises(DownloadError, match=rf"answered {status}(.|\n)*{message}"):
        download()


def test_a_failure_inside_an_answer_of_success_is_seen(kaggle: Any, download: Any, fault: Any) -> None:
    body = b'{"code": 403, "message": "You must verify your phone number"}'
    kaggle.failures = [fault(200, {"Content-Type": "application/json"}, body)] * 2
    with pytest.raises(DownloadError, match=r"answered 403 \(You must verify your phone number\)"):
        download()


def test_a_busy_kaggle_is_asked_again(kaggle: Any, download: Any, fault: Any, tiny: Any, waits: list[float]) -> None:
    kaggle.failures = [fault(429, {"Retry-After": "30"}), fault(500), fault(503)]
    tiny.assert_is(download())
    assert waits == [30, 2, 4]


def test_a_kaggle_that_is_not_there_is_given_up(kaggle_environment: Path, download: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "ada")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match=r"gave up after 3 attempts(.|\n)*--source dataverse` needs no account"):
        download()


def test_the_home_folder_is_left_alone(kaggle: Any, download: Any, tmp_path: Path) -> None:
    download()
    assert not (tmp_path / "home").exists()


def test_kaggles_archive_is_described_without_asking(patient: Any) -> None:
    (file,) = Kaggle().files(patient)
    assert file.name == "skin-cancer-mnist-ham10000.zip" and file.size is None
