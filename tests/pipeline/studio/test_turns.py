"""One at a time, the newest of each visitor, and no more who wait than may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from pipeline.studio.turns import Full, Superseded, Turns


class Work:
    """Drawings that take until they are let go."""

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), list[str]()

    def named(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            assert self.gate.wait(timeout=60)
            return name

        return work


def run(scene: Callable[[Turns, Work], Awaitable[None]]) -> None:
    async def play() -> None:
        work = Work()
        try:
            await asyncio.wait_for(scene(Turns(max_waiting=2), work), timeout=60)
        finally:
            work.gate.set()

    asyncio.run(play())


async def begin(turns: Turns, visitor: str, work: Callable[[], str]) -> asyncio.Task[str]:
    task = asyncio.create_task(turns.take(visitor, work))
    for _ in range(5):  # until it waits for its turn
        await asyncio.sleep(0)
    return task


def test_the_newest_of_a_visitor_replaces_the_older_one_at_once() -> None:
    async def scene(turns: Turns, work: Work) -> None:
        running = await begin(turns, "a", work.named("running"))
        older = await begin(turns, "a", work.named("older"))
        newest = await begin(turns, "a", work.named("newest"))
        with pytest.raises(Superseded):
            await older
        assert not running.done()
        work.gate.set()
        assert [await running, await newest] == ["running", "newest"]
        assert work.begun == ["running", "newest"]

    run(scene)


def test_those_who_wait_are_bounded_and_come_in_order() -> None:
    async def scene(turns: Turns, work: Work) -> None:
        tasks = [await begin(turns, name, work.named(name)) for name in "abc"]
        for _ in range(100):
            with pytest.raises(Full):
                await turns.take("d", work.named("d"))
        tasks.append(await begin(turns, "b", work.named("b again")))  # takes b's place
        work.gate.set()
        with pytest.raises(Superseded):
            await tasks[1]
        assert [await tasks[0], await tasks[2], await tasks[3]] == ["a", "c", "b again"]
        assert await turns.take("d", work.named("d")) == "d"

    run(scene)


def test_who_leaves_and_what_fails_holds_up_nobody() -> None:
    def fail() -> str:
        raise ZeroDivisionError

    async def scene(turns: Turns, work: Work) -> None:
        running = await begin(turns, "a", work.named("a"))
        leaving = await begin(turns, "b", work.named("b"))
        failing = await begin(turns, "c", fail)
        leaving.cancel()
        work.gate.set()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(ZeroDivisionError):
            await failing
        assert [await running, await turns.take("d", work.named("d"))] == ["a", "d"]
        assert work.begun == ["a", "d"]

    run(scene)
