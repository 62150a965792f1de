import base64
import hashlib
import json
import shutil
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import google_crc32c
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hamcache.data.errors import CredentialsError, DownloadError
from hamcache.data.fetch.checksums import Digest
from hamcache.data.fetch.http import Http, RemoteFile
from hamcache.data.fetch.retry import Patience

BODY = bytes(range(256)) * 40  # 10,240 bytes
MD5 = Digest("md5", hashlib.md5(BODY).hexdigest())


@pytest.fixture
def resource(server: Any, make_server: Any) -> Any:
    """The file at /file."""
    server.resources["/file"] = make_server["Resource"](BODY)
    return server.resources["/file"]


@pytest.fixture
def fault(make_server: Any) -> Any:
    return make_server["Fault"]


@pytest.fixture
def file(server: Any) -> RemoteFile:
    return RemoteFile("the.zip", lambda: requests.Request("GET", f"{server.url}/file").prepare(), lambda s: f"try {s}.")


def ranges(server: Any) -> list[str | None]:
    return [asked.headers.get("Range") for asked in server.of("/file")]


def nothing_left(folder: Path) -> bool:
    return list(folder.iterdir()) == []


def test_a_file_is_fetched_once(patient: Http, file: RemoteFile, resource: Any, server: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == [None]
    assert [path.name for path in tmp_path.iterdir()] == ["the.zip"]


def test_a_cut_download_goes_on_where_it_stopped(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path, notes: Any, waits: Any
) -> None:
    resource.faults = [fault(cut_after=4_000), fault(cut_after=2_000)]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == [None, "bytes=4000-", "bytes=6000-"]
    assert {asked.headers.get("If-Range") for asked in server.of("/file")[1:]} == {'"v1"'}
    until = monotonic() + 10  # the server notes what it has sent after it has sent it
    while sum(asked.sent for asked in server.of("/file")) < len(BODY) and monotonic() < until:
        sleep(0.01)
    assert sum(asked.sent for asked in server.of("/file")) == len(BODY)
    assert waits == [1, 1]  # each brought something, so the waits do not grow
    assert "4,000" in notes.said[0] or "4000" in notes.said[0]
    assert notes.bars["the.zip"][-1] == len(BODY)


def test_a_redirect_keeps_the_range(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    server.redirects["/here"] = f"{server.url}/file"
    moved = RemoteFile("the.zip", lambda: requests.Request("GET", f"{server.url}/here").prepare())
    resource.faults = [fault(cut_after=100)]
    assert patient.fetch(moved, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == [None, "bytes=100-"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(have=st.integers(1, len(BODY) - 1))
def test_whatever_has_come_the_rest_is_fetched_and_nothing_else(
    patient: Http, file: RemoteFile, resource: Any, server: Any, tmp_path: Path, have: int
) -> None:
    server.asked.clear()
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    (tmp_path / "the.zip.part").write_bytes(BODY[:have])
    (tmp_path / "the.zip.part.json").write_text(json.dumps({"tag": '"v1"', "size": len(BODY), "digest": None}))
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert [asked.sent for asked in server.of("/file")] == [len(BODY) - have]


@pytest.mark.parametrize("memory", [None, "{not json", '{"tag": 1, "other": 2}', '{"tag": null}'])
def test_a_part_of_unknown_origin_is_not_gone_on_with(
    patient: Http, file: RemoteFile, resource: Any, server: Any, tmp_path: Path, memory: str | None
) -> None:
    (tmp_path / "the.zip.part").write_bytes(b"of something else")
    if memory is not None:
        (tmp_path / "the.zip.part.json").write_text(memory)
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == [None]


def test_a_part_of_unknown_origin_is_gone_on_with_where_a_digest_will_tell(
    patient: Http, file: RemoteFile, resource: Any, server: Any, tmp_path: Path
) -> None:
    resource.etag = None
    known = RemoteFile(file.name, file.locate, size=len(BODY), digest=MD5)
    (tmp_path / "the.zip.part").write_bytes(BODY[:500])
    assert patient.fetch(known, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == ["bytes=500-"]


def test_a_server_that_ignores_ranges_sends_all_again(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    resource.ranges = False
    resource.faults = [fault(cut_after=9_000)]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert [asked.sent for asked in server.of("/file")] == [9_000, len(BODY)]


def test_a_server_that_ignores_ranges_and_cuts_each_time_is_given_up(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    resource.ranges = False
    resource.faults = [fault(cut_after=100) for _ in range(50)]
    with pytest.raises(DownloadError, match="gave up after 4 attempts"):
        patient.fetch(file, tmp_path / "the.zip")
    assert len(server.asked) == 4


@pytest.mark.parametrize("if_range", [True, False])
def test_a_file_that_changes_midway_is_fetched_from_its_start(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path, if_range: bool
) -> None:
    resource.if_range = if_range  # without: the server sends a part of the new file, its ETag beside it
    resource.faults = [fault(cut_after=3_000)]
    original = file.locate
    new = BODY[::-1]

    def locate() -> requests.PreparedRequest:
        if server.of("/file"):
            resource.body, resource.etag = new, '"v2"'
        return original()

    changing = RemoteFile("the.zip", locate)
    assert patient.fetch(changing, tmp_path / "the.zip").read_bytes() == new
    assert ranges(server) == ([None, "bytes=3000-"] if if_range else [None, "bytes=3000-", None])


def test_a_part_that_is_not_the_one_asked_for_is_not_used(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, tmp_path: Path
) -> None:
    wrong = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v1"'}
    resource.faults = [fault(cut_after=3_000), fault(206, wrong, BODY)]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


def test_a_weak_etag_is_no_condition(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    resource.etag = 'W/"v1"'
    resource.faults = [fault(cut_after=3_000)]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert ranges(server) == [None, None]


def test_a_date_is_a_condition_where_there_is_no_etag(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    resource.etag, resource.if_range, resource.headers = None, False, {"Last-Modified": date}
    resource.faults = [fault(cut_after=3_000)]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert server.of("/file")[1].headers["If-Range"] == date


@pytest.mark.parametrize("extra", [b"", b"too long"])
def test_a_part_without_a_rest_is_whole_or_begun_anew(
    patient: Http, file: RemoteFile, resource: Any, tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / "the.zip.part").write_bytes(BODY + extra)
    (tmp_path / "the.zip.part.json").write_text('{"tag": "\\"v1\\""}')
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


def test_a_file_of_unknown_length_is_fetched(patient: Http, file: RemoteFile, resource: Any, tmp_path: Path) -> None:
    resource.length = False
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again_after_ever_longer_waits(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, waits: Any, notes: Any, tmp_path: Path, status: int
) -> None:
    resource.faults = [fault(status)] * 3
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
    assert waits == [1, 2, 4]
    assert f"the server answered {status}" in notes.said[0]


@pytest.mark.parametrize(("asked", "at_least"), [("17", 17), ("Fri, 31 Dec 2010 23:59:59 GMT", 1), ("soon", 1)])
def test_a_server_that_says_when_to_come_back_is_obeyed(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, waits: Any, tmp_path: Path, asked: str, at_least: int
) -> None:
    resource.faults = [fault(429, {"Retry-After": asked})]
    patient.fetch(file, tmp_path / "the.zip")
    assert waits == [at_least]


def test_a_date_to_come_back_at_is_understood(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, waits: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        "hamcache.data.fetch.retry.time.time", lambda: 1_445_412_480.0 - 90
    )  # that date, less 90 seconds
    resource.faults = [fault(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})]
    patient.fetch(file, tmp_path / "the.zip")
    assert waits == [90]


def test_a_server_that_asks_to_come_back_tomorrow_is_not_waited_for(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, waits: Any, tmp_path: Path
) -> None:
    resource.faults = [fault(cut_after=50), fault(429, {"Retry-After": "86400"})]
    with pytest.raises(DownloadError, match="come back in 1440 minutes"):
        patient.fetch(file, tmp_path / "the.zip")
    assert (tmp_path / "the.zip.part").read_bytes() == BODY[:50]


def test_a_server_that_stays_broken_is_given_up_and_what_has_come_is_kept(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, waits: Any, tmp_path: Path
) -> None:
    resource.faults = [fault(cut_after=50), *[fault(500)] * 4]
    with pytest.raises(DownloadError, match=r"gave up after 4 attempts.*500.*the same command goes on"):
        patient.fetch(file, tmp_path / "the.zip")
    assert waits == [1, 2, 4]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


def test_every_bit_of_progress_starts_the_count_anew(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, tmp_path: Path
) -> None:
    resource.faults = [f for _ in range(10) for f in (fault(cut_after=1_000), fault(500), fault(500))]
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_refusal_is_final_and_says_what_to_do(
    patient: Http, file: RemoteFile, resource: Any, server: Any, fault: Any, tmp_path: Path, status: int
) -> None:
    resource.faults = [fault(status)]
    with pytest.raises(CredentialsError if status == 401 else DownloadError, match=rf"{status}.*try {status}\."):
        patient.fetch(file, tmp_path / "the.zip")
    assert len(server.asked) == 1
    assert nothing_left(tmp_path)


def test_no_error_names_the_link_which_may_hold_a_signature(
    patient: Http, resource: Any, server: Any, fault: Any, tmp_path: Path
) -> None:
    resource.faults = [fault(403)]
    signed = RemoteFile("the.zip", lambda: requests.Request("GET", f"{server.url}/file?signature=abc").prepare())
    with pytest.raises(DownloadError) as caught:
        patient.fetch(signed, tmp_path / "the.zip")
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://127.0.0.1:9/file", r"127\.0\.0\.1 cannot be reached \(Connection refused\)"),
        ("http://nobody.invalid/file", r"the name nobody\.invalid cannot be looked up \(is this machine connected"),
    ],
)
def test_a_server_that_is_not_there_is_given_up_in_seconds_and_a_clear_word_said(
    patience: Patience, notes: Any, tmp_path: Path, waits: Any, address: str, reason: str
) -> None:
    nowhere = RemoteFile("the.zip", lambda: requests.Request("GET", address).prepare(), lambda s: f"try {s}.")
    with pytest.raises(DownloadError, match=rf"gave up after 3 attempts in a row; {reason}(.|\n)*\ntry 0\.$") as caught:
        Http(patience, notes).fetch(nowhere, tmp_path / "the.zip")
    assert waits == [1, 2] and len(notes.said) == 2
    said = " ".join([str(caught.value), *notes.said])
    assert not any(word in said for word in ("Pool", "Error(", "object at"))
    assert nothing_left(tmp_path)


def test_a_connection_that_is_lost_midway_is_waited_for(
    patience: Patience, file: RemoteFile, resource: Any, fault: Any, tmp_path: Path, waits: Any
) -> None:
    resource.faults = [fault(cut_after=50)]
    addresses = iter([None, *["http://127.0.0.1:9/file"] * 2, None])

    def locate() -> requests.PreparedRequest:
        address = next(addresses)
        return file.locate() if address is None else requests.Request("GET", address).prepare()

    assert Http(patience).fetch(RemoteFile("the.zip", locate), tmp_path / "the.zip").read_bytes() == BODY
    assert waits == [1, 2, 4]


def test_redirects_without_an_end_are_not_tried_again(patient: Http, server: Any, tmp_path: Path) -> None:
    server.redirects["/file"] = f"{server.url}/file"
    endless = RemoteFile("the.zip", lambda: requests.Request("GET", f"{server.url}/file").prepare())
    with pytest.raises(DownloadError, match="30 redirects"):
        patient.fetch(endless, tmp_path / "the.zip")
    assert len(server.asked) == 31


@pytest.mark.parametrize("name", ["md5", "crc32c", "sha256", "Content-MD5"])
@pytest.mark.parametrize("right", [True, False])
def test_a_wrong_digest_leaves_nothing_that_could_pass_for_good(
    patient: Http, file: RemoteFile, resource: Any, tmp_path: Path, name: str, right: bool
) -> None:
    content = BODY if right else BODY + b"!"
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    crc32c = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
    told = {"md5": {"x-goog-hash": f"crc32c=AAAAAA==, md5={md5}"}, "Content-MD5": {"Content-MD5": md5}}
    resource.headers = told.get(name, {"x-goog-hash": f"crc32c={crc32c}"} if name == "crc32c" else {})
    if name == "sha256":
        file = RemoteFile(file.name, file.locate, digest=Digest("sha256", hashlib.sha256(content).hexdigest()))
    if right:
        assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY
        return
    with pytest.raises(DownloadError, match=r"what came has .* has been removed: run the command again"):
        patient.fetch(file, tmp_path / "the.zip")
    assert nothing_left(tmp_path)


def test_a_digest_that_was_told_at_the_start_is_checked_at_the_end(
    patient: Http, file: RemoteFile, resource: Any, fault: Any, tmp_path: Path, server: Any
) -> None:
    resource.headers = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
    resource.faults = [fault(cut_after=50)]
    with pytest.raises(DownloadError, match="md5"):
        patient.fetch(file, tmp_path / "the.zip")
    assert len(server.asked) == 2


def test_a_server_with_a_file_of_another_size_is_refused(
    patient: Http, file: RemoteFile, resource: Any, tmp_path: Path
) -> None:
    with pytest.raises(DownloadError, match="expected 9 bytes, but the server offers 10,240"):
        patient.fetch(RemoteFile(file.name, file.locate, size=9), tmp_path / "the.zip")
    assert nothing_left(tmp_path)


def test_a_full_disk_is_noticed_before_anything_is_written(
    patient: Http, file: RemoteFile, resource: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("hamcache.data.fetch.disk_space.shutil.disk_usage", lambda _: SimpleNamespace(free=100_005_000))
    with pytest.raises(DownloadError, match=rf"the\.zip: 100 MB are needed in {tmp_path}, but only 100 MB are free"):
        patient.fetch(file, tmp_path / "the.zip")
    (tmp_path / "the.zip.part").write_bytes(BODY[:6_000])  # what has come already needs no room
    (tmp_path / "the.zip.part.json").write_text('{"tag": "\\"v1\\""}')
    assert patient.fetch(file, tmp_path / "the.zip").read_bytes() == BODY


def test_json_is_fetched_as_patiently(patient: Http, server: Any, make_server: Any, fault: Any, waits: Any) -> None:
    faults = [fault(503), fault(202, body=b"<html>")]
    server.resources["/list"] = make_server["Resource"](b'{"a": 1}', faults=faults)
    assert patient.json(f"{server.url}/list", "the list") == {"a": 1}
    assert waits == [1, 2]
    with pytest.raises(DownloadError, match=r"^the list: the server answered 404 .*ask somebody"):
        patient.json(f"{server.url}/other", "the list", lambda status: "ask somebody")
