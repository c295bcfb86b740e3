"""What an SVG document draws, as curves in document order, whatever the document tries.

Read are paths, lines, polylines, polygons, rects, circles and ellipses, in groups, links, nested
`svg` and `use`, under transforms and view boxes. Left out is what cannot be seen: by `display`,
`visibility` and `opacity`, in attributes and in style sheets of plain selectors (`rect`, `.a`,
`#b`); shapes without paint; and white areas without a line, which are paper. Text, pictures,
markers and clipping are ignored, and references to other files are not followed.

svgelements knows the grammars of path data, lengths and transforms, and the geometry of shapes. Its
reader of documents is not used: a few lines of `use`, or one long transform, keep that busy for
hours. Here the constants below bound the work.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple
from xml.parsers import expat

import numpy as np
import svgelements
from numpy.typing import NDArray

from pipeline.ingest.formats.svg_curves import MALFORMED, Curves, Pen, TooComplexError, transform
from pipeline.ingest.formats.svg_style import (
    INITIAL,
    Style,
    StyleSheet,
    inherit,
    is_removed,
    is_visible,
)

MAX_DEPTH = 200
"""Of elements within elements, `use` included."""
MAX_ELEMENTS = 50_000
"""In the document, and again with every `use` replaced by what it stands for."""
MAX_ATTRIBUTE = 500
"""Characters of a transform or a length, which take time quadratic in them."""
MAX_ENTITY = 100
"""Characters of an entity: Adobe's programs name a namespace in each."""
MAX_STROKES = 20_000
DEFAULT_SIDE = 1000.0
"""Of a view without a size."""

_SVG_NAMESPACE = "http://www.w3.org/2000/svg"
_GROUPS = frozenset({"svg", "g", "a", "switch"})
_SHAPES = {
    "rect": svgelements.Rect,
    "circle": svgelements.Circle,
    "ellipse": svgelements.Ellipse,
    "line": svgelements.SimpleLine,
}
_LENGTHS = ("x", "y", "width", "height", "rx", "ry", "cx", "cy", "r", "x1", "y1", "x2", "y2")
_PATHS = frozenset({"path", "polyline", "polygon"})
_EVERYTHING_IS_THERE = {"width": "0", "height": "0"}
"""svgelements draws a rect without a size."""

Matrix = NDArray[np.float64]
"""Of an affine map, [3, 3]."""


@dataclass
class _Element:
    tag: str
    attributes: dict[str, str]
    children: list[_Element] = field(default_factory=list)
    text: str = ""
    style: Style | None = None
    """What it declares itself, once that is known."""

    @cached_property
    def matrix(self) -> Matrix:
        return _to_array(svgelements.Matrix(self.short("transform")))

    @cached_property
    def strokes(self) -> list[Curves]:
        """Of a shape, in its own coordinates."""
        pen = Pen()
        if self.tag in _PATHS:
            pen.follow(self._path_data())
        else:
            values = {name: self.short(name) for name in _LENGTHS if name in self.attributes}
            shape = _SHAPES[self.tag](_EVERYTHING_IS_THERE | values)
            shape.render(ppi=svgelements.DEFAULT_PPI, width=DEFAULT_SIDE, height=DEFAULT_SIDE)
            pen.trace(shape.segments(transformed=False))
        return pen.finish()

    def short(self, name: str) -> str:
        """An attribute that is of no use if it is long."""
        value = self.attributes.get(name, "")
        if len(value) > MAX_ATTRIBUTE:
            raise TooComplexError(f"{name} of {len(value)} characters, at most {MAX_ATTRIBUTE}")
        return value

    def _path_data(self) -> str:
        if self.tag == "path":
            return self.attributes.get("d", "")
        points = self.attributes.get("points", "").strip()
        return f"M{points}" + ("z" if self.tag == "polygon" else "") if points else ""


def _to_array(matrix: Any) -> Matrix:
    return np.array([[matrix.a, matrix.c, matrix.e], [matrix.b, matrix.d, matrix.f], [0, 0, 1]])


def _shift(x: float, y: float) -> Matrix:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]], dtype=np.float64)


class _Builder:
    """Makes elements of what expat finds, as long as they are not too many."""

    def __init__(self) -> None:
        self.top = _Element("", {})
        self._open = [self.top]
        self._num_elements = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._num_elements += 1
        if self._num_elements > MAX_ELEMENTS:
            raise TooComplexError(f"more than {MAX_ELEMENTS} elements")
        if len(self._open) > MAX_DEPTH:
            raise TooComplexError(f"more than {MAX_DEPTH} elements within each other")
        namespace, _, tag = name.rpartition(" ")
        element = _Element(tag if namespace in ("", _SVG_NAMESPACE) else "", {})
        for key, value in attributes.items():
            namespace, _, plain = key.rpartition(" ")
            if not namespace or plain == "href":
                element.attributes[plain] = value
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, name: str) -> None:
        self._open.pop()

    def add_text(self, text: str) -> None:
        if self._open[-1].tag == "style":
            self._open[-1].text += text

    def check_entity(self, name: str, is_parameter: bool, value: str | None, *_: object) -> None:
        # An entity of a file has no value, and expat does not read the file.
        if value is not None and (len(value) > MAX_ENTITY or "&" in value or "%" in value):
            raise TooComplexError(f"entity {name[:50]!r} is not a short text")


