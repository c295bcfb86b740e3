"""A real MLflow server, and a proxy before it that breaks in every way a server can."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

STARTUP_S = 90
HTML = b"<html><body>Down for maintenance</body></html>"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of a server whose records, pictures and log are in a folder."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (
        open(folder / "server.log", "w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as server,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            deadline_s = time.monotonic() + STARTUP_S
            while not _answers(address):
                assert server.poll() is None, (folder / "server.log").read_text()
                assert time.monotonic() < deadline_s, (folder / "server.log").read_text()
                time.sleep(0.1)
            yield address
        finally:
            server.terminate()


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/health", timeout=1).close()
    except OSError:
        return False
    return True


class Proxy:
    """Stands before a server. `mode` is what it does with a request:

    pass: hands it on. refuse: takes no connection. error: answers 500. html: answers 200 with a
    page. refusal: answers 400 with a page. hang: never answers. slow: hands it on after `delay_s`.
    lose: hands it on, and loses the first answer of each kind. old: knows nothing of logged models,
    as MLflow 2. denied: registers no models.
    """

    def __init__(self, server: str, mode: str = "pass") -> None:
        self._host = server.removeprefix("http://")
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.delay_s = 0.5
        self.lost: set[str] = set()
        self.authorizations: set[str | None] = set()
        self._listening: ThreadingHTTPServer | None = None
        self._released = threading.Event()
        self.mode = mode

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        self._released.set()  # what hangs
        self._released = threading.Event()
        if mode == "refuse":
            self.close()
        elif self._listening is None:
            self._listening = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler())
            self._listening.daemon_threads = True
            threading.Thread(target=self._listening.serve_forever, args=(0.02,)).start()

    def close(self) -> None:
        self._released.set()
        if self._listening is not None:
            self._listening.shutdown()
            self._listening.server_close()
        self._listening = None

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except ConnectionError:  # the client has not waited
                    self.close_connection = True

            def answer(self) -> None:
                proxy.authorizations.add(self.headers.get("Authorization"))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                match proxy.mode:
                    case "error":
                        self.reply(500, b"{}")
                    case "html":
                        self.reply(200, HTML)
                    case "refusal":
                        self.reply(400, HTML)
                    case "old" if "logged-models" in self.path:
                        self.reply(404, HTML)
                    case "denied" if "registered-models" in self.path:
                        self.reply(403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}')
                    case "hang":
                        proxy._released.wait()
                    case mode:
                        if mode == "slow":
                            time.sleep(proxy.delay_s)
                        status, content = self.forward(body)
                        kind = self.path.partition("?")[0]
                        if mode == "lose" and kind not in proxy.lost:
                            proxy.lost.add(kind)
                            self.close_connection = True
                        else:
                            self.reply(status, content)

            do_GET = do_POST = do_PUT = do_PATCH = answer

            def forward(self, body: bytes) -> tuple[int, bytes]:
                connection = HTTPConnection(proxy._host, timeout=60)
                headers = {n: v for n, v in self.headers.items() if n.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = response.read()
                connection.close()
                return response.status, content

            def reply(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                """Not in the test's output."""

        return Handler
