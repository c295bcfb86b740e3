"""Bytes of files on any file system that fsspec knows, in spite of connections that break.

What a read gives is what the store holds, or an error: a fetch that fails, or ends early, goes on
at the byte after the last one received; a whole file is compared with the store's checksum; and a
file that changes while it is read is an error.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import UserError
from pipeline.connection import (
    LEAST_FETCH_BYTES,
    RETRIES,
    FetchError,
    Retries,
    describe,
    fetch,
    open_filesystem,
    start_digest,
    stored_checksum,
    try_repeatedly,
)

BLOCK_BYTES = 256 << 10
"""Small blocks parse faster: their objects stay in the processor's cache."""


@dataclass(frozen=True)
class File:
    """A file as it was listed. It opens its file system when it is read, so it can be pickled."""

    path: str
    """Relative to the root; names the file in reports, wherever the root is."""
    uri: str
    """Root, as the user gave it, and path."""
    location: str
    """As `uri`, but absolute: another process finds it from another working directory."""
    size_bytes: int
    version: str
    """Changes when the content does (entity tag or time of change); empty if unknown."""
    endpoint_url: str = ""
    """Of a bucket's server; empty for Google's own."""
    checksum: str = ""
    """`crc32c:` or `md5:` and the digest in base64; empty where the store has none."""

    @property
    def identity(self) -> dict[str, Any]:
        """JSON-like: two files with equal identities hold the same bytes."""
        return {
            "path": self.path,
            "uri": self.uri,
            "size_bytes": self.size_bytes,
            "version": self.version,
        }

    @property
    def is_compressed(self) -> bool:
        """Whether reading decompresses it."""
        return self.path.endswith(".gz")


def list_files(
    root: str,
    endpoint_url: str,
    folder: str,
    suffixes: Sequence[str],
    *,
    retries: Retries = RETRIES,
) -> list[File]:
    """Files right in a folder below `root` whose names end in a suffix, by name.

    Args:
        root: path or address (`gs://bucket/folder`).
        endpoint_url: of the bucket's server; empty for Google's own.
        folder: relative to the root; may be empty. One that is not there has no files.
        suffixes: for example `.ndjson` and `.ndjson.gz`.
        retries: of the listing.

    Raises:
        UserError: if the folder cannot be listed.
    """
    address = f"{root.rstrip('/')}/{folder}".rstrip("/")
    entries = _list_entries(address, endpoint_url, retries)
    files = [_make_file(address, folder, endpoint_url, entry) for entry in entries]
    suffixes = tuple(suffixes)
    kept = [each for each in files if each is not None and each.path.endswith(suffixes)]
    return sorted(kept, key=lambda each: each.path)


def list_folders(root: str, endpoint_url: str, *, retries: Retries = RETRIES) -> list[str]:
    """Names of the folders right below `root`, sorted, without hidden ones (`.git`).

    A root that is not there has none.

    Raises:
        UserError: if the root cannot be listed.
    """
    entries = _list_entries(root.rstrip("/"), endpoint_url, retries)
    folders = [entry["name"] for entry in entries if entry["type"] == "directory"]
    names = {str(name).rstrip("/").rpartition("/")[2] for name in folders}
    return sorted(name for name in names if not name.startswith("."))


def _list_entries(address: str, endpoint_url: str, retries: Retries) -> list[dict[str, Any]]:
    def ask() -> list[dict[str, Any]]:
        filesystem, location = open_filesystem(address, endpoint_url=endpoint_url)
        try:
            return list(filesystem.ls(location, detail=True, refresh=True))
        except (FileNotFoundError, NotADirectoryError):
            return []

    try:
        return try_repeatedly(ask, retries)
    except Exception as error:  # each kind of file system raises its own
        raise UserError(
            f"cannot read the folder {address}: {describe(error)};"
            " check source.root and, for a bucket, the network"
        ) from error


def read_blocks(
    file: File, start: int = 0, stop: int | None = None, *, retries: Retries = RETRIES
) -> Iterator[bytes]:
    """The bytes of a file from `start` to before `stop`, decompressed if its name ends in `.gz`.

    Raises:
        UserError: if the bytes cannot be had: every try failed, the file changed, its checksum
            is another, or it is not whole gzip. Blocks given before are then to be dropped.
        ValueError: for a part of a compressed file.
    """
    is_whole = start <= 0 and (stop is None or stop >= file.size_bytes)
    if not is_whole and file.is_compressed:
        raise ValueError(f"{file.uri} is compressed: it can only be read as a whole")
    begin, end = max(start, 0), file.size_bytes if stop is None else min(stop, file.size_bytes)
    blocks = _fetch(file, begin, end, retries)
    if is_whole and file.checksum:
        blocks = _verify(blocks, file)
    return _decompress(blocks, file) if file.is_compressed else blocks


