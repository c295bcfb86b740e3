"""One drawing at a time, of each visitor the newest, and a bounded number of visitors who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import anyio
import torch

_Result = TypeVar("_Result")


class Full(Exception):
    """As many wait as may."""


class Superseded(Exception):
    """The same visitor has asked something newer."""


class Turns:
    """Lets the models draw in a thread of its own, so that the server answers meanwhile.

    A model is small: several at once, on several threads each, would wait for each other.
    """

    def __init__(self, max_waiting: int) -> None:
        self._max_waiting = max_waiting
        self._waiting: dict[str, anyio.CancelScope] = {}
        self._lock = anyio.Lock()
        self._thread = ThreadPoolExecutor(1, "studio", initializer=_prepare)

    async def take(self, visitor: str, work: Callable[[], _Result]) -> _Result:
        """What `work` gives, when its turn has come.

        Raises:
            Full: if it would have to wait with too many others.
            Superseded: if a newer one of the visitor came while it waited.
        """
        older = self._waiting.get(visitor)
        if older is None and len(self._waiting) >= self._max_waiting:
            raise Full
        if older is not None:
            older.cancel()
        with anyio.CancelScope() as waiting:
            self._waiting[visitor] = waiting
            try:
                await self._lock.acquire()
            finally:
                if self._waiting.get(visitor) is waiting:
                    del self._waiting[visitor]
        if waiting.cancelled_caught:
            raise Superseded
        try:
            return await asyncio.wrap_future(self._thread.submit(work))
        finally:
            self._lock.release()

    def take_now(self, work: Callable[[], _Result]) -> _Result:
        """The same, before there is anyone to wait."""
        return self._thread.submit(work).result()


def _prepare() -> None:
    """Both are settings of the thread that calls."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
