"""SVG files become what a browser shows of them; hostile ones become rejects, soon."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.ingest.files import list_files
from pipeline.ingest.formats import svg as reader
from pipeline.ingest.formats.svg import read_svg
from pipeline.ingest.formats.svg_curves import flatten
from pipeline.ingest.formats.svg_document import read_strokes
from pipeline.ingest.records import Parsed, Reason, Reject

pytest.importorskip("svgelements")
XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
LINE = 'fill="none" stroke="black"'
SQUARE = '<path d="M0 0H100V100H0Z"/>'
Stroke = list[tuple[int, int]]


def wrap(document: str) -> str:
    is_whole = document.startswith(("<!", "<svg", "<html"))
    return document if is_whole else f"<svg {XMLNS} {LINE}>{document}</svg>"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Parsed]:
    """Reads documents, given whole or as what is in a black-lined `svg`."""

    def read(*documents: str | bytes) -> Parsed:
        for number, document in enumerate(documents):
            content = document if isinstance(document, bytes) else wrap(document).encode()
            (tmp_path / "sun").mkdir(exist_ok=True)
            (tmp_path / "sun" / f"{number}.svg").write_bytes(content)
        (parsed,) = read_svg(list_files(str(tmp_path), "", "sun", (".svg",)))
        return parsed

    return read


def strokes_of(parsed: Parsed) -> list[Stroke]:
    """Of the only drawing, relative to its first point."""
    assert not parsed.rejects
    assert len(parsed.drawings) == 1
    strokes, x, y = [[(0, 0)]], 0, 0
    for dx, dy, lifted in parsed.drawings.points.tolist():
        x, y = x + dx, y + dy
        strokes[-1].append((x, y))
        if lifted:
            strokes.append([])
    return strokes[:-1]


def reject_of(parsed: Parsed) -> Reject:
    assert len(parsed.drawings) == 0
    assert parsed.num_records == 1
    (reject,) = parsed.rejects
    assert (reject.path, reject.line) == ("sun/0.svg", 1)
    return reject


def points_of(body: str, attributes: str = "") -> list[NDArray[np.complex128]]:
    """Fine points of each stroke, in the document's own unit."""
    document = f"<svg {XMLNS} {LINE} {attributes}>{body}</svg>".encode()
    return [flatten(curves, 1e-4) for curves in read_strokes(document)]


def test_a_drawing_is_scaled_to_255_and_simplified(read: Callable[..., Parsed]) -> None:
    expected = [[(0, 0), (255, 0), (255, 255), (0, 255), (0, 0)], [(0, 0), (128, 128)]]
    for body in (
        f'{SQUARE}<line x2="50" y2="50"/>',
        '<g transform="translate(-3,7) scale(.01)"><rect width="100" height="100"/>'
        '<path d="M0,0 l10,10,20,20 20,20"/></g>',
        '<polygon points="0,0 1e1,0 10 10 0,10"/><polyline points="0 0 2,2 5 5"/>',
    ):
        assert strokes_of(read(body)) == expected


def test_strokes_come_in_document_order_one_for_each_sub_path(read: Callable[..., Parsed]) -> None:
    body = (
        '<path d="M0 0L10 0M0 100L10 100"/><g><path d="M50 0h10"/></g><path d="m0 50 10 0z l0 9"/>'
    )
    firsts = [stroke[0] for stroke in strokes_of(read(body))]
    assert firsts == [(0, 0), (0, 255), (128, 0), (0, 128), (0, 128)]


def test_arcs_and_circles_lie_on_their_circle() -> None:
    for body in (
        '<circle cx="30" cy="-5" r="50"/>',
        '<ellipse cx="30" cy="-5" rx="50" ry="50"/>',
        '<path d="M80-5a50 50 0 11-100 0 50,50,0,1,1,100,0z"/>',
        '<rect x="-20" y="-55" width="100" height="100" rx="50"/>',
        '<ellipse cx="30" cy="-1" rx="50" ry="10" transform="scale(1 5)"/>',
        '<path transform="rotate(90 30 -5)" d="M80-5A50 50 0 0 0-20-5A50 50 7 0 0 80-5"/>',
    ):
        (points,) = points_of(body)
        np.testing.assert_allclose(np.abs(points - (30 - 5j)), 50, atol=0.005)
        assert np.ptp(np.unwrap(np.angle(points - (30 - 5j)))) == pytest.approx(2 * np.pi, abs=1e-3)