def read_lines_between(
    file: File, start: int, stop: int, *, retries: Retries = RETRIES
) -> Iterator[bytes]:
    """Blocks of exactly the lines whose first byte lies in [start, stop).

    Ranges that cover a file without overlap so give each of its lines once. A block may end within
    a line. The last line may run past `stop`; ends of lines come with them.

    Raises:
        UserError, ValueError: as `read_blocks`.
    """
    if start <= 0 and stop >= file.size_bytes:
        yield from read_blocks(file, retries=retries)
        return
    start, stop = max(start, 0), min(stop, file.size_bytes)
    if start >= stop:
        return
    # A line begins at `start` if the byte before ends one.
    is_within_earlier_line = start > 0
    last = b"\n"
    for block in read_blocks(file, max(start - 1, 0), stop, retries=retries):
        lines = block
        if is_within_earlier_line:
            end_of_line = block.find(b"\n") + 1
            if not end_of_line:
                continue
            is_within_earlier_line = False
            lines = block[end_of_line:]
        if lines:
            last = lines[-1:]
            yield lines
    if last != b"\n":
        yield from _read_rest_of_line(file, stop, retries)


def _read_rest_of_line(file: File, start: int, retries: Retries) -> Iterator[bytes]:
    for block in _fetch(file, start, file.size_bytes, retries, LEAST_FETCH_BYTES):
        end_of_line = block.find(b"\n") + 1
        if end_of_line:
            yield block[:end_of_line]
            return
        yield block


def _fetch(
    file: File, start: int, stop: int, retries: Retries, fetch_bytes: int | None = None
) -> Iterator[bytes]:
    """Bytes [start, stop) as they are stored."""

    def read(first: int, end: int) -> bytes:
        filesystem, location = open_filesystem(file.location, endpoint_url=file.endpoint_url)
        data: bytes = filesystem.cat_file(location, start=first, end=end)
        return data

    try:
        for data in fetch(read, start, stop, retries, fetch_bytes):
            for offset in range(0, len(data), BLOCK_BYTES):
                yield data[offset : offset + BLOCK_BYTES]
    except FetchError as error:
        raise _cannot_read(file, error) from error.cause
    _check_unchanged(file, retries)


def _check_unchanged(file: File, retries: Retries) -> None:
    def ask() -> File | None:
        filesystem, location = open_filesystem(file.location, endpoint_url=file.endpoint_url)
        return _make_file("", "", file.endpoint_url, filesystem.info(location))

    try:
        now = try_repeatedly(ask, retries)
    except Exception as error:  # each kind of file system raises its own
        raise UserError(f"cannot read {file.uri}: {describe(error)}") from error
    if now is None or (now.size_bytes, now.version) != (file.size_bytes, file.version):
        raise UserError(
            f"{file.uri} changed while it was read: it had {file.size_bytes} bytes (version"
            f" {file.version}) when it was listed; run the same command again"
        )


def _cannot_read(file: File, error: FetchError) -> UserError:
    if isinstance(error.cause, EOFError):
        return UserError(
            f"{file.uri} gave {error.position} bytes instead of {file.size_bytes}: it changed while"
            " it was read, or the connection broke; run the same command again"
        )
    return UserError(
        f"cannot read {file.uri} at byte {error.position} of {file.size_bytes}, tried"
        f" {error.num_tries} time(s): {describe(error.cause)}; when it can be reached, run the same"
        " command again"
    )


def _make_file(address: str, folder: str, endpoint_url: str, info: dict[str, Any]) -> File | None:
    """A file from what its file system says of it; None if it is a folder."""
    if info["type"] == "directory" or info.get("size") is None:
        return None
    name = str(info["name"]).rsplit("/", 1)[-1]
    uri = f"{address}/{name}"
    return File(
        path=f"{folder}/{name}".lstrip("/"),
        uri=uri,
        location=uri if "://" in uri else str(Path(uri).absolute()),
        size_bytes=int(info["size"]),
        version=next((str(info[key]) for key in ("etag", "ETag", "mtime") if key in info), ""),
        endpoint_url=endpoint_url,
        checksum=stored_checksum(info),
    )


def _verify(blocks: Iterator[bytes], file: File) -> Iterator[bytes]:
    name, _, expected = file.checksum.partition(":")
    digest = start_digest(name)
    for block in blocks:
        digest.update(block)
        yield block
    found = base64.b64encode(digest.digest()).decode()
    if found != expected:
        raise UserError(
            f"{file.uri} arrived damaged: its {name} is {found}, the store has {expected};"
            " run the same command again"
        )


def _decompress(blocks: Iterator[bytes], file: File) -> Iterator[bytes]:
    """One or more gzip members, in blocks of bounded size."""
    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for block in blocks:
            data = block
            while data:
                if member.eof:
                    # Zeros may fill up the end of a file.
                    data = data.lstrip(b"\0")
                    if not data:
                        break
                    member = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
                if lines := member.decompress(data, BLOCK_BYTES):
                    yield lines
                data = member.unused_data if member.eof else member.unconsumed_tail
            # Output may be left where all input is consumed.
            while not member.eof and (lines := member.decompress(b"", BLOCK_BYTES)):
                yield lines
    except zlib.error as error:
        raise UserError(f"{file.uri} is not valid gzip ({error}): replace the file") from error
    if not member.eof:
        raise UserError(f"{file.uri} ends within its gzip data: it was cut short; replace the file")
