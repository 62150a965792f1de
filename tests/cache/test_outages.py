"""A remote root that is away for a while, for good, or that refuses."""

import logging
import threading
import uuid
from unittest import mock

import pytest
import requests
from s3fs import S3FileSystem

from hamcache.cache import outages
from hamcache.cache.errors import RootRefusedError, RootUnreachableError
from hamcache.cache.storage import Root
from tests.s3_server import CREDENTIALS


@pytest.fixture
def bucket(s3, monkeypatch) -> Root:
    """A root on S3 that has answered before."""
    monkeypatch.setattr(outages, "FIRST_PAUSE", 0.05)
    root = Root(f"s3://bucket/{uuid.uuid4().hex}")
    root.write(b"1", "set", "a.bin")
    return root


OPERATIONS = {
    "read": lambda root: root.read("set", "a.bin"),
    "read_end": lambda root: root.read_end(1, "set", "a.bin"),
    "read_with_stamp": lambda root: root.read_with_stamp("set", "a.bin"),
    "write": lambda root: root.write(b"2", "set", "b.bin"),
    "write_if": lambda root: root.write_if(b"2", "set", "c.bin", seen=None),
    "stamps": lambda root: root.stamps("set"),
    "files": lambda root: root.files("set"),
    "glob": lambda root: root.glob("*/*.bin"),
    "exists": lambda root: root.exists("set", "a.bin"),
    "remove": lambda root: root.remove("set", "a.bin"),
    "read_json": lambda root: root.read_json("set", "a.bin"),
    "write_json": lambda root: root.write_json([], "set", "d.json"),
}


def test_every_operation_outlasts_an_outage_and_says_so_once(s3, bucket, caplog):
    outcomes = {}
    with s3.away(0.3):
        threads = [
            threading.Thread(target=lambda n=name: outcomes.update({n: OPERATIONS[n](bucket)}))
            for name in OPERATIONS
            if name != "remove"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes["read"] == outcomes["read_end"] == b"1" and outcomes["exists"] and outcomes["write_if"]
    assert bucket.read("set", "b.bin") == bucket.read("set", "c.bin") == b"2"
    assert [r.getMessage()[:20] for r in caplog.records if "Waiting" in r.getMessage()] == ["Waiting for s3://buc"]


def test_an_outage_without_end_is_one_error_of_ours_for_every_operation(s3, bucket, monkeypatch):
    monkeypatch.setattr(outages, "LONGEST_OUTAGE", 0.1)
    s3.stop()
    try:
        for name, operation in OPERATIONS.items():
            with pytest.raises(RootUnreachableError, match="What was written is kept") as caught:
                operation(bucket)
            assert "\n" not in str(caught.value) and bucket.url in str(caught.value), name
    finally:
        s3.start()
    assert bucket.read("set", "a.bin") == b"1"


def test_a_root_that_never_answered_is_waited_for_a_shorter_time(s3, bucket, monkeypatch):
    monkeypatch.setattr(outages, "FIRST_CONTACT", 0.1)
    s3.stop()
    try:
        with pytest.raises(RootUnreachableError):
            Root("s3://bucket/never").read("a.bin")
    finally:
        s3.start()


def test_who_waits_for_a_root_gives_up_when_the_work_is_interrupted(s3, bucket):
    s3.stop()
    threading.Timer(0.2, outages.stopping.set).start()
    try:
        with pytest.raises(RootUnreachableError):
            bucket.read("set", "a.bin")
    finally:
        s3.start()
        outages.stopping.clear()


def test_a_missing_bucket_and_missing_rights_are_refused_at_once(s3, bucket, monkeypatch):
    monkeypatch.setattr(outages, "stopping", None)  # it would raise where it waits
    nowhere = Root("s3://no-such-bucket/features")
    for operation in OPERATIONS.values():
        with pytest.raises(RootRefusedError, match="Make the bucket first"):
            operation(nowhere)


def test_wrong_credentials_and_none_are_refused_at_once(s3, bucket, monkeypatch):
    monkeypatch.setattr(outages, "stopping", None)  # it would raise where it waits
    try:
        for given in (True, False):
            requests.post(f"{s3.url}/moto-api/reset-auth", "0")  # from now on, credentials are looked at
            if not given:
                for variable in CREDENTIALS:
                    monkeypatch.delenv(variable)
            S3FileSystem.clear_instance_cache()
            with pytest.raises(RootRefusedError, match="credentials") as caught:
                Root("s3://bucket/features").write(b"1", "a.bin")
            assert "\n" not in str(caught.value)
    finally:
        requests.post(f"{s3.url}/moto-api/reset-auth", "inf")
        S3FileSystem.clear_instance_cache()


def test_an_answer_is_passed_on_as_it_is(bucket):
    with pytest.raises(FileNotFoundError):
        bucket.read("no.bin")
    with pytest.raises(TypeError):  # a mistake of ours is no outage
        bucket._do(bucket.fs.info)


def test_a_lost_answer_to_a_conditional_write_is_no_conflict(bucket):
    """The first try is carried out, but its answer never comes; the second finds the file there."""
    put, tries = bucket.fs.pipe_file, []

    def lose_the_answer(*arguments, **options):
        outcome = put(*arguments, **options)
        tries.append(outcome)
        if len(tries) == 1:
            raise TimeoutError
        return outcome

    with mock.patch.object(bucket.fs, "pipe_file", lose_the_answer):
        assert bucket.write_if(b"new", "once.bin", seen=None)
    assert bucket.read("once.bin") == b"new"


def test_an_address_that_no_file_system_has_is_one_error():
    with pytest.raises(RootRefusedError, match="nosuch"):
        Root("nosuch://place")


def test_other_libraries_errors_are_told_apart(caplog):
    caplog.set_level(logging.CRITICAL)

    def error_of(name: str, base=Exception, **fields):
        return type(name, (base,), {"__module__": "elsewhere", **fields})("said")

    outage = [
        error_of("EndpointConnectionError", error_of("ConnectionError").__class__),
        error_of("ServerDisconnectedError", error_of("ClientConnectionError").__class__),
        error_of("HttpError", code=503),
        error_of("HttpError", code=429),
        ConnectionResetError(),
        TimeoutError(),
    ]
    assert [outages._may_pass("gs://x", error) for error in outage] == [True] * len(outage)
    refused = [
        error_of("NoCredentialsError"),
        error_of("SSLError", error_of("ConnectionError").__class__),
        error_of("HttpError", code=403),
        PermissionError("denied"),
        OSError(22, "Invalid"),
    ]
    for error in refused:
        with pytest.raises(RootRefusedError, match=r"gs://x"):
            outages._may_pass("gs://x", error)
    assert [outages._may_pass("gs://x", e) for e in (FileNotFoundError(), KeyError())] == [False, False]