def _parse(content: bytes) -> _Element:
    builder = _Builder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.add_text
    parser.EntityDeclHandler = builder.check_entity
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"not XML: {error}") from error
    root = builder.top.children[0]
    if root.tag != "svg":
        raise ValueError(f"its first element is {root.tag[:50]!r} and not 'svg'")
    return root


class _Visit(NamedTuple):
    """An element at a place where it is drawn."""

    element: _Element
    matrix: Matrix
    """From its parent's coordinates to those of the document."""
    style: Style
    """What it inherits."""
    depth: int
    is_view: bool = False
    """Whether it is drawn into a rectangle of its own, as `svg` is."""
    size: tuple[str, str] = ("", "")
    """Width and height that a `use` gives to such a rectangle."""


def read_strokes(content: bytes) -> list[Curves]:
    """Strokes of a drawing, a sub-path each; none if nothing of it can be seen.

    Raises:
        TooComplexError: if it is beyond one of the bounds.
        ValueError: if it is not an SVG document.
    """
    root = _parse(content)
    try:
        with np.errstate(all="ignore"):
            return list(_walk(root))
    except TooComplexError:
        raise
    except MALFORMED as error:
        raise ValueError(f"a value that has no meaning: {error}") from error


def _walk(root: _Element) -> Iterator[Curves]:
    elements: dict[str, _Element] = {}
    sheet = StyleSheet()
    for element in _descend(root):
        if "id" in element.attributes:
            elements.setdefault("#" + element.attributes["id"], element)
        if element.tag == "style":
            sheet.add(element.text)
    waiting = [_Visit(root, np.eye(3), INITIAL, 1, is_view=True)]
    num_visits = num_strokes = 0
    while waiting:
        visit = waiting.pop()
        element = visit.element
        num_visits += 1
        if num_visits > MAX_ELEMENTS or visit.depth > MAX_DEPTH:
            raise TooComplexError("more elements than can be drawn, or `use` within itself")
        if element.style is None:
            element.style = sheet.declare(element.tag, element.attributes)
        if is_removed(element.style):
            continue
        style = inherit(visit.style, element.style)
        matrix = visit.matrix @ element.matrix
        if element.tag in _PATHS or element.tag in _SHAPES:
            if is_visible(style, has_area=element.tag != "line"):
                num_strokes += len(element.strokes)
                if num_strokes > MAX_STROKES:
                    raise TooComplexError(f"more than {MAX_STROKES} strokes")
                yield from (transform(stroke, matrix) for stroke in element.strokes)
        elif element.tag == "use":
            target = elements.get(element.attributes.get("href", ""))
            if target is not None:
                matrix = matrix @ _shift(_length(element, "x"), _length(element, "y"))
                size = element.short("width"), element.short("height")
                is_view = target.tag in ("svg", "symbol")
                waiting.append(_Visit(target, matrix, style, visit.depth + 1, is_view, size))
        elif element.tag in _GROUPS or visit.is_view:
            if element.tag == "svg" or visit.is_view:
                matrix = matrix @ _fit_view(element, visit.size)
            waiting.extend(
                _Visit(child, matrix, style, visit.depth + 1) for child in element.children[::-1]
            )


def _descend(root: _Element) -> Iterator[_Element]:
    waiting = [root]
    while waiting:
        element = waiting.pop()
        yield element
        waiting.extend(element.children[::-1])


def _length(element: _Element, name: str, value: str = "", default: float = 0.0) -> float:
    length = svgelements.Length(value or element.short(name) or default)
    return float(length.value(ppi=svgelements.DEFAULT_PPI, relative_length=DEFAULT_SIDE))


def _fit_view(element: _Element, size: tuple[str, str]) -> Matrix:
    """From the coordinates within a view to those around it."""
    x, y = _length(element, "x"), _length(element, "y")
    if not element.attributes.get("viewBox"):
        return _shift(x, y)
    box = svgelements.Viewbox(
        element.short("viewBox"), element.short("preserveAspectRatio") or None
    )
    width = _length(element, "width", size[0], box.width)
    height = _length(element, "height", size[1], box.height)
    fit = box.viewbox_transform(
        x, y, width, height, box.x, box.y, box.width, box.height, box.preserve_aspect_ratio
    )
    return _to_array(svgelements.Matrix(fit))
