"""The error that is the user's to put right."""

from __future__ import annotations


class UserError(ValueError):
    """Something only the user can put right; entry points print it without a traceback."""
