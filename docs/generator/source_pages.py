"""Pages of the source files that the Markdown links to, so that the links lead somewhere.

`[test_name](../../tests/test_file.py#test_name)` opens the file on GitHub, and here a page of it
at the function.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.parsers import Parser

_LINK = re.compile(r"\]\(([^)\s:#]+\.py)\b|^\[[^]]+\]:\s*([^\s:#]+\.py)\b", re.MULTILINE)


def linked_sources(pages: list[Path], root: Path) -> list[str]:
    """Python files that Markdown pages link to, relative to `root`."""
    return sorted(
        {
            (page.parent / (found[1] or found[2])).resolve().relative_to(root).as_posix()
            for page in pages
            for found in _LINK.finditer(page.read_text())
        }
    )


class SourceParser(Parser):
    """A page of a Python file: what comes before its first function, then each by its name."""

    supported = ("python-source",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Adds a section for each function and class at the outermost level."""
        lines, env = inputstring.splitlines(), document.settings.env
        path = env.doc2path(env.docname, base=False)
        page = _section(Path(path).name, "source")
        page += nodes.paragraph("", "", nodes.literal("", str(path)))
        bounds = [
            (_first_line(node), node.name)
            for node in ast.parse(inputstring).body
            if _is_named(node)
        ]
        _add_code(page, lines, 0, bounds[0][0] if bounds else len(lines))
        for (start, name), (stop, _) in zip(bounds, [*bounds[1:], (len(lines), "")], strict=True):
            section = _section(name, name)
            _add_code(section, lines, start, stop)
            page += section
        document += page
        env.metadata[env.docname] |= {
            "orphan": True,
            "nosearch": True,
            "myst_slugs": {name: (start, name, name) for start, name in bounds},
        }


def _is_named(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef | ast.ClassDef)


def _first_line(node: ast.stmt) -> int:
    """Counted from 0, decorators included."""
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1


def _section(title: str, anchor: str) -> nodes.section:
    return nodes.section("", nodes.title("", title), ids=[anchor])


def _add_code(parent: nodes.Element, lines: list[str], start: int, stop: int) -> None:
    code = "\n".join(lines[start:stop]).strip("\n")
    if code:
        parent += nodes.literal_block(code, code, language="python")


def leave_out_of_the_navigation(app: Sphinx, env: BuildEnvironment) -> None:
    """Results of a benchmark are linked from benchmarks/README.md, and not a part of it."""
    for name in env.all_docs:
        if name.startswith("benchmarks/") and name != "benchmarks/README":
            env.metadata[name]["orphan"] = True


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_source_suffix(".py", "python-source")
    app.add_source_parser(SourceParser)
    app.connect("env-updated", leave_out_of_the_navigation)
    return {"parallel_read_safe": True}
