"""Bytes on disks and in remote stores, in spite of connections that break.

A location is a path, or an address that fsspec knows (`gs://bucket/folder`). What a read gives is
what the store holds, and what is written is there whole or not at all; or there is one clear
error. What may pass, such as a busy store, is tried again.

Buckets are entered with the application default credentials; where STORAGE_EMULATOR_HOST names
another server, without any.
"""

from __future__ import annotations

import base64
import functools
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.atomic import replacing_file
from pipeline.config import UserError
from pipeline.connection import (
    FETCH_BYTES,
    RETRIES,
    FetchError,
    Retries,
    describe,
    fetch,
    is_bucket,
    open_filesystem,
    start_digest,
    stored_checksum,
    try_repeatedly,
)

UPLOAD_BYTES = 16 << 20
"""Sent to a bucket at once, at most; a multiple of 256 KiB."""


def is_remote(location: str) -> bool:
    """Whether a location is an address rather than a path."""
    return "://" in location


def join(location: str, *names: str) -> str:
    """The location of what has these names below a folder; the empty one is the current folder."""
    return "/".join([location.rstrip("/"), *names]) if location else "/".join(names)


def read_bytes(location: str, *, retries: Retries = RETRIES) -> bytes:
    """The content of a file, compared with the store's checksum if there is one.

    Raises:
        FileNotFoundError: if it is not there.
        UserError: if it cannot be read.
    """
    with _explaining("read", location):
        if not is_remote(location):
            return Path(location).read_bytes()
        info = try_repeatedly(lambda: _ask_info(location), retries)
        content = _fetch_range(location, 0, int(info["size"]), retries)
        _compare([content], info)
        return content


def read_range(location: str, start: int, stop: int, *, retries: Retries = RETRIES) -> bytes:
    """The bytes of a file from `start` to before `stop`, every one of them.

    Raises:
        FileNotFoundError: if it is not there.
        UserError: if they cannot be read, or it ends before.
    """
    with _explaining("read", location):
        if is_remote(location):
            return _fetch_range(location, start, stop, retries)
        with Path(location).open("rb") as file:
            file.seek(start)
            content = file.read(stop - start)
        if len(content) < stop - start:
            raise EOFError(f"it ends at byte {start + len(content)}, before byte {stop}")
        return content


def size_bytes(location: str, *, retries: Retries = RETRIES) -> int | None:
    """The size of a file; None if there is none.

    Raises:
        UserError: if the store does not say.
    """
    try:
        with _explaining("read", location):
            if is_remote(location):
                return int(try_repeatedly(lambda: _ask_info(location), retries)["size"])
            path = Path(location)
            return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def list_names(location: str, *, retries: Retries = RETRIES) -> list[str]:
    """Names of the files and folders right in a folder, sorted; none if it is not there.

    Raises:
        UserError: if the folder cannot be listed.
    """
    try:
        with _explaining("list", location):
            if is_remote(location):
                return try_repeatedly(lambda: _ask_names(location), retries)
            return sorted(os.listdir(location))
    except (FileNotFoundError, NotADirectoryError):
        return []


def put(local_file: Path, location: str, *, retries: Retries = RETRIES) -> None:
    """Uploads a file to a remote location, and compares what arrived with it.

    Raises:
        UserError: if it cannot be written.
    """

    def upload() -> None:
        filesystem, path = _open(location)
        options = {"chunksize": UPLOAD_BYTES} if is_bucket(location) else {}
        filesystem.put_file(str(local_file), path, **options)
        with local_file.open("rb") as file:
            _compare(iter(functools.partial(file.read, FETCH_BYTES), b""), _ask_info(location))

    with _explaining("write", location, is_missing_expected=False):
        try_repeatedly(upload, retries)


