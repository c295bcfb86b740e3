"""The error that is the user's to put right."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Something only the user can put right; entry points print it without a traceback."""


class LostProcess(UserError):
    """Another process of the run has ended; who starts processes may start all of them again.

    It is here, where nothing heavy is imported, because Ray's controller reads it at a restart.
    """


@contextmanager
def ending_at_user_errors() -> Iterator[None]:
    """Ends the program with exit code 1 and one message, without a traceback."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
