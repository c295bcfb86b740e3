"""Where drawings come from: a generator, a folder or a bucket, behind one interface.

A category is one or two inputs of ndjson; each gives its bytes in blocks, and an identity that
changes when its content may have.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import fsspec

from pipeline.config import Source, SourceConfig, UserError

BLOCK_BYTES = 256 << 10
"""Small blocks parse faster: their objects stay in the processor's cache."""
FETCH_BYTES = 4 << 20
"""Asked of a bucket at once."""
LAYOUT = "<root>/full/simplified/<word>.ndjson"
FOLDERS = ("full/simplified", "partial/simplified")
"""Read in this order. Lines of the second may lack every field but the drawing."""
GENERATED_BLOCK_LINES = 512

# What gcsfs has to say reaches the user as one error; without a handler it prints tracebacks too.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Input:
    """One stream of ndjson lines."""

    path: str
    """Names the input in reports; the same for the same layout, wherever its root is."""
    identity: dict[str, Any]
    """JSON-like: two inputs with equal identities hold the same bytes."""
    read_blocks: Callable[[], Iterator[bytes]]


def open_category(source: SourceConfig, category: str) -> list[Input]:
    """The inputs of a category, none of them read yet.

    Raises:
        UserError: if the source cannot be read, has another layout, or has no such category.
    """
    match source.name:
        case Source.doodles:
            return [_open_generator(source, category)]
        case Source.local | Source.quickdraw:
            return _open_files(source, category)


def _open_generator(source: SourceConfig, category: str) -> Input:
    # Only here: who reads real drawings needs no generator.
    from pipeline.doodles import CATEGORIES, VERSION, generate

    if category not in CATEGORIES:
        raise _unknown_category("doodles", category, list(CATEGORIES))
    num, seed = source.num_drawings, source.seed

    def read_blocks() -> Iterator[bytes]:
        lines = generate(category, num, seed)
        while block := list(islice(lines, GENERATED_BLOCK_LINES)):
            yield b"".join(block)

    identity = {
        "path": f"doodles/{category}",
        "generated": True,
        "num_drawings": num,
        "seed": seed,
        "generator_version": VERSION,
    }
    return Input(f"doodles/{category}", identity, read_blocks)


def _open_files(source: SourceConfig, category: str) -> list[Input]:
    if not source.root:
        raise UserError(
            f"source.root is empty: set source.root=FOLDER, or QUICKDRAW_ROOT=FOLDER in the"
            f" environment, to a folder laid out as {LAYOUT}"
        )
    try:
        filesystem, root = _open_filesystem(source)
        names = _list_names(filesystem, root)
        paths = [f"{folder}/{category}.ndjson" for folder in FOLDERS if category in names[folder]]
        inputs = [_open_file(filesystem, source.root, root, path) for path in paths]
    except Exception as error:  # each kind of file system raises its own
        raise UserError(f"cannot read source.root={source.root}: {_describe(error)}") from error
    categories = sorted(set().union(*names.values()))
    if not categories:
        raise UserError(
            f"there are no drawings at source.root={source.root}: it must be an existing folder"
            f" laid out as {LAYOUT}"
        )
    if not inputs:
        raise _unknown_category(source.root, category, categories)
    return inputs


def _open_filesystem(source: SourceConfig) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of `source.root`, and the root's path in it."""
    if not source.root.startswith(("gs://", "gcs://")):
        filesystem, root = fsspec.url_to_fs(source.root)
        return filesystem, root
    # Not the class that gcsfs registers: that one first asks over gRPC what type a bucket is, which
    # takes an account, and waits for ever where only HTTP is spoken.
    from gcsfs.core import GCSFileSystem

    bucket = GCSFileSystem(token="anon", endpoint_url=source.endpoint_url or None)
    return bucket, bucket._strip_protocol(source.root)


def _list_names(filesystem: fsspec.AbstractFileSystem, root: str) -> dict[str, set[str]]:
    names = {}
    for folder in FOLDERS:
        try:
            entries = filesystem.ls(f"{root}/{folder}", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            entries = []
        files = [entry.rsplit("/", 1)[-1] for entry in entries if entry.endswith(".ndjson")]
        names[folder] = {name.removesuffix(".ndjson") for name in files}
    return names


def _open_file(filesystem: fsspec.AbstractFileSystem, address: str, root: str, path: str) -> Input:
    info = filesystem.info(f"{root}/{path}")
    uri = f"{address.rstrip('/')}/{path}"
    size_bytes = int(info["size"])
    version = next((str(info[key]) for key in ("etag", "mtime") if key in info), "")

    def read_blocks() -> Iterator[bytes]:
        num_bytes = 0
        try:
            with filesystem.open(f"{root}/{path}", "rb", block_size=FETCH_BYTES) as file:
                while block := file.read(BLOCK_BYTES):
                    num_bytes += len(block)
                    yield block
        except GeneratorExit:
            raise
        except Exception as error:  # each kind of file system raises its own
            raise UserError(f"cannot read {uri}: {_describe(error)}") from error
        if num_bytes != size_bytes:
            raise UserError(
                f"{uri} gave {num_bytes} bytes instead of {size_bytes}: it changed while it was"
                " read, or the connection broke; run the same command again"
            )

    identity = {"path": path, "uri": uri, "size_bytes": size_bytes, "version": version}
    return Input(path, identity, read_blocks)


def _unknown_category(place: str, category: str, categories: list[str]) -> UserError:
    nearest = difflib.get_close_matches(category, categories, n=3, cutoff=0.0)
    return UserError(
        f"{place} has no category {category!r}; the nearest of its {len(categories)}:"
        f" {', '.join(nearest)}"
    )


def _describe(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
