"""Where drawings come from: a generator, a folder or a bucket, behind one interface.

A category is a list of parts. A part is read alone, in any process, so parts are what an ingest is
shared out by, and what it goes on from after it was killed.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from pipeline.config import ALL_CATEGORIES, Format, Source, SourceConfig, UserError
from pipeline.ingest.files import File, list_files, list_folders, read_blocks, read_lines_between
from pipeline.ingest.formats.ndjson import read_raw, read_simplified
from pipeline.ingest.records import Parsed

GENERATED_PART = 100_000
"""Drawings in a part of a generated category."""
GENERATED_BLOCK_LINES = 512
SVG_PART_FILES = 4096


@dataclass(frozen=True)
class Layout:
    """Where a format's files lie below a root."""

    folders: tuple[str, ...]
    """Read in this order."""
    suffixes: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(["<root>", *self.folders[:1], f"<word>{self.suffixes[0]}"])


LAYOUTS = {
    # Lines of partial files may lack every field but the drawing.
    Format.simplified: Layout(("full/simplified", "partial/simplified"), (".ndjson", ".ndjson.gz")),
    Format.raw: Layout(("full/raw",), (".ndjson", ".ndjson.gz")),
    Format.binary: Layout(("full/binary",), (".bin", ".bin.gz")),
    Format.npz: Layout(("sketchrnn",), (".npz",)),
    Format.svg: Layout((), (".svg",)),  # a folder per word
}


class Part(Protocol):
    """A piece of a category that is read alone; it can be sent to another process."""

    @property
    def path(self) -> str:
        """Names the part's file in reports; the same for the same layout, wherever its root is."""

    @property
    def size_bytes(self) -> int:
        """About as large as the work is."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-like: two parts with equal identities hold the same records."""

    def read(self) -> Iterator[Parsed]:
        """The records, in their order, some at a time.

        Raises:
            UserError: if they cannot be had.
        """


@dataclass(frozen=True)
class FilePart:
    """The lines of a file that begin in some of its bytes, or all of a file that has no lines."""

    file: File
    format: Format
    word: str
    start: int
    stop: int
    quantum: float

    @property
    def path(self) -> str:
        """Relative to the root."""
        return self.file.path

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self.stop - self.start

    @property
    def identity(self) -> dict[str, Any]:
        """The file's, and which of its bytes."""
        return self.file.identity | {"start": self.start, "stop": self.stop}

    def read(self) -> Iterator[Parsed]:
        """Reads the part's bytes as its format says."""
        match self.format:
            case Format.simplified:
                return read_simplified(self._lines(), self.word)
            case Format.raw:
                return read_raw(self._lines(), self.word)
            case Format.binary:
                from pipeline.ingest.formats.binary import read_binary

                return read_binary(read_blocks(self.file))
            case Format.npz:
                from pipeline.ingest.formats.npz import read_npz

                return read_npz(self.file, self.quantum)
            case Format.svg:
                raise AssertionError("SVG files come many to a part")

    def _lines(self) -> Iterator[bytes]:
        return read_lines_between(self.file, self.start, self.stop)


@dataclass(frozen=True)
class SvgPart:
    """Some SVG files of a category's folder, a drawing each."""

    files: tuple[File, ...]

    @property
    def path(self) -> str:
        """Of the folder."""
        return self.files[0].path.rpartition("/")[0]

    @property
    def size_bytes(self) -> int:
        """Bytes of the files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def identity(self) -> dict[str, Any]:
        """Those of the files."""
        return {"path": self.path, "files": [file.identity for file in self.files]}

    def read(self) -> Iterator[Parsed]:
        """Reads the files."""
        from pipeline.ingest.formats.svg import read_svg

        return read_svg(self.files)


@dataclass(frozen=True)
class DoodlePart:
    """Some generated drawings of a category."""

    word: str
    first: int
    num: int
    seed: int
    version: int

    @property
    def path(self) -> str:
        """A name in place of a file's."""
        return f"doodles/{self.word}"

    @property
    def size_bytes(self) -> int:
        """Of a line of simplified ndjson, on average."""
        return 500 * self.num

    @property
    def identity(self) -> dict[str, Any]:
        """What the generator is asked for."""
        return {
            "path": self.path,
            "generated": True,
            "first": self.first,
            "num": self.num,
            "seed": self.seed,
            "generator_version": self.version,
        }

    def read(self) -> Iterator[Parsed]:
        """Generates the drawings."""
        from pipeline.doodles import generate

        lines = generate(self.word, self.num, self.seed, self.first)
        return read_simplified(_blocks(lines), self.word)


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    iterator = iter(lines)
    while block := list(islice(iterator, GENERATED_BLOCK_LINES)):
        yield b"".join(block)