def at_many_places(controls: list[complex] | NDArray[np.complex128]) -> NDArray[np.complex128]:
    """A Bézier curve of any degree, by de Casteljau's rule."""
    share = np.linspace(0, 1, 50)[:, None]
    points = np.tile(np.array(controls, dtype=np.complex128), (50, 1))
    while points.shape[1] > 1:
        points = points[:, 1:] * share + points[:, :-1] * (1 - share)
    return points


def test_curves_are_the_polynomials_that_svg_defines() -> None:
    for data, controls in (
        ("M1 2C3 9 7 8 9-4", [1 + 2j, 3 + 9j, 7 + 8j, 9 - 4j]),
        ("m1 2q4 6 8 0", [1 + 2j, 5 + 8j, 9 + 2j]),
        ("M1 2L1 2C0 0 3 9 9 9S 2 2 5 5", [9 + 9j, 15 + 9j, 2 + 2j, 5 + 5j]),
        ("M0 0Q3 9 9 9t 2 2", [9 + 9j, 15 + 9j, 11 + 11j]),
        ("M0 0Q3 9 9 9S 2 2 5 5", [9 + 9j, 9 + 9j, 2 + 2j, 5 + 5j]),
    ):
        (curves,) = read_strokes(f'<svg {LINE}><path d="{data}"/></svg>'.encode())
        np.testing.assert_allclose(at_many_places(curves[-1]), at_many_places(controls), atol=1e-12)


def test_points_stay_within_the_tolerance_of_the_curve() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        curve = rng.normal(size=(1, 4, 2)) @ np.array([1, 1j])
        chords = flatten(curve, 0.01)
        fine = flatten(curve, 1e-6)
        begin, step = chords[:-1, None], np.diff(chords)[:, None]
        share = np.clip(((fine - begin) / step).real, 0, 1)
        assert np.abs(fine - begin - share * step).min(axis=0).max() < 0.01


def test_transforms_views_and_use() -> None:
    short, long = '<path d="M1 2L3 4"/>', '<path d="M0 0L10 5"/>'
    leaf = '<defs><path id="leaf" d="M1 2L3 4"/></defs>'
    symbol = f'<symbol id="s" viewBox="0 0 10 10">{long}</symbol>'
    stretched = 'width="20" height="20" viewBox="0 0 10 5" preserveAspectRatio="none"'
    for body, expected in (
        (
            f'<g transform="translate(9)"><g transform="scale(2,3)">{short}</g></g>',
            (11 + 6j, 15 + 12j),
        ),
        (f'<a transform="matrix(0 1 -1 0 0 0)">{short}</a>', (-2 + 1j, -4 + 3j)),
        (leaf + '<use href="#leaf" x="5" y="1" transform="scale(2)"/>', (12 + 6j, 16 + 10j)),
        (leaf + '<use xlink:href="#leaf" y="1"/><use href="#nobody"/>', (1 + 3j, 3 + 5j)),
        (symbol + '<use href="#s" x="10" width="20" height="40"/>', (10 + 10j, 30 + 20j)),
        (f'<svg x="1" width="20" height="20" viewBox="0 0 10 10">{long}</svg>', (1, 21 + 10j)),
        (f"<svg {stretched}>{long}</svg>", (0, 20 + 20j)),
        ('<line x1="1in" y1="0" x2="0" y2="1"/>', (96, 1j)),
    ):
        (points,) = points_of(body)
        np.testing.assert_allclose(points[[0, -1]], expected, atol=1e-9)


