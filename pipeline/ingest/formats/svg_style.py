"""Whether an element of an SVG document can be seen, by its attributes and style sheets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

Style = Mapping[str, str]
"""Property and value, in small letters and without spaces."""

INITIAL: Style = {"fill": "black", "stroke": "none"}
_PAINTING = frozenset(["fill", "stroke", "fill-opacity", "stroke-opacity", "stroke-width"])
_PROPERTIES = _PAINTING | {"display", "visibility", "opacity"}
_NOT_INHERITED = frozenset(["display", "opacity"])
_NO_PAINT = frozenset(["none", "transparent"])
_WHITE = frozenset(["white", "#fff", "#ffffff", "rgb(255,255,255)", "rgb(100%,100%,100%)"])


class StyleSheet:
    """Rules whose selector is an element's name, a class, both (`path.a`), an id, or `*`."""

    def __init__(self) -> None:
        self._rules: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def add(self, text: str) -> None:
        """Adds the rules of a `style` element; those with other selectors have no effect."""
        for rule in _strip_comments(text).split("}"):
            selectors, _, body = rule.partition("{")
            if style := _parse_declarations(body):
                for selector in selectors.split(","):
                    self._rules[selector.strip()].update(style)

    def declare(self, tag: str, attributes: Mapping[str, str]) -> Style:
        """What an element says itself; its `style` is above the rules, and these the attributes."""
        style = _keep_known(attributes)
        classes = attributes.get("class", "").split()
        selectors = ["*", tag, *(f".{name}" for name in classes)]
        selectors += [*(f"{tag}.{name}" for name in classes), f"#{attributes.get('id', '')}"]
        for selector in selectors:
            style |= self._rules.get(selector, {})
        return style | _parse_declarations(attributes.get("style", ""))


def _strip_comments(text: str) -> str:
    first, *rest = text.split("/*")
    return first + "".join(part.partition("*/")[2] for part in rest)


def _parse_declarations(text: str) -> dict[str, str]:
    pairs = (each.partition(":") for each in text.split(";"))
    return _keep_known({name.strip(): value for name, _, value in pairs})


def _keep_known(values: Mapping[str, str]) -> dict[str, str]:
    known = {name: values[name] for name in _PROPERTIES.intersection(values)}
    plain = {name: "".join(value.lower().split()) for name, value in known.items()}
    return {name: value.removesuffix("!important") for name, value in plain.items()}


def inherit(inherited: Style, own: Style) -> Style:
    """The style that an element has and hands on to those within it."""
    new = {name: value for name, value in own.items() if value != "inherit"}
    return {**inherited, **{name: new[name] for name in new.keys() - _NOT_INHERITED}}


def is_removed(own: Style) -> bool:
    """Whether nothing of an element can be seen, whatever is in it."""
    return own.get("display") == "none" or _is_zero(own.get("opacity"))


def is_visible(style: Style, *, has_area: bool) -> bool:
    """Whether a shape can be seen on white paper."""
    if style.get("visibility") in ("hidden", "collapse"):
        return False
    has_line = style["stroke"] not in _NO_PAINT and not (
        _is_zero(style.get("stroke-width")) or _is_zero(style.get("stroke-opacity"))
    )
    has_ink = style["fill"] not in _NO_PAINT | _WHITE and not _is_zero(style.get("fill-opacity"))
    return has_line or (has_area and has_ink)


def _is_zero(value: str | None) -> bool:
    try:
        return value is not None and float(value[:20].rstrip("%px")) == 0
    except ValueError:
        return False