def open_categories(
    source: SourceConfig, categories: Sequence[str], part_bytes: int
) -> dict[str, list[Part]]:
    """The parts of each category, none of them read yet; the same whoever reads them.

    Args:
        source: what to read.
        categories: their names, or ALL_CATEGORIES.
        part_bytes: size of the parts that files of lines are cut into.

    Raises:
        UserError: if the source cannot be read, has another layout, or lacks a category.
    """
    if source.name == Source.doodles:
        return _open_generator(source, categories)
    if not source.root:
        raise UserError(
            "source.root is empty: set source.root=FOLDER, or QUICKDRAW_ROOT=FOLDER in the"
            f" environment, to a folder laid out as {LAYOUTS[source.format]}"
        )
    if source.format == Format.svg:
        return _open_svg(source, categories)
    return _open_files(source, categories, part_bytes)


def _open_generator(source: SourceConfig, categories: Sequence[str]) -> dict[str, list[Part]]:
    # Only here: who reads real drawings needs no generator.
    from pipeline.doodles import CATEGORIES, VERSION

    firsts = range(0, max(source.num_drawings, 1), GENERATED_PART)
    return {
        category: [
            DoodlePart(
                category,
                first,
                min(GENERATED_PART, source.num_drawings - first),
                source.seed,
                VERSION,
            )
            for first in firsts
        ]
        for category in _choose(categories, CATEGORIES, "doodles")
    }


def _open_files(
    source: SourceConfig, categories: Sequence[str], part_bytes: int
) -> dict[str, list[Part]]:
    layout = LAYOUTS[source.format]
    files: dict[str, list[File]] = {}
    for folder in layout.folders:
        for file in list_files(source.root, source.endpoint_url, folder, layout.suffixes):
            files.setdefault(_word_of(file, layout.suffixes), []).append(file)
    _check_listing(source, files)
    return {
        category: [
            part
            for file in _without_twins(files[category])
            for part in _cut(file, source, category, part_bytes)
        ]
        for category in _choose(categories, files, source.root)
    }


def _without_twins(files: list[File]) -> list[File]:
    names = [file.uri.removesuffix(".gz") for file in files]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"there are both {name} and {name}.gz: remove one of them")
    return files


def _cut(file: File, source: SourceConfig, category: str, part_bytes: int) -> Iterator[Part]:
    has_lines = source.format in (Format.simplified, Format.raw) and not file.is_compressed
    step = part_bytes if has_lines else max(file.size_bytes, 1)
    for start in range(0, max(file.size_bytes, 1), step):
        stop = min(start + step, file.size_bytes)
        yield FilePart(file, source.format, category, start, stop, source.quantum)


def _open_svg(source: SourceConfig, categories: Sequence[str]) -> dict[str, list[Part]]:
    words = list_folders(source.root, source.endpoint_url)
    _check_listing(source, words)
    parts: dict[str, list[Part]] = {}
    for category in _choose(categories, words, source.root):
        files = list_files(source.root, source.endpoint_url, category, LAYOUTS[Format.svg].suffixes)
        parts[category] = [
            SvgPart(tuple(files[first : first + SVG_PART_FILES]))
            for first in range(0, len(files), SVG_PART_FILES)
        ]
    return parts


def _word_of(file: File, suffixes: Iterable[str]) -> str:
    name = file.path.rpartition("/")[2]
    return next(name.removesuffix(suffix) for suffix in suffixes if name.endswith(suffix))


def _check_listing(source: SourceConfig, words: Collection[str]) -> None:
    if not words:
        raise UserError(
            f"there are no {source.format} drawings at source.root={source.root}: it must be an"
            f" existing folder laid out as {LAYOUTS[source.format]}"
        )


def _choose(categories: Sequence[str], words: Collection[str], place: str) -> list[str]:
    """The categories that are asked for, each of which must be there."""
    if list(categories) == ALL_CATEGORIES:
        return sorted(words)
    for category in categories:
        if category not in words:
            nearest = difflib.get_close_matches(category, sorted(words), n=3, cutoff=0.0)
            raise UserError(
                f"{place} has no category {category!r}; the nearest of its {len(words)}:"
                f" {', '.join(nearest)}"
            )
    return list(categories)
