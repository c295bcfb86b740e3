"""Files come in whole, whatever the connection does, or there is one clear error."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import pickle
import random
import socket
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from pipeline import connection
from pipeline.config import UserError
from pipeline.ingest import files
from pipeline.ingest.files import (
    File,
    Retries,
    list_files,
    list_folders,
    read_blocks,
    read_lines_between,
)

BUCKET = "drawings"
NOW = Retries(num_tries=4, sleep=lambda wait_s: None)
Fault = Callable[[BaseHTTPRequestHandler, bytes], bytes | None]


@pytest.fixture
def lines() -> bytes:
    rng = random.Random(0)
    return b"".join(rng.randbytes(rng.randrange(90)).hex().encode() + b"\n" for _ in range(9000))


def list_one(root: str | Path, endpoint_url: str = "") -> File:
    (file,) = list_files(str(root), endpoint_url, "full", [".ndjson", ".gz"], retries=NOW)
    return file


def write(root: Path, content: bytes, name: str = "cat.ndjson") -> File:
    path = root / "full" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return list_one(root)


def test_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, b"1\n")
    (tmp_path / "full" / "notes.txt").write_text("no")
    (tmp_path / "full" / "folder.ndjson").mkdir()
    monkeypatch.chdir(tmp_path.parent)
    file = list_one(tmp_path.name)
    assert (file.path, file.size_bytes) == ("full/cat.ndjson", 2)
    assert file.uri == f"{tmp_path.name}/full/cat.ndjson"
    monkeypatch.chdir("/")
    assert b"".join(read_blocks(pickle.loads(pickle.dumps(file)))) == b"1\n"
    assert list_files(str(tmp_path), "", "nowhere", [".ndjson"]) == []
    assert list_one(tmp_path).identity == list_one(tmp_path).identity


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sun", "hot air balloon", "ant", ".git"):
        (tmp_path / "drawings" / name).mkdir(parents=True)
        (tmp_path / "drawings" / name / "0.svg").touch()
    (tmp_path / "drawings" / "moon").touch()
    assert list_folders(f"{tmp_path}/drawings/", "") == ["ant", "hot air balloon", "sun"]
    assert list_folders(f"{tmp_path}/drawings/ant", "") == []
    assert list_folders(f"{tmp_path}/nowhere", "") == []
    monkeypatch.chdir(tmp_path)
    assert list_folders("drawings", "") == ["ant", "hot air balloon", "sun"]


def test_a_local_file_and_its_parts(tmp_path: Path, lines: bytes) -> None:
    file = write(tmp_path, lines)
    blocks = list(read_blocks(file))
    assert b"".join(blocks) == lines
    assert max(map(len, blocks)) == files.BLOCK_BYTES
    assert b"".join(read_blocks(file, 1000, 5000)) == lines[1000:5000]
    assert b"".join(read_blocks(file, len(lines) - 7)) == lines[-7:]
    assert list(read_blocks(write(tmp_path, b""))) == []


@pytest.mark.parametrize("content", [b"ab\ncd\n\ne\nfgh", b"\n\nab\n", b"abc", b"a\n", b"\n"])
def test_each_line_belongs_to_the_range_where_it_begins(tmp_path: Path, content: bytes) -> None:
    file = write(tmp_path, content)
    begins = [0, *(i + 1 for i, byte in enumerate(content[:-1]) if byte == ord("\n"))]
    whole_lines = dict(zip(begins, content.splitlines(keepends=True), strict=True))
    for start in range(len(content) + 2):
        for stop in range(start, len(content) + 2):
            expected = b"".join(v for k, v in whole_lines.items() if start <= k < stop)
            assert b"".join(read_lines_between(file, start, stop)) == expected, (start, stop)


def test_ranges_add_up_to_the_file(
    tmp_path: Path, lines: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FETCH_BYTES", 1000)
    monkeypatch.setattr(files, "LEAST_FETCH_BYTES", 7)
    monkeypatch.setattr(files, "BLOCK_BYTES", 100)
    content = lines[:50_000]
    file = write(tmp_path, content)
    bounds = [0, *sorted(random.Random(1).sample(range(len(content)), 30)), len(content)]
    parts = [b"".join(read_lines_between(file, start, stop)) for start, stop in pairwise(bounds)]
    assert b"".join(parts) == content
    # The content is cut within a line, and only what ends the file may lack a line end.
    *inner, _ = [part for part in parts if part]
    assert all(part.endswith(b"\n") for part in inner)


def test_gzip_of_several_members(tmp_path: Path, lines: bytes) -> None:
    data = gzip.compress(lines[:1000]) + gzip.compress(b"") + gzip.compress(lines[1000:])
    file = write(tmp_path, data + bytes(600_000), "cat.ndjson.gz")
    assert b"".join(read_blocks(file)) == lines
    assert b"".join(read_lines_between(file, 0, file.size_bytes)) == lines
    with pytest.raises(ValueError, match="only be read as a whole"):
        list(read_lines_between(file, 0, 5))


def test_gzip_gives_small_blocks(tmp_path: Path) -> None:
    blocks = list(read_blocks(write(tmp_path, gzip.compress(bytes(9 << 20)), "cat.ndjson.gz")))
    assert sum(map(len, blocks)) == 9 << 20
    assert max(map(len, blocks)) <= files.BLOCK_BYTES


@pytest.mark.parametrize("size", [0, 5, 900, -1])
def test_truncated_gzip_is_an_error(tmp_path: Path, lines: bytes, size: int) -> None:
    file = write(tmp_path, gzip.compress(lines)[:size], "cat.ndjson.gz")
    with pytest.raises(UserError, match=r"cat\.ndjson\.gz ends within its gzip data"):
        list(read_blocks(file))


def test_what_is_not_gzip_is_an_error(tmp_path: Path, lines: bytes) -> None:
    with pytest.raises(UserError, match=r"cat\.ndjson\.gz is not valid gzip"):
        list(read_blocks(write(tmp_path, lines, "cat.ndjson.gz")))


def test_a_file_that_changes_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, b"12345\n")
    os.utime(tmp_path / file.path, (1, 1))
    with pytest.raises(UserError, match="changed while it was read: it had 6 bytes"):
        list(read_blocks(file))
    write(tmp_path, b"123")
    with pytest.raises(UserError, match="gave 3 bytes instead of 6: it changed"):
        list(read_blocks(file, retries=NOW))
    (tmp_path / file.path).unlink()
    with pytest.raises(UserError, match=r"cat\.ndjson at byte 0 of 6, tried 1 time"):
        list(read_blocks(file))


def test_checksums(tmp_path: Path, lines: bytes) -> None:
    digest = b64encode(hashlib.md5(lines).digest()).decode()
    file = replace(write(tmp_path, lines), checksum=f"md5:{digest}")
    assert b"".join(read_blocks(file)) == lines
    with pytest.raises(UserError, match=r"arrived damaged: its md5 is \S+, the store has AAAA"):
        list(read_blocks(replace(file, checksum="md5:AAAA")))


def test_waits_double_and_are_bounded() -> None:
    waits: list[float] = []
    retries = Retries(first_wait_s=1.0, longest_wait_s=8.0, sleep=waits.append)
    for num_failures in range(1, 8):
        retries.wait(num_failures)
    for wait, bound in zip(waits, [1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0], strict=True):
        assert bound / 2 <= wait <= bound


class Proxy:
    """Passes requests on to a storage server, and spoils some of the answers with content."""

    def __init__(self, target: str) -> None:
        self.faults: list[Fault] = []
        self.last_fault: Fault | None = None
        self.ranges: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                request = urllib.request.Request(target + self.path)
                if "Range" in self.headers:
                    request.add_header("Range", self.headers["Range"])
                try:
                    with urllib.request.urlopen(request) as response:
                        status, body = response.status, response.read()
                except HTTPError as error:
                    status, body = error.code, error.read()
                    error.close()
                if "Range" in self.headers:
                    proxy.ranges.append(self.headers["Range"])
                    fault = proxy.faults.pop(0) if proxy.faults else proxy.last_fault
                    if fault is not None:
                        spoiled = fault(self, body)
                        if spoiled is None:
                            self.close_connection = True
                            return
                        body = spoiled
                self.answer(status, body)

            def answer(self, status: int, body: bytes, num_promised: int = 0) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(num_promised or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.ERROR)
    emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    emulator.start()
    proxy = Proxy(f"http://127.0.0.1:{port}")
    proxy.target = f"http://127.0.0.1:{port}"  # type: ignore[attr-defined]
    yield proxy
    proxy.stop()
    emulator.stop()


def upload(proxy: Proxy, content: bytes) -> File:
    name = quote("full/hot air balloon.ndjson", safe="")
    url = f"{proxy.target}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"  # type: ignore[attr-defined]
    request = urllib.request.Request(url, data=content, method="POST")
    request.add_header("Content-Type", "application/x-ndjson")
    with urllib.request.urlopen(request) as response:
        assert response.status == 200
    return list_one(f"gs://{BUCKET}", proxy.url)


def fail(status: int) -> Fault:
    def fault(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        handler.answer(status, b"not now")  # type: ignore[attr-defined]

    return fault


def drop(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.answer(206, body[: len(body) // 2], len(body))  # type: ignore[attr-defined]


def hang_up(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    pass


def truncate(handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
    return body[: max(1, len(body) // 3)]


def empty(handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
    return b""


def stall(handler: BaseHTTPRequestHandler, body: bytes) -> bytes:
    time.sleep(0.05)
    return body


def test_bytes_are_right_in_the_end(
    proxy: Proxy, lines: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "FETCH_BYTES", 200_000)
    file = upload(proxy, lines)
    assert file.checksum.startswith("crc32c:")
    proxy.faults = [fail(503), drop, truncate, stall, hang_up, empty, fail(429), truncate, drop]
    waits: list[float] = []
    assert b"".join(read_blocks(file, retries=replace(NOW, sleep=waits.append))) == lines
    assert not proxy.faults
    # Where a connection ends without an answer, aiohttp itself asks again, once and at once.
    assert len(waits) == 5
    assert len(proxy.ranges) - len(set(proxy.ranges)) == 1
    # What came of a body that was cut short is not asked for again.
    num_bytes = connection.LEAST_FETCH_BYTES // 3
    firsts = [int(each.removeprefix("bytes=").split("-")[0]) for each in proxy.ranges]
    assert firsts == sorted(firsts)
    assert firsts[:4] == [0, 0, 0, num_bytes]

    proxy.faults = [drop, truncate]
    middle = b"".join(read_lines_between(file, 100_000, 300_000, retries=NOW))
    assert middle in lines
    assert 199_800 < len(middle) < 200_200


def test_a_connection_that_always_breaks_late_still_gets_through(
    proxy: Proxy, lines: bytes
) -> None:
    def drop_large(handler: BaseHTTPRequestHandler, body: bytes) -> bytes | None:
        return body if len(body) <= 1 << 17 else drop(handler, body)  # type: ignore[func-returns-value]

    file = upload(proxy, lines)
    proxy.last_fault = drop_large
    assert b"".join(read_blocks(file, retries=replace(NOW, num_tries=7))) == lines


@pytest.mark.parametrize(
    ("fault", "num_tries", "says"),
    [(fail(500), 4, "500"), (drop, 4, "ClientPayloadError"), (fail(401), 1, "401")],
)
def test_permanent_failure_is_one_error(
    proxy: Proxy, lines: bytes, fault: Fault, num_tries: int, says: str
) -> None:
    file = upload(proxy, lines)
    proxy.last_fault = fault
    said = rf"cannot read gs://{BUCKET}/full/hot air balloon.ndjson at byte 0 of {len(lines)}"
    with pytest.raises(UserError, match=rf"{said}, tried {num_tries} time\(s\): .*{says}"):
        list(read_blocks(file, retries=NOW))
    assert len(proxy.ranges) == num_tries


def test_damage_is_noticed(proxy: Proxy, lines: bytes) -> None:
    file = upload(proxy, lines)
    proxy.last_fault = lambda handler, body: b"x" + body[1:]
    with pytest.raises(UserError, match="arrived damaged: its crc32c is"):
        list(read_blocks(file, retries=NOW))


def test_folders_of_a_bucket(proxy: Proxy) -> None:
    upload(proxy, b"1\n")
    assert list_folders(f"gs://{BUCKET}", proxy.url, retries=NOW) == ["full"]
    assert list_folders(f"gs://{BUCKET}/full", proxy.url, retries=NOW) == []


def test_a_server_that_is_not_there_is_one_error(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(UserError, match=r"cannot read the folder gs://drawings/full: \w+: Cannot"):
        list_one("gs://drawings", nowhere)
    with pytest.raises(UserError, match=r"cannot read the folder gs://drawings: \w+: Cannot"):
        list_folders("gs://drawings", nowhere, retries=NOW)
