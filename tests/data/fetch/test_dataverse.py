import json
from pathlib import Path
from typing import Any

import pytest

from hamcache.data.errors import DownloadError
from hamcache.data.fetch.dataverse import DOI, Dataverse
from hamcache.data.fetch.download import download_ham10000
from hamcache.data.fetch.http import Http
from hamcache.data.fetch.retry import Patience

PARTS = ("/store/3172585", "/store/3172584")


@pytest.fixture
def fault(make_server: Any) -> Any:
    return make_server["Fault"]


@pytest.fixture
def download(dataverse: str, tiny: Any, tmp_path: Path, patience: Patience, notes: Any) -> Any:
    """A function that downloads the tiny data set to `tmp_path`/data and returns the folder."""

    def run(**options: Any) -> Path:
        folder = tmp_path / "data"
        place = Dataverse(dataverse)
        download_ham10000(folder, place, images=tiny.images, patience=patience, report=notes, **options)
        return folder

    return run


def test_the_data_set_comes_without_an_account(download: Any, tiny: Any, server: Any) -> None:
    tiny.assert_is(download())
    (asked,) = server.of("/api/datasets/:persistentId/")
    assert asked.query["persistentId"] == [DOI]
    (metadata,) = server.of("/api/access/datafile/4338392")
    assert metadata.query["format"] == ["original"]
    assert all("Authorization" not in asked.headers for asked in server.asked)


def test_the_catalogue_gives_sizes_and_digests_but_not_of_a_converted_table(patient: Http, dataverse: str) -> None:
    metadata, *parts = Dataverse(dataverse).files(patient)
    assert metadata.name == "HAM10000_metadata.csv" and metadata.size is None and metadata.digest is None
    assert [part.name for part in parts] == ["HAM10000_images_part_1.zip", "HAM10000_images_part_2.zip"]
    assert all(part.size and part.digest and part.digest.algorithm == "md5" for part in parts)


def test_a_part_that_was_unpacked_is_not_fetched_again(
    download: Any, tiny: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    server.resources[PARTS[1]].faults = [fault(cut_after=2_000), *[fault(500)] * 3]  # four failures in a row
    with pytest.raises(DownloadError, match="gave up"):
        download()
    assert len(list(tmp_path.rglob("*_part_1/*.jpg"))) == 10
    assert not (tmp_path / "data" / "HAM10000_metadata.csv").exists()  # it is no data set yet
    server.asked.clear()
    tiny.assert_is(download())
    assert server.of(PARTS[0]) == []
    assert [asked.headers["Range"] for asked in server.of(PARTS[1])] == ["bytes=2000-"]


def test_a_wrong_digest_is_an_error_and_nothing_is_unpacked(
    download: Any, tiny: Any, server: Any, tmp_path: Path
) -> None:
    resource = server.resources[PARTS[0]]
    right, resource.body = resource.body, resource.body[:-100] + bytes(100)
    with pytest.raises(DownloadError, match=r"part_1\.zip: expected md5 .* run the command again"):
        download()
    assert not list(tmp_path.rglob("*.jpg")) and not list(tmp_path.rglob("*.zip*"))
    resource.body = right
    tiny.assert_is(download())


def test_the_disk_must_have_room_for_all_that_is_to_come(download: Any, server: Any, monkeypatch: Any) -> None:
    from types import SimpleNamespace

    largest = max(len(server.resources[part].body) for part in PARTS)
    monkeypatch.setattr(
        "hamcache.data.fetch.disk_space.shutil.disk_usage", lambda _: SimpleNamespace(free=100_000_000 + largest + 100)
    )
    with pytest.raises(DownloadError, match="the download: 100 MB are needed"):
        download()
    assert server.of(PARTS[0]) == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_says_how_to_go_on_by_hand(download: Any, server: Any, fault: Any, status: int) -> None:
    server.resources[PARTS[0]].faults = [fault(status)]
    by_hand = r"by hand from https://doi\.org/10\.7910/DVN/DBW86T and give them with --source FILE FILE FILE"
    with pytest.raises(DownloadError, match=rf"part_1\.zip: the server answered {status}.*{by_hand}"):
        download()


@pytest.mark.parametrize("catalogue", [{}, {"data": None}, {"data": {"latestVersion": {"files": [{}]}}}, []])
def test_a_catalogue_of_another_kind_is_refused(download: Any, server: Any, catalogue: Any) -> None:
    server.resources["/api/datasets/:persistentId/"].body = json.dumps(catalogue).encode()
    with pytest.raises(DownloadError, match="expected a list of files"):
        download()


def test_a_file_that_is_no_longer_listed_is_named(download: Any, server: Any) -> None:
    resource = server.resources["/api/datasets/:persistentId/"]
    resource.body = resource.body.replace(b"3172584", b"1")
    with pytest.raises(DownloadError, match=r"no longer lists HAM10000_images_part_2\.zip under doi"):
        download()


def test_metadata_that_is_none_is_not_kept(download: Any, tiny: Any, server: Any) -> None:
    resource = server.resources["/store/4338392"]
    right, resource.body = resource.body, b"<html>"
    with pytest.raises(ValueError, match="only a header"):
        download()
    resource.body = right
    tiny.assert_is(download())
