"""Drawings that a model is given, brought to what it was trained on.

That is the simplified form of Quick, Draw!: whole pixels, the larger side 255 of them, lines
simplified by Ramer-Douglas-Peucker with epsilon 2.
"""

from __future__ import annotations

import gzip
import itertools
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.data import metadata
from pipeline.ingest.files import File, list_files
from pipeline.ingest.formats.ndjson import read_raw, read_simplified
from pipeline.ingest.formats.npz import FractionalOffsets, read_npz
from pipeline.ingest.formats.svg import read_svg
from pipeline.ingest.records import Reason, Reject
from pipeline.manifest import Manifest
from pipeline.simplification import LARGER_SIDE_PIXELS, Drawings, simplify
from sketch_model.strokes import polylines_to_stroke3, stroke3_to_polylines

FORMS = (
    "FILE.svg, FILE.ndjson:LINE, FILE.npz:NUMBER (both from 1), or, of the data in --data,"
    " id:KEY_ID or test:ROW (train, valid or test; from 0)"
)
_SMALL_PIXELS = 200
"""A drawing with a smaller side, if it is whole, is not of Quick, Draw!."""
_FILE = re.compile(r"(?P<path>.+\.(svg|ndjson|npz)(\.gz)?)(:(?P<number>\d+))?")
_STORED = re.compile(r"(?P<place>id|train|valid|test):(?P<number>\d+)")


@dataclass(frozen=True)
class Given:
    """A drawing, as it is shown to a model.

    Attributes:
        sketch: stroke-3 rows in pixels, [L, 3].
        name: what the user called it.
        word: what it is of; empty if nobody says.
        remarks: what was done to it.
    """

    sketch: NDArray[Any]
    name: str
    word: str = ""
    remarks: list[str] = field(default_factory=list)


def is_stored(name: str) -> bool:
    """Whether it is a drawing of the data that is called so."""
    return _STORED.fullmatch(name) is not None


def read_drawing(name: str, manifest: Path | None) -> Given:
    """The drawing that is called so, as `FORMS` says.

    Raises:
        UserError: if there is none, or it cannot be read.
    """
    if match := _STORED.fullmatch(name):
        return _read_stored(name, match["place"], int(match["number"]), manifest)
    if not (match := _FILE.fullmatch(name)):
        raise UserError(f"{name} does not say a drawing: give {FORMS}")
    path, number = Path(match["path"]), int(match["number"] or 1)
    if not path.is_file():
        raise UserError(f"{name}: there is no file {path}")
    if number < 1:
        raise UserError(f"{name}: drawings of a file are counted from 1")
    match [suffix for suffix in path.suffixes if suffix != ".gz"][-1]:
        case ".svg":
            return _read_svg(name, path, number)
        case ".npz":
            return _read_npz(name, path, number)
    return _read_ndjson(name, path, number)


def _read_svg(name: str, path: Path, number: int) -> Given:
    if number != 1:
        raise UserError(f"{name}: an SVG file is one drawing")
    parsed = next(read_svg([_file(path)]))
    if parsed.rejects and parsed.rejects[0].reason is Reason.no_drawing:
        raise UserError(
            f"{name}: no line and no outline is to be seen in it: text and pictures are not read;"
            " convert them to paths"
        )
    if parsed.rejects:
        _refuse(name, parsed.rejects[0])
    sketch = parsed.drawings.points
    remark = f"SVG brought to 255 pixels, simplified to {len(sketch)} points"
    return Given(sketch, name, remarks=[remark])


def _read_npz(name: str, path: Path, number: int) -> Given:
    """Offsets that are fractions are rounded, as what a model has drawn is in an npz."""
    try:
        return _bring_to_scale(name, "", _read_rows(name, path, number, quantum=0.0))
    except FractionalOffsets:  # it names an option of ingest
        pass
    given = _bring_to_scale(name, "", _read_rows(name, path, number, quantum=1.0))
    remark = "its points, which lie between pixels, were rounded to whole ones"
    return replace(given, remarks=[remark, *given.remarks])