def test_what_cannot_be_seen_is_no_stroke(read: Callable[..., Parsed]) -> None:
    style = "<style>.gone, rect.thin{display:none} #faint{stroke:none} /* *{fill:red} */</style>"
    unseen = (
        f'<g display="none">{SQUARE}</g>',
        f'<g style="visibility: hidden !important">{SQUARE}</g>',
        f'<g opacity="0">{SQUARE}</g>',
        f'<g stroke="none">{SQUARE}</g>',
        f'<g stroke="none" fill="#FFF">{SQUARE}</g>',
        f'<g stroke-width="0px">{SQUARE}</g>',
        '<line x2="9" stroke="none" fill="black"/>',
        f'{style}<g class="a gone">{SQUARE}</g>',
        f'{style}<rect class="thin" width="9" height="9"/>',
        f'{style}<path id="faint" d="M0 0L9 9"/>',
        f"<defs>{SQUARE}</defs><symbol>{SQUARE}</symbol><mask>{SQUARE}</mask><pattern>{SQUARE}</pattern>",
        f'<clipPath id="c">{SQUARE}</clipPath><text>no</text><image href="file:///etc/passwd"/>',
        f'<x:g xmlns:x="urn:other">{SQUARE}</x:g>',
        '<path d=""/><path d="M5 5"/><path d="L1 1"/><rect width="9"/><circle r="0"/>',
    )
    for body in unseen:
        assert reject_of(read(body)).reason == Reason.no_drawing, body
        assert len(strokes_of(read(body + '<path d="M0 0L10 0"/>'))) == 1, body
    seen = (
        f'<g fill="black" stroke="none">{SQUARE}</g>',
        f'<g visibility="hidden"><g visibility="visible">{SQUARE}</g></g>',
        f'<g class="a" style="stroke:#fff;fill:none">{SQUARE}</g>',
        f"<svg>{SQUARE}</svg>",
    )
    for body in seen:
        assert len(strokes_of(read(body))) == 1, body


def test_path_data_counts_up_to_its_first_error(read: Callable[..., Parsed]) -> None:
    for data in ("M0 0H10V10 L5", "M0 0H10V10 ? L9 9", "M0 0H10V10 C1 1 2 2 z z z 9"):
        assert strokes_of(read(f'<path d="{data}"/>'))[0][:3] == [(0, 0), (255, 0), (255, 255)]


def test_a_dot_is_a_stroke(read: Callable[..., Parsed]) -> None:
    assert read('<path d="M3 3z"/>').drawings.points.tolist() == [[0, 0, 1]]
    assert [len(each) for each in strokes_of(read('<path d="M0 0L9 9M5 5l0 0"/>'))] == [2, 2]


def test_entities_of_illustrator_and_other_encodings_are_read(read: Callable[..., Parsed]) -> None:
    illustrator = (
        '<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://nowhere.invalid/svg11.dtd" ['
        '<!ENTITY ns_svg "http://www.w3.org/2000/svg">]>'
        f'<svg xmlns="&ns_svg;">{SQUARE}</svg>'
    )
    utf16 = f'<?xml version="1.0" encoding="utf-16"?><svg>{SQUARE}</svg>'.encode("utf-16")
    assert len(strokes_of(read(illustrator))) == 1
    assert len(strokes_of(read(utf16))) == 1


