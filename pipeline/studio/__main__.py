"""`python -m pipeline.studio [MODEL ...]`: a page to draw on with trained models."""

from __future__ import annotations

import argparse
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.config import UserError, ending_at_user_errors
from pipeline.drawing.arguments import MODEL_HELP, STORE_HELP, read_store

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_PORT = 5001
_ANY = ("", "0.0.0.0", "::")
_EXAMPLES = """
examples:
  python -m pipeline.studio
  python -m pipeline.studio results/doodles/doodles/model sheep.gen.json models:/cat@champion
"""


def main() -> None:
    """Serves until it is stopped with Ctrl+C."""
    arguments = _make_parser().parse_args()
    with ending_at_user_errors():
        _serve(arguments)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.studio",
        description="Serves a page on which you draw and a model goes on, to this machine alone.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    text = f"{MODEL_HELP}; by default every model under results/"
    parser.add_argument("models", nargs="*", metavar="MODEL", help=text)
    parser.add_argument("--tracking-uri", metavar="URI", help=STORE_HELP)
    text = f"0 takes any free one ({DEFAULT_PORT})"
    parser.add_argument("--port", type=_port, default=DEFAULT_PORT, help=text)
    text = "name or address of this machine, for others to draw too: they need no password"
    parser.add_argument("--host", default=LOOPBACK[0], help=f"{text} ({LOOPBACK[0]})")
    return parser


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{text} must be a whole number from 0 to 65535")
    return int(text)


def _serve(arguments: argparse.Namespace) -> None:
    with _bind(arguments.host, arguments.port) as listener:
        server = _make_server(arguments)
        port = listener.getsockname()[1]
        print(f"open http://{_in_address(arguments.host)}:{port} (Ctrl+C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def _in_address(host: str) -> str:
    """As a browser writes it, and sends it."""
    return f"[{host}]" if ":" in host else host


def _bind(host: str, port: int) -> socket.socket:
    """First of all, so that a port that is taken is said before models are read."""
    if host in _ANY:
        raise UserError(
            f"--host {host} names no machine, and the studio answers to the name or the address"
            " that it is opened by, and to no other: give that"
        )
    if host not in LOOPBACK:
        print(
            f"note: --host {host} lets everyone who reaches this machine there draw with these"
            " models, without a password and without encryption"
        )
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise UserError(
            f"the studio cannot listen on {host}, port {port} ({error.strerror}): give another"
            " --port (0 takes any free one), or a --host that is this machine's"
        ) from error


def _make_server(arguments: argparse.Namespace) -> uvicorn.Server:
    try:
        import uvicorn

        from pipeline.studio.app import make_app
    except ModuleNotFoundError as error:
        raise UserError(
            f"the studio needs {error.name}, which is not installed: `pip install -e '.[studio]'`"
        ) from error
    from pipeline.studio.models import read_models

    models = read_models(arguments.models, read_store(arguments.tracking_uri, arguments.models))
    hosts = {_in_address(host) for host in (*LOOPBACK, arguments.host)}
    app = make_app(models, hosts=sorted(hosts))
    config = uvicorn.Config(
        app, log_level="warning", lifespan="off", ws="none", server_header=False
    )
    return uvicorn.Server(config)


if __name__ == "__main__":
    main()
