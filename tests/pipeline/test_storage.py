"""Bytes are stored and read whole, on disks and in buckets, or there is one clear error."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import connection, storage
from pipeline.config import UserError
from pipeline.connection import RETRIES, Retries
from tests.pipeline import buckets
from tests.pipeline.buckets import Answer, Bucket, drop, fail, flip, hang_up, lose_answer, truncate

ROOT = f"gs://{buckets.NAME}"
NOW = Retries(num_tries=4, sleep=lambda wait_s: None)
# aiohttp says so of every body above 1 MiB, and gcsfs gives it bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


def intact(pass_on: Callable[[], Answer]) -> Answer:
    return pass_on()


@pytest.fixture(scope="module")
def server() -> Iterator[Bucket]:
    with buckets.serving_bucket() as bucket:
        yield bucket


@pytest.fixture
def bucket(server: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    server.reset()
    return server


@pytest.fixture(params=["folder", "bucket", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "bucket":
        request.getfixturevalue("bucket")
        return f"{ROOT}/some data"
    return str(tmp_path / "some data") if request.param == "folder" else "memory://some data"


def random_bytes(num: int) -> bytes:
    return random.Random(num).randbytes(num)


def test_what_a_location_is() -> None:
    assert storage.is_remote("gs://bucket/folder")
    assert not storage.is_remote("data/gs:/x")
    assert storage.join("gs://bucket/", "a b", "c.arrow") == "gs://bucket/a b/c.arrow"
    assert storage.join("/", "a") == "/a"
    assert storage.join("", "a", "b") == "a/b"


def test_files_come_and_go(root: str) -> None:
    storage.remove(root)
    assert storage.list_names(root) == []
    place = storage.join(root, "cat", "part.json")
    assert storage.size_bytes(place) is None
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(place)
    storage.write_bytes(b"first", place)
    storage.write_bytes(b"second", place)
    storage.write_bytes(b"", storage.join(root, "b"))
    storage.write_bytes(b"dog", storage.join(root, "cats", "x"))
    assert storage.read_bytes(place) == b"second"
    assert storage.size_bytes(place) == 6
    assert storage.size_bytes(storage.join(root, "cat")) is None
    assert storage.read_bytes(storage.join(root, "b")) == b""
    assert storage.list_names(root) == ["b", "cat", "cats"]
    assert storage.list_names(storage.join(root, "cat")) == ["part.json"]
    assert storage.read_range(place, 2, 5) == b"con"
    with pytest.raises(UserError, match=r"part.json: "):
        storage.read_range(place, 2, 7, retries=NOW)
    for _ in range(2):
        storage.remove(storage.join(root, "cat"))
    storage.remove(storage.join(root, "b"))
    assert storage.list_names(root) == ["cats"]
    assert storage.read_bytes(storage.join(root, "cats", "x")) == b"dog"


@pytest.mark.parametrize("num_bytes", [0, 1, 100_000, 6 << 20])
def test_a_file_is_uploaded_whole(bucket: Bucket, tmp_path: Path, num_bytes: int) -> None:
    (tmp_path / "file").write_bytes(random_bytes(num_bytes))
    storage.put(tmp_path / "file", f"{ROOT}/hot air balloon/train-00000.arrow", retries=NOW)
    assert bucket.content("hot air balloon/train-00000.arrow") == random_bytes(num_bytes)


def test_uploads_are_right_in_the_end(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "UPLOAD_BYTES", 2 << 20)  # four requests, and one to begin with
    (tmp_path / "file").write_bytes(random_bytes(7 << 20))
    for faults in ([fail(503), hang_up, fail(429)], [intact, intact, hang_up, intact, lose_answer]):
        bucket.writes = list(faults)
        storage.put(tmp_path / "file", f"{ROOT}/x", retries=NOW)
        assert not bucket.writes
        assert bucket.content("x") == random_bytes(7 << 20)
        storage.remove(f"{ROOT}/x")
    bucket.writes = [fail(500), lose_answer, hang_up]
    storage.write_bytes(b"content", f"{ROOT}/y", retries=NOW)
    assert bucket.content("y") == b"content"
    bucket.removals = [lose_answer, fail(503)]
    storage.remove(f"{ROOT}/y", retries=NOW)
    assert storage.list_names(ROOT) == []


def test_an_upload_that_fails_leaves_nothing(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "UPLOAD_BYTES", 2 << 20)
    (tmp_path / "file").write_bytes(random_bytes(7 << 20))
    bucket.writes = [intact, *[fail(503)] * 20]
    with pytest.raises(
        UserError, match=rf"cannot write {ROOT}/x: .*check the address, the network"
    ):
        storage.put(tmp_path / "file", f"{ROOT}/x", retries=NOW)
    assert storage.size_bytes(f"{ROOT}/x") is None


def test_reads_are_right_in_the_end(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    content = random_bytes(1_000_000)
    storage.write_bytes(content, f"{ROOT}/x")
    monkeypatch.setattr(connection, "FETCH_BYTES", 200_000)
    bucket.reads = [fail(503), drop, truncate, hang_up, fail(429), truncate, drop]
    assert storage.read_bytes(f"{ROOT}/x", retries=NOW) == content
    bucket.reads = [truncate, fail(500), drop]
    assert storage.read_range(f"{ROOT}/x", 1000, 600_000, retries=NOW) == content[1000:600_000]
    assert not bucket.reads


def test_a_file_that_arrives_damaged_is_an_error(bucket: Bucket) -> None:
    storage.write_bytes(b"content", f"{ROOT}/x")
    bucket.reads = [flip]
    with pytest.raises(UserError, match=r"its crc32c is \S+ here, \S+ there"):
        storage.read_bytes(f"{ROOT}/x")


@pytest.mark.parametrize(("status", "num_tries"), [(500, 4), (429, 4), (401, 1), (403, 1)])
def test_what_cannot_pass_is_an_error_at_once(bucket: Bucket, status: int, num_tries: int) -> None:
    storage.write_bytes(b"content", f"{ROOT}/x")
    num_before = len(bucket.downloads())
    bucket.reads = [fail(status)] * 9
    with pytest.raises(UserError, match=f"cannot read {ROOT}/x: .*run the same command again"):
        storage.read_range(f"{ROOT}/x", 0, 7, retries=NOW)
    assert len(bucket.downloads()) - num_before == num_tries
    bucket.writes = [fail(status)] * 9
    with pytest.raises(UserError, match=f"cannot write {ROOT}/x"):
        storage.write_bytes(b"", f"{ROOT}/x", retries=NOW)
    assert 9 - len(bucket.writes) == num_tries


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    assert storage.list_names("gs://nowhere/x") == []
    with pytest.raises(UserError, match="cannot write gs://nowhere/x"):
        storage.write_bytes(b"", "gs://nowhere/x")


def test_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(UserError, match=r"no credentials to enter gs://x/y .*gcloud auth"):
        storage.read_bytes("gs://x/y")


def test_a_path_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=f"cannot read {tmp_path}: IsADirectoryError.*check the path"
    ):
        storage.read_bytes(str(tmp_path))


def test_waits_double_and_are_bounded() -> None:
    waits: list[float] = []
    retries = Retries(first_wait_s=1.0, longest_wait_s=8.0, sleep=waits.append)
    for num_failures in range(1, 8):
        retries.wait(num_failures)
    for wait, bound in zip(waits, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0], strict=True):
        assert bound / 2 <= wait <= bound
    assert RETRIES.num_tries > 3
