"""The directives `config` and `options`: the configuration's fields, and a command's options."""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Iterator
from unittest import mock

from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from generator.config_fields import Documented, Group, read_groups

Lines = Iterator[str]


class ConfigDirective(SphinxDirective):
    """Every field of the configuration, a section for each group."""

    def run(self) -> list[Node]:
        """The sections."""
        lines = [line for group in read_groups() for line in _section(group)]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _section(group: Group) -> Lines:
    owner = group.owner
    yield from (f"## {group.path or 'Of all commands'}", "")
    yield from (
        f":::{{py:class}} {owner.__module__}.{owner.__name__}",
        inspect.getdoc(owner),
        ":::",
        "",
    )
    for field in group.fields:
        yield from _entry(field)


def _entry(field: Documented) -> Lines:
    yield from (f":::{{confval}} {field.path}", f":type: {field.kind}")
    if field.default:
        quoted = field.default.replace("'", "''")
        yield f":default: '`{quoted}`'"
    yield from ("", field.text, "")
    if field.bound:
        yield from (f"*{field.bound[0].upper()}{field.bound[1:]}.*", "")
    for name, text in field.choices.items():
        yield f"- `{name}`" + (f": {text}" if text else "")
    yield from ("", ":::", "")


class OptionsDirective(SphinxDirective):
    """What a command that reads its own arguments says of them."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """The options, or those of each sub-command under its name."""
        lines = _describe(find_parser(self.arguments[0]))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class _Found(Exception):
    """Carries the parser out of the command."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser


def find_parser(module: str) -> argparse.ArgumentParser:
    """The parser that `python -m MODULE` uses, taken from it when it begins to parse."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise _Found(parser)

    command = importlib.import_module(module)
    if hasattr(command, "__path__"):  # a package
        command = importlib.import_module(f"{module}.__main__")
    methods = dict.fromkeys(("parse_args", "parse_intermixed_args"), stop)
    with mock.patch.multiple(argparse.ArgumentParser, **methods):
        try:
            command.main()
        except _Found as found:
            return found.parser
    raise ValueError(f"{module} parses no arguments of its own")


def _describe(parser: argparse.ArgumentParser) -> Lines:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from (f"### {parser.prog.split('.')[-1]} {name}", "")
                texts = {choice.dest: choice.help for choice in action._choices_actions}
                yield from (f"{texts[name]}".capitalize() + ".", "")
                yield from _describe(command)
        elif not isinstance(action, argparse._HelpAction):
            yield from (f"`{_usage(action)}`", f": {_help(action)}", "")


def _usage(action: argparse.Action) -> str:
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    takes_none = action.nargs == 0
    return " ".join([*action.option_strings[:1], *([] if takes_none else [str(value)])])


def _help(action: argparse.Action) -> str:
    text = re.sub(r"--[a-z-]+", r"`\g<0>`", (action.help or "").replace("*", "\\*"))
    return f"{text}{'; required' if action.required and action.option_strings else ''}."


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("config", ConfigDirective)
    app.add_directive("options", OptionsDirective)
    return {"parallel_read_safe": True}
