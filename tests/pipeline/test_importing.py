"""Garbage is not collected during imports, and is afterwards, unless it was not before."""

from __future__ import annotations

import gc
import weakref

import pytest

from pipeline.importing import importing


class Knot:
    """Refers to itself: only the collector finds that it is garbage."""

    def __init__(self) -> None:
        self.itself = self


def test_nothing_is_collected_inside_or_looked_through_later() -> None:
    with importing():
        assert not gc.isenabled()
        made = [Knot() for _ in range(100)]
        frozen = gc.get_freeze_count()
    assert gc.isenabled()
    assert gc.get_freeze_count() >= frozen + len(made)
    later = weakref.ref(Knot())
    gc.collect()
    assert later() is None


def test_an_import_that_fails_leaves_collection_as_it_was() -> None:
    gc.disable()
    try:
        with pytest.raises(ImportError), importing():
            raise ImportError
        assert not gc.isenabled()
    finally:
        gc.enable()
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
