"""A storage server in memory, behind a proxy that spoils requests as a bad network does."""

from __future__ import annotations

import http.client
import logging
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

NAME = "drawings"


class Answer(NamedTuple):
    """What a server says; with `num_promised`, the connection ends before as many bytes came."""

    status: int
    headers: dict[str, str]
    body: bytes
    num_promised: int = 0


Fault = Callable[[Callable[[], Answer]], Answer | None]
"""Given how to pass the request on, what to answer; None hangs up."""


def fail(status: int) -> Fault:
    """Refuses, and does nothing."""
    return lambda pass_on: Answer(status, {}, b"not now")


def hang_up(pass_on: Callable[[], Answer]) -> None:
    """Breaks the connection before anything happens."""


def lose_answer(pass_on: Callable[[], Answer]) -> None:
    """Does what it was asked, but nobody hears of it."""
    pass_on()


def drop(pass_on: Callable[[], Answer]) -> Answer:
    """Breaks the connection in the middle of the answer."""
    answer = pass_on()
    return answer._replace(body=answer.body[: len(answer.body) // 2], num_promised=len(answer.body))


def truncate(pass_on: Callable[[], Answer]) -> Answer:
    """Gives less than was asked for, as if that were all."""
    answer = pass_on()
    return answer._replace(body=answer.body[: max(1, len(answer.body) // 3)])


def flip(pass_on: Callable[[], Answer]) -> Answer:
    """Changes a bit of the answer."""
    answer = pass_on()
    return answer._replace(body=bytes([answer.body[0] ^ 1]) + answer.body[1:])


@dataclass
class Bucket:
    """An empty bucket, and what goes wrong with it next."""

    url: str = ""
    reads: list[Fault] = field(default_factory=list)
    """Spoil the next answers with content, one each."""
    writes: list[Fault] = field(default_factory=list)
    """Spoil the next uploads, or parts of them."""
    removals: list[Fault] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """`GET path` or the like, with the range if one was asked for."""

    def next_fault(self, method: str, path: str) -> Fault | None:
        """What is to go wrong with a request."""
        kinds = {"POST": self.writes, "PUT": self.writes, "DELETE": self.removals}
        faults = self.reads if "alt=media" in path else kinds.get(method, [])
        return faults.pop(0) if faults else None

    def reset(self) -> None:
        """Empties it, and puts its network right."""
        for each in (self.reads, self.writes, self.removals):
            each.clear()
        with urllib.request.urlopen(f"{self.url}/wipe?keep-buckets=true"):
            self.requests.clear()

    def content(self, name: str) -> bytes:
        """What is stored under a name, asked without a detour."""
        url = f"{self.url}/download/storage/v1/b/{NAME}/o/{quote(name, safe='')}?alt=media"
        with urllib.request.urlopen(url) as response:
            return bytes(response.read())

    def downloads(self) -> list[str]:
        """Requests for content."""
        return [each for each in self.requests if "alt=media" in each]


@contextmanager
def serving_bucket() -> Iterator[Bucket]:
    """A bucket named NAME at a free port of the loopback interface."""
    server = pytest.importorskip("gcp_storage_emulator.server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    emulator = server.create_server("127.0.0.1", port, in_memory=True, default_bucket=NAME)
    emulator.start()
    bucket = Bucket()
    proxy = _Proxy(("127.0.0.1", 0), _make_handler(bucket, port))
    bucket.url = f"http://127.0.0.1:{proxy.server_address[1]}"
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield bucket
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
        emulator.stop()


class _Proxy(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


def _make_handler(bucket: Bucket, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bucket.requests.append(
                f"{self.command} {self.path} {self.headers.get('Range', '')}".strip()
            )
            fault = bucket.next_fault(self.command, self.path)
            answer = fault(lambda: self.pass_on(body)) if fault else self.pass_on(body)
            self.close_connection = answer is None or answer.num_promised > 0
            if answer is None:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(answer.num_promised or len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def pass_on(self, body: bytes) -> Answer:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            # With the proxy's own Host, the server answers with addresses that lead here again.
            connection.request(self.command, self.path, body, dict(self.headers))
            response = connection.getresponse()
            passed = ("Location", "Content-Type", "Range", "Content-Range")
            headers = {name: value for name, value in response.getheaders() if name in passed}
            answer = Answer(response.status, headers, response.read())
            connection.close()
            return answer

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *args: Any) -> None:
            pass

    return Handler