NESTED_USE = f'<g id="l0">{SQUARE}</g>' + "".join(
    f'<g id="l{number}">' + 10 * f'<use href="#l{number - 1}"/>' + "</g>" for number in range(1, 12)
)
LAUGHS = "".join(
    f'<!ENTITY l{number} "' + 10 * f"&l{number - 1};" + '">' for number in range(1, 10)
)
HOSTILE = {
    "empty": (b"", Reason.not_svg),
    "not XML": (b"\x89PNG\r\n\x1a\n", Reason.not_svg),
    "cut off": (f"<svg {LINE}>{SQUARE}", Reason.not_svg),
    "another document": ("<html><path d='M0 0L1 1'/></html>", Reason.not_svg),
    "no encoding": (b'<?xml version="1.0" encoding="x"?><svg/>', Reason.not_svg),
    "entity bomb": (
        f'<!DOCTYPE svg [<!ENTITY l0 "lol">{LAUGHS}]><svg {LINE}><text>&l9;</text>{SQUARE}</svg>',
        Reason.too_complex,
    ),
    "long entity": (
        f'<!DOCTYPE svg [<!ENTITY a "{"1 " * 5000}">]><svg><path d="M{"&a;" * 9999}"/></svg>',
        Reason.too_complex,
    ),
    "external entity": (
        '<!DOCTYPE svg [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        '<svg><path stroke="red" d="M0 0L&a;"/></svg>',
        Reason.not_svg,
    ),
    "deep": ("<g>" * 1_000_000, Reason.too_complex),
    "wide": ("<g/>" * 900_000, Reason.too_complex),
    "use of itself": ('<g id="a"><use href="#a"/></g>', Reason.too_complex),
    "use of each other": (
        '<g id="a"><use href="#b"/></g><g id="b"><use href="#a"/></g>',
        Reason.too_complex,
    ),
    "use of many": (NESTED_USE, Reason.too_complex),
    "not finite": ('<path d="M0 0L1e999 0"/>', Reason.not_finite),
    "overflow": ('<g transform="scale(1e200)"><path d="M0 0L1e200 1"/></g>', Reason.not_finite),
    "too far apart": ('<path d="M-1.7e308 0L1.7e308 1"/>', Reason.not_finite),
    "no matrix": ('<path transform="matrix(1 2)" d="M0 0L1 1"/>', Reason.not_svg),
    "no size": (f'<svg viewBox="0 0 0 0">{SQUARE}</svg>', Reason.not_svg),
    "many closings": (f'<path d="M0 0{"h1" * 50_000}{"z" * 500_000}"/>', Reason.too_complex),
    "many turns": (f'<path d="M0 0{"H100H0" * 2_000}"/>', Reason.too_complex),
    "many curves": (f'<path d="M0 0{"c9 9 9 9 0 0" * 300_000}"/>', Reason.too_complex),
    "many dots": (f'<path d="M0 0{"z" * 50_000}"/>', Reason.too_complex),
    "long transform": (
        f'<path transform="{"matrix(" * 500_000}" d="M0 0L1 1"/>',
        Reason.too_complex,
    ),
    "long length": (f'<rect width="{"1" * 3_000_000}" height="1"/>', Reason.too_complex),
    "long points": (f'<polyline points="{"1" * 3_000_000}"/>', Reason.no_drawing),
    "style sheet": (f"<style>{'/*' * 1_000_000}</style>", Reason.no_drawing),
    "selectors": (f"<style>{'a,' * 1_000_000}{{fill:red}}</style>", Reason.no_drawing),
    "shared data": (
        f'<path id="p" d="M{" " * 2_000_000}0 0"/>' + '<use href="#p"/>' * 20_000,
        Reason.no_drawing,
    ),
    "large": (f"<svg><!--{'x' * reader.MAX_FILE_BYTES}--></svg>", Reason.oversize_file),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_rejects_soon(name: str, read: Callable[..., Parsed]) -> None:
    """Within seconds; what grows faster than a document does would take minutes or more."""
    document, reason = HOSTILE[name]
    assert reject_of(read(document)).reason == reason


def test_rejects_do_not_touch_their_neighbours(read: Callable[..., Parsed]) -> None:
    parsed = read(SQUARE, "<g>", '<path d="M0 0L9 9"/>', b"", '<path d="M0 0H9"/>')
    assert parsed.num_records == 5
    assert [(each.path, each.reason) for each in parsed.rejects] == [
        ("sun/1.svg", Reason.not_svg),
        ("sun/3.svg", Reason.not_svg),
    ]
    assert parsed.drawings.lengths.tolist() == [4, 1, 1]
    alone = read('<path d="M0 0L9 9"/>')
    assert alone.drawings.hashes[0] == parsed.drawings.hashes[1]


def test_chunks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_FILES", 3)
    for number in range(7):
        (tmp_path / f"{number}.svg").write_text(
            f"<svg><path stroke='red' d='M0 0L{number} 9'/></svg>"
        )
    files = list_files(str(tmp_path), "", "", (".svg",))
    assert [parsed.num_records for parsed in read_svg(files)] == [3, 3, 1]
    monkeypatch.setattr(reader, "MAX_LENGTH_PIXELS", 400)
    assert [parsed.num_records for parsed in read_svg(files)] == [2, 2, 2, 1]
    assert list(read_svg([])) == []


def test_what_the_user_has_to_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "svgelements",
        "pipeline.ingest.formats.svg_document",
        "pipeline.ingest.formats.svg_curves",
    ):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "svgelements", None)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"pip install -e '\.\[svg\]'"):
        list(read_svg([]))
