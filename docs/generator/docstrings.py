"""Docstrings as Sphinx reads them: Google's sections, and formulas and examples as they stand."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

_CONFIG = Config(napoleon_use_ivar=True, napoleon_attr_annotations=False)
_ARRAY = re.compile(r"\bndarray\[tuple\[Any, \.\.\.\], dtype\[(\w+)\]\]")
_WITHOUT_SECTIONS = ("attribute", "data", "property")
"""Napoleon would take what comes before a colon in them for a type."""


def translate(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrites the lines of a docstring in place."""
    lines[:] = _mark_literal_blocks(lines)
    if what not in _WITHOUT_SECTIONS:
        lines[:] = GoogleDocstring(lines, _CONFIG, app, what, name, obj, options).lines()


def _mark_literal_blocks(lines: list[str]) -> list[str]:
    """Puts `::` before what is indented after an empty line, outside of sections."""
    marked: list[str] = []
    in_section = in_block = False
    for number, line in enumerate(lines):
        is_indented = line.startswith("    ")
        if line and not is_indented:
            in_section, in_block = line.endswith(":") and " " not in line, False
        elif is_indented and not in_section and not in_block and number and not lines[number - 1]:
            marked += ["::", ""]
            in_block = True
        marked.append(line)
    return marked


def shorten(app: Sphinx, *described: Any) -> tuple[str | None, ...]:
    """NumPy's arrays by the name that the code has for them."""
    *_, signature, returned = described
    return tuple(text and _ARRAY.sub(r"NDArray[\1]", text) for text in (signature, returned))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", translate)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}
