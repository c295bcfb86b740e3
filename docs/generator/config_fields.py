"""The configuration's reference: every field, with what its dataclass and its checks say of it."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import omegaconf
import yaml
from sphinx.pycode import ModuleAnalyzer

from pipeline.config import Config

_PRIMARY = Path(__file__).parents[2] / "conf" / "config.yaml"
_REQUIRED = {"name": "a", "categories": ["a"], "data_dir": "a", "results_dir": "a"}
"""What `Config` cannot be made without."""
_PROBES: dict[Any, tuple[Any, ...]] = {
    int: (-1,),
    float: (-1.0,),
    str: ("?",),
    list[str]: ([""], []),
    list[float]: ([],),
}
"""Values that a field with a bound refuses."""


@dataclass(frozen=True)
class Documented:
    """A field as the reference shows it."""

    path: str
    kind: str
    default: str
    text: str
    bound: str
    choices: dict[str, str]


@dataclass(frozen=True)
class Group:
    """A dataclass of fields; the path of the outermost is empty."""

    path: str
    owner: type
    fields: list[Documented]


def read_groups() -> list[Group]:
    """All of the configuration, a group after the groups that it is part of."""
    return list(_read_group(Config, ""))


def _read_group(owner: type, path: str) -> Iterator[Group]:
    hints, own, parts = typing.get_type_hints(owner), [], []
    for field in fields(owner):
        place, kind = f"{path}.{field.name}".lstrip("."), hints[field.name]
        if is_dataclass(kind):
            parts.append((kind, place))
        else:
            own.append(_read_field(owner, field, kind, place))
    yield Group(path, owner, own)
    for kind, place in parts:
        yield from _read_group(kind, place)


def _read_field(owner: type, field: Field[Any], kind: Any, path: str) -> Documented:
    return Documented(
        path=path,
        kind=_name(kind),
        default=_default(field, path),
        text=_docstrings(owner).get((owner.__name__, field.name), ""),
        bound=_bound(owner, field.name, kind),
        choices=_choices(kind),
    )


def _docstrings(owner: type) -> dict[tuple[str, str], str]:
    """What stands below each attribute of each class of the module."""
    found = ModuleAnalyzer.for_module(owner.__module__).find_attr_docs()
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) is types.UnionType else (kind,)


def _is_choice(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, StrEnum)


def _choices(kind: Any) -> dict[str, str]:
    """What each choice is called, and means if its name does not say it."""
    return {
        choice.value: _docstrings(part).get((part.__name__, choice.name), "")
        for part in filter(_is_choice, _alternatives(kind))
        for choice in part
    }


def _name(kind: Any) -> str:
    names = {types.NoneType: "null", dict[str, Any]: "mapping"}
    return " or ".join(
        "choice"
        if _is_choice(part)
        else names.get(part) or getattr(part, "__name__", str(part))
        if typing.get_origin(part) is None or part in names
        else str(part)
        for part in _alternatives(kind)
    )


def _default(field: Field[Any], path: str) -> str:
    """The dataclass's, else that of the primary config; empty if there is none."""
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if value == omegaconf.MISSING:
        value = yaml.safe_load(_PRIMARY.read_text()).get(path)
        return "" if value is None else str(value)
    is_bare = isinstance(value, str) and value
    return str(value) if is_bare else json.dumps(value, ensure_ascii=False)


def _bound(owner: type, name: str, kind: Any) -> str:
    """What the error says of a value that is out of bounds; empty if every value is taken."""
    required = _REQUIRED if owner is Config else {}
    for part in _alternatives(kind):
        for value in _PROBES.get(part, ()):
            try:
                owner(**required | {name: value})
            except ValueError as error:
                found = re.search(rf"\b{name}=\S+ (?:cannot\b[^:]+: (.+)|(must\b.+))", str(error))
                if found:
                    return found[1] or found[2]
    return ""
