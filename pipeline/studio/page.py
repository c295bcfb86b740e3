"""The page as it is served, and what browsers are told to keep it from doing."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def read_page() -> str:
    """One document with its style and its script, and nothing of another address."""
    return Path(__file__).with_name("page.html").read_text(encoding="utf-8")


def headers_of(page: str) -> dict[str, str]:
    """Headers of every response: the page runs its own script and asks its own server, no more."""
    policy = {
        "default-src": "'self'",
        "script-src": _sources(page, "script"),
        "style-src": _sources(page, "style"),
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "object-src": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(" ".join(rule) for rule in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }


def _sources(page: str, tag: str) -> str:
    """The hashes of what the page has inline, and so of nothing that is slipped into it."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
    return " ".join(f"'sha256-{each}'" for each in hashes)


def with_headers(app: ASGIApp, headers: Mapping[str, str]) -> ASGIApp:
    """The app with these headers on whatever it sends, errors included."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await app(scope, receive, send_with_headers)

    return serve
