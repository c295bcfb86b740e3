"""How a command imports what is large: torch and Lightning make 800,000 objects."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Inside, no garbage is collected, and what imports have made is never looked through.

    Python would look through all of it, again and again, and find nothing to collect: the imports
    take half as long again, and the end of the process looks once more. Whatever else is there at
    the end is never collected either, if a module was imported, so nothing large may be.
    """
    was_enabled, num_modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > num_modules:
            gc.freeze()
        if was_enabled:
            gc.enable()
