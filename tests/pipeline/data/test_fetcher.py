"""In which order things are fetched, and that each is fetched once."""

from __future__ import annotations

import threading

import pytest

from pipeline.data.fetcher import Fetcher


class Store:
    """Fetches nothing before it is opened, and then in the order in which it is asked to."""

    def __init__(self) -> None:
        self.is_open = threading.Event()
        self.has_begun = threading.Event()
        self.fetched: list[int] = []

    def fetch(self, number: int) -> None:
        self.has_begun.set()
        assert self.is_open.wait(10)
        self.fetched.append(number)
        if number < 0:
            raise ValueError(number)


def test_what_somebody_waits_for_comes_first_and_everything_once() -> None:
    store = Store()
    fetcher = Fetcher(store.fetch, 1)
    futures = fetcher.ask([0])
    assert store.has_begun.wait(10)
    futures += fetcher.ask([1, 2, 3])
    futures += fetcher.ask([9, 3], urgently=True)
    store.is_open.set()
    for future in futures:
        future.result(10)
    assert store.fetched == [0, 9, 3, 1, 2]


def test_a_failure_is_of_who_waits_and_ends_nothing() -> None:
    store = Store()
    store.is_open.set()
    fetcher = Fetcher(store.fetch, 1)
    failing, following = fetcher.ask([-1, 5])
    with pytest.raises(ValueError, match="-1"):
        failing.result(10)
    following.result(10)
    assert store.fetched == [-1, 5]
