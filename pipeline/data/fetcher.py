"""A few threads that fetch what is asked of them, and first what somebody waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from itertools import count
from queue import PriorityQueue
from weakref import WeakMethod, finalize

_URGENT, _EARLY = 0, 1
_Queue = PriorityQueue[tuple[int, int, int | None]]


class Fetcher:
    """Fetches numbered things in the background, each by one thread only.

    The threads end with the program, whatever is left to fetch, and with the owner of `fetch`.
    """

    def __init__(self, fetch: Callable[[int], None], num_threads: int) -> None:
        """`fetch` is a method; its object is not kept alive."""
        self._fetch, self._num_threads = WeakMethod(fetch), num_threads
        self._queue: _Queue = PriorityQueue()
        self._jobs: dict[int, Future[None]] = {}
        self._lock = threading.Lock()
        self._turns = count()
        self._is_started = False

    def ask(self, numbers: Iterable[int], *, urgently: bool = False) -> list[Future[None]]:
        """Has things fetched, in this order, and gives what to wait for."""
        urgency = _URGENT if urgently else _EARLY
        with self._lock:
            futures = []
            for number in numbers:
                is_asked_for = number in self._jobs
                futures.append(self._jobs.setdefault(number, Future()))
                if urgently or not is_asked_for:  # what is twice in the queue is fetched once
                    self._queue.put((urgency, next(self._turns), number))
            if futures and not self._is_started:
                self._start()
        return futures

    def _start(self) -> None:
        self._is_started = True
        for _ in range(self._num_threads):
            arguments = (self._fetch, self._queue, self._jobs, self._lock)
            threading.Thread(target=_work, args=arguments, daemon=True).start()
        finalize(self, _stop, self._queue, self._num_threads).atexit = False


def _work(
    method: WeakMethod[Callable[[int], None]],
    queue: _Queue,
    jobs: dict[int, Future[None]],
    lock: threading.Lock,
) -> None:
    while True:
        _, _, number = queue.get()
        if number is None:
            return
        with lock:
            future = jobs.get(number)
            if future is None or future.running():
                continue
            future.set_running_or_notify_cancel()
        error = _try(method, number)
        with lock:
            del jobs[number]
        if error:
            future.set_exception(error)
        else:
            future.set_result(None)


def _try(method: WeakMethod[Callable[[int], None]], number: int) -> Exception | None:
    fetch = method()
    try:
        if fetch is not None:
            fetch(number)
    except Exception as error:  # it belongs to who waits
        return error
    return None


def _stop(queue: _Queue, num_threads: int) -> None:
    for _ in range(num_threads):
        queue.put((-1, 0, None))
