"""Garbage is not collected during imports, and is afterwards, unless it was not before."""

from __future__ import annotations

import gc
import importlib
import weakref
from pathlib import Path

import pytest

from pipeline.importing import importing

MODULE = "made = [[number] for number in range(100)]"


class Knot:
    """Refers to itself: only the collector finds that it is garbage."""

    def __init__(self) -> None:
        self.itself = self


def test_what_is_imported_is_never_looked_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_here_alone.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    with importing():
        assert not gc.isenabled()
        module = importlib.import_module("imported_here_alone")
    assert gc.isenabled()
    looked_through = {id(each) for each in gc.get_objects()}
    assert not looked_through & {id(each) for each in module.made}


def test_what_a_process_leaves_is_collected_when_the_next_imports_nothing_new() -> None:
    """Trials share a process, and what Lightning leaves of one would stay for ever."""
    left = weakref.ref(Knot())
    with importing():
        importlib.import_module("json")
    gc.collect()
    assert left() is None


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