def _read_rows(name: str, path: Path, number: int, quantum: float) -> NDArray[Any]:
    first = 1
    for parsed in read_npz(_file(path), quantum):
        if number < first + parsed.num_records:
            lines = [reject.line for reject in parsed.rejects]
            if number in lines:
                _refuse(name, parsed.rejects[lines.index(number)])
            index = number - first - sum(line < number for line in lines)
            return parsed.drawings.take(np.array([index])).points
        first += parsed.num_records
    raise UserError(f"{name}: there are {first - 1} drawings in the file")


def _read_ndjson(name: str, path: Path, number: int) -> Given:
    """A line in either form of Quick, Draw!, told apart by whether its strokes have times."""
    line, word, is_raw = _read_line(name, path, number), "", False
    with suppress(orjson.JSONDecodeError, AttributeError, LookupError, TypeError):
        content = orjson.loads(line)  # where it fails, the reader says what is wrong
        word = str(content.get("word", ""))
        is_raw = len(content["drawing"][0]) > 2
    parsed = next((read_raw if is_raw else read_simplified)([line], word))
    if parsed.rejects:
        _refuse(name, parsed.rejects[0])
    given = _bring_to_scale(name, word, parsed.drawings.points)
    if is_raw:
        given.remarks.append(f"raw drawing simplified to {len(given.sketch)} points")
    return given


def _read_line(name: str, path: Path, number: int) -> bytes:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            line = next(itertools.islice(file, number - 1, None), None)
    except (OSError, EOFError) as error:
        raise UserError(f"{name}: {path} cannot be read ({error})") from error
    if line is None:
        raise UserError(f"{name}: the file has fewer lines; lines are counted from 1")
    return line


def _read_stored(name: str, place: str, number: int, path: Path | None) -> Given:
    if path is None:
        raise UserError(
            f"{name} is a drawing of the data, and nothing says of which: add --data MANIFEST"
            " (data/SOURCE/manifests/NAME.json)"
        )
    manifest = Manifest.read(path)
    root = manifest.locate_shards(path)
    if place != "id":
        num = manifest.num_drawings(place)
        if number >= num:
            raise UserError(f"{name}: the {place} split of {path} has {num} drawings, from 0")
        found = [metadata.locate(manifest, root, place, number)]
    elif number >= 1 << 64 or not (found := list(metadata.find(manifest, root, number))):
        raise UserError(
            f"{name}: {path} has no drawing of this key_id; one that was filtered or rejected is"
            " not in it"
        )
    return Given(metadata.read(found[0]).points, name, found[0].recordbatch.shard.category)


def _bring_to_scale(name: str, word: str, sketch: NDArray[Any]) -> Given:
    """A drawing larger than any of Quick, Draw!, of another program, is simplified as raw ones."""
    side = larger_side(sketch)
    if side <= LARGER_SIDE_PIXELS:
        remark = f"{side:.0f} pixels large, where Quick, Draw! has 255; --size 255 makes it so"
        return Given(sketch, name, word, [remark] if side < _SMALL_PIXELS else [])
    strokes = stroke3_to_polylines(sketch)
    counts = np.array([len(stroke) for stroke in strokes])
    simple = simplify(
        Drawings(np.concatenate(strokes).T.astype(float), counts, np.array([len(strokes)]))
    )
    pieces = np.split(simple.points.T.astype(np.int32), np.cumsum(simple.points_per_stroke)[:-1])
    remark = f"brought from {side:.0f} to 255 pixels and simplified"
    return Given(polylines_to_stroke3(pieces), name, word, [remark])


def larger_side(sketch: NDArray[Any]) -> float:
    """Of the box around all points of stroke-3 rows."""
    points = np.concatenate(stroke3_to_polylines(sketch))
    return float(np.ptp(points, axis=0).max())


def _refuse(name: str, reject: Reject) -> NoReturn:
    raise UserError(f"{name}: {reject.reason} ({reject.detail})")


def _file(path: Path) -> File:
    (file,) = (
        each
        for each in list_files(str(path.parent), "", "", (path.name,))
        if each.path == path.name
    )
    return file
