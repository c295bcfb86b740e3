"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.config import UserError

DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Gives the path of a file to write, which replaces `path` if all goes well.

    Raises:
        UserError: if it cannot be written; `path` is then as it was.
    """
    writing = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield writing
        _sync(writing)
        writing.replace(path)
    except BaseException as error:
        if writing.parent.is_dir():
            writing.unlink(missing_ok=True)
        _explain(path, error)
        raise


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Gives the path of a new folder to fill, which replaces `folder` if all goes well.

    What killed processes have left beside it is put back or removed first.

    Raises:
        UserError: if it cannot be written; `folder` is then as it was.
    """
    building = folder.with_name(f".{folder.name}.partial")
    retired = folder.with_name(f".{folder.name}.old")
    try:
        _put_back(retired, folder)
        for left_over in (building, retired):
            shutil.rmtree(left_over, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        _sync(building)
        if folder.exists():
            folder.rename(retired)
        building.rename(folder)
        _sync(folder.parent)
        shutil.rmtree(retired, ignore_errors=True)
    except BaseException as error:
        _put_back(retired, folder)
        shutil.rmtree(building, ignore_errors=True)
        _explain(folder, error)
        raise


def _put_back(retired: Path, folder: Path) -> None:
    """Undoes the first of the two renames, where the second did not come about."""
    if retired.exists() and not folder.exists():
        retired.rename(folder)


def _explain(path: Path, error: BaseException) -> None:
    """Raises the UserError that an OSError means; leaves other errors to the caller."""
    if not isinstance(error, OSError):
        return
    remedy = "free some space" if error.errno in DISK_IS_FULL else "check the folder"
    raise UserError(
        f"cannot write {path} ({error.strerror}): {remedy}, or choose another place, and run the"
        " same command again; nothing half-written was kept"
    ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