def write_bytes(content: bytes, location: str, *, retries: Retries = RETRIES) -> None:
    """Writes a file whole or not at all.

    Raises:
        UserError: if it cannot be written.
    """

    def upload() -> None:
        filesystem, path = _open(location)
        filesystem.pipe_file(path, content)
        _compare([content], _ask_info(location))

    if is_remote(location):
        with _explaining("write", location, is_missing_expected=False):
            try_repeatedly(upload, retries)
        return
    with replacing_file(Path(location)) as writing:
        writing.write_bytes(content)


def remove(location: str, *, retries: Retries = RETRIES) -> None:
    """Removes a file, or a folder with all that is in it; nothing has to be there.

    Raises:
        UserError: if it cannot be removed.
    """
    with _explaining("remove", location):
        if is_remote(location):
            for path in try_repeatedly(lambda: _ask_everything_below(location), retries):
                try_repeatedly(functools.partial(_remove_file, location, path), retries)
        elif Path(location).is_dir():
            shutil.rmtree(location)
        else:
            Path(location).unlink(missing_ok=True)


def _open(location: str) -> tuple[Any, str]:
    if not is_bucket(location):
        return open_filesystem(location)
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator:
        url = emulator if is_remote(emulator) else f"http://{emulator}"
        return open_filesystem(location, endpoint_url=url)
    from google.auth.exceptions import DefaultCredentialsError

    try:
        return open_filesystem(location, token="google_default")
    except DefaultCredentialsError as error:
        raise UserError(
            f"there are no credentials to enter {location} with: run `gcloud auth"
            " application-default login`, or name a service account's key file in"
            " GOOGLE_APPLICATION_CREDENTIALS"
        ) from error


def _ask_info(location: str) -> dict[str, Any]:
    filesystem, path = _open(location)
    info: dict[str, Any] = filesystem.info(path)
    if info["type"] == "directory" or info.get("size") is None:
        raise FileNotFoundError(location)
    return info


def _ask_names(location: str) -> list[str]:
    filesystem, path = _open(location)
    paths = (entry.rstrip("/") for entry in filesystem.ls(path, detail=False))
    # Some stores keep an empty object of a folder's own name.
    return sorted(each.rpartition("/")[2] for each in paths if each != path.rstrip("/"))


def _ask_everything_below(location: str) -> list[str]:
    filesystem, path = _open(location)
    return list(filesystem.find(path))


def _remove_file(location: str, path: str) -> None:
    filesystem, _ = _open(location)
    with suppress(FileNotFoundError):  # a try before may have succeeded without an answer
        filesystem.rm_file(path)


def _fetch_range(location: str, start: int, stop: int, retries: Retries) -> bytes:
    def read(first: int, end: int) -> bytes:
        filesystem, path = _open(location)
        data: bytes = filesystem.cat_file(path, start=first, end=end)
        return data

    return b"".join(fetch(read, start, stop, retries))


def _compare(content: Iterable[bytes], info: dict[str, Any]) -> None:
    """Raises OSError if a file's content is not what its store says it has."""
    name, _, expected = stored_checksum(info).partition(":")
    digest = start_digest(name or "md5")
    num_bytes = 0
    for block in content:
        num_bytes += len(block)
        digest.update(block)
    if num_bytes != info["size"]:
        raise OSError(f"{num_bytes} bytes here, {info['size']} there")
    found = base64.b64encode(digest.digest()).decode()
    if expected and found != expected:
        raise OSError(f"its {name} is {found} here, {expected} there")


@contextmanager
def _explaining(action: str, location: str, *, is_missing_expected: bool = True) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each kind of file system raises its own
        cause = error.cause if isinstance(error, FetchError) else error
        missing = isinstance(cause, (FileNotFoundError, NotADirectoryError))
        if isinstance(error, UserError) or (missing and is_missing_expected):
            raise cause from None
        remedy = "check the path and its permissions"
        if is_remote(location):
            remedy = "check the address, the network and what your account may do"
        raise UserError(
            f"cannot {action} {location}: {describe(cause)}; {remedy}, and run the same command"
            " again"
        ) from error
