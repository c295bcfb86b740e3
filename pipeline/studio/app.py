"""The studio's server: one page, and JSON in and out.

It trusts nothing that comes from outside. A page of another site that a browser has open could
call it under a name that is made to point at this machine, or post to it: so it answers to its own
hosts only, and to JSON only, which browsers do not send across sites unasked.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from pipeline.config import UserError
from pipeline.drawing.artist import Artist
from pipeline.studio import answers
from pipeline.studio.models import Models
from pipeline.studio.page import headers_of, read_page, with_headers
from pipeline.studio.questions import MAX_BODY_BYTES, Between, Complete, Question, Sample
from pipeline.studio.turns import Full, Superseded, Turns

MAX_WAITING: Final = 32
RETRY_AFTER_S: Final = 1

_Question = TypeVar("_Question", bound=Question)


def make_app(models: Models, *, hosts: Sequence[str], max_waiting: int = MAX_WAITING) -> ASGIApp:
    """The server for these models, which all draw once before it is returned.

    Args:
        models: by name, at least one.
        hosts: names and addresses that it may be called by; an address of IPv6 in brackets.
        max_waiting: visitors who may wait for their turn; one more is sent away.
    """
    turns, page = Turns(max_waiting), read_page()
    _rehearse(models, turns)

    async def show_page(request: Request) -> Response:
        return HTMLResponse(page)

    async def list_models(request: Request) -> Response:
        return JSONResponse(answers.describe(models))

    app = Starlette(
        routes=[
            Route("/", show_page),
            Route("/models", list_models),
            _drawing("/sample", Sample, answers.sample, models, turns),
            _drawing("/complete", Complete, answers.complete, models, turns),
            _drawing("/between", Between, answers.between, models, turns),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
            Middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES),
        ],
        exception_handlers=_HANDLERS,
    )
    return with_headers(app, headers_of(page))


def _rehearse(models: Models, turns: Turns) -> None:
    begin_s = time.perf_counter()
    for model in models.values():
        turns.take_now(functools.partial(answers.rehearse, model))
    print(f"compiled and warmed up in {time.perf_counter() - begin_s:.1f} s", flush=True)


def _drawing(
    path: str,
    form: type[_Question],
    draw: Callable[[Artist, _Question], answers.Drawn],
    models: Models,
    turns: Turns,
) -> Route:
    """Where such questions are posted; the answer says how long it took, the waiting included."""

    async def respond(request: Request) -> Response:
        question = form.model_validate_json(await _read_json(request))
        artist = _find_artist(models, question)
        begin_s = time.perf_counter()
        drawn = await turns.take(question.visitor, lambda: draw(artist, question))
        duration_ms = 1e3 * (time.perf_counter() - begin_s)
        timing = {"Server-Timing": f"draw;dur={duration_ms:.1f}"}
        return JSONResponse(asdict(drawn), headers=timing)

    return Route(path, respond, methods=["POST"])


async def _read_json(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise HTTPException(
            415, f"Content-Type {kind or 'is missing: it'} must be application/json"
        )
    return await request.body()


def _find_artist(models: Models, question: Question) -> Artist:
    if question.model not in models:
        known = ", ".join(models)
        raise UserError(f"model {question.model!r} is not here: there are {known}")
    return Artist(models[question.model], question.model, question.temperature, question.seed)


def _refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"reason": reason}, status, headers=headers)


async def _on_user_error(request: Request, error: Any) -> Response:
    return _refuse(400, str(error))


async def _on_invalid(request: Request, error: Any) -> Response:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, first["loc"]))
    return _refuse(400, f"{place}: {reason}" if place else reason)


async def _on_superseded(request: Request, error: Any) -> Response:
    return _refuse(409, "a newer question of yours came before this one's turn")


async def _on_full(request: Request, error: Any) -> Response:
    reason = f"too many others are drawing: again in {RETRY_AFTER_S} s"
    return _refuse(503, reason, {"Retry-After": str(RETRY_AFTER_S)})


async def _on_http(request: Request, error: Any) -> Response:
    return _refuse(error.status_code, error.detail, error.headers)


_HANDLERS: Final[dict[Any, Any]] = {
    UserError: _on_user_error,
    ValidationError: _on_invalid,
    Superseded: _on_superseded,
    Full: _on_full,
    HTTPException: _on_http,
}
