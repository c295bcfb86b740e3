"""How a command imports what is large: torch, Lightning and MLflow make a million objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Inside, no garbage is collected, and what is there at the end is never looked through.

    Python would look through all objects that imports have made, again and again, and find nothing
    to collect: that takes as long as the imports themselves. So would the end of the process.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
