"""A bounded folder of pieces of remote shards, which several processes and runs may share.

A piece is a file of its own, written whole or not at all. What was not used for longest makes room
for what is new.
"""

from __future__ import annotations

import os
import re
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol
from weakref import ReferenceType, ref

from pipeline.config import CacheConfig, UserError

_SHARE = 16
"""The folder is looked through again when this share of it is new, for others may fill it too."""
_STALE_S = 3600.0
_PARTIAL = ".partial"
_NAME = re.compile(rf"[0-9a-f]{{64}}-\d+|\.[0-9a-f]{{64}}-\d+\.\d+\{_PARTIAL}")


class User(Protocol):
    """Who maps pieces into memory."""

    def last_use(self, number: int) -> float:
        """When a piece was last used, in seconds since the epoch."""

    def give_up(self, number: int) -> bool:
        """Unmaps a piece, unless it is in use right now."""


@dataclass
class _Entry:
    size_bytes: int
    used: float
    user: ReferenceType[User] | None = None
    number: int = 0

    @property
    def is_mapped(self) -> bool:
        return self.user is not None and self.user() is not None

    def last_use(self) -> float:
        user = self.user and self.user()
        return max(self.used, user.last_use(self.number)) if user else self.used

    def give_up(self) -> bool:
        user = self.user and self.user()
        return user.give_up(self.number) if user else True


@lru_cache
def open_cache(folder: str, size_bytes: int) -> PieceCache:
    """The one cache of this process in a folder."""
    return PieceCache(CacheConfig(dir=folder, size_bytes=size_bytes))


class PieceCache:
    """The pieces in a folder.

    One process keeps the folder within its bound at all times. Several together may pass it, for as
    long as none has looked again, by a sixteenth each.

    Attributes:
        lock: held while pieces come and go; users change what `give_up` looks at under it.
    """

    def __init__(self, config: CacheConfig) -> None:
        self._folder, self.size_bytes = Path(config.dir), config.size_bytes
        self.lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._num_bytes = self._num_new_bytes = 0
        self._scan()

    def path(self, name: str) -> Path:
        """Where a piece is, if it is there."""
        return self._folder / name

    def add(self, name: str, content: bytes) -> None:
        """Keeps a piece, after making room for it.

        Raises:
            UserError: if it cannot be written, or there is no room beside what is in use.
        """
        writing = self._folder / f".{name}.{os.getpid()}{_PARTIAL}"
        with self.lock:
            self._make_room(len(content))
            try:
                writing.write_bytes(content)
                writing.replace(self.path(name))
            except OSError as error:
                writing.unlink(missing_ok=True)
                raise self._cannot_write(error) from error
            self._count(name, len(content))

    def adopt(self, name: str, size_bytes: int, user: User, number: int) -> None:
        """Notes that a user has mapped a piece, which it knows by a number."""
        with self.lock:
            if name not in self._entries:  # another process brought it, or removed it meanwhile
                self._count(name, size_bytes)
            entry = self._entries[name]
            entry.user, entry.number = ref(user), number

    def remove(self, name: str) -> None:
        """Removes a piece."""
        with self.lock:
            self._forget(name)
            self.path(name).unlink(missing_ok=True)

    def _count(self, name: str, size_bytes: int) -> None:
        self._forget(name)
        self._entries[name] = _Entry(size_bytes, time.time())
        self._num_bytes += size_bytes
        self._num_new_bytes += size_bytes

    def _forget(self, name: str) -> None:
        if entry := self._entries.pop(name, None):
            self._num_bytes -= entry.size_bytes

    def _make_room(self, num_bytes: int) -> None:
        share = self.size_bytes // _SHARE
        room = self.size_bytes - num_bytes
        if self._num_bytes <= room and self._num_new_bytes <= share:
            return
        self._scan()
        if self._num_bytes > room:
            # A little more than is needed, so that not every piece looks through the folder.
            self._evict(max(room - share, 0))
        if self._num_bytes > room:
            raise UserError(
                f"cache.size_bytes={self.size_bytes} has no room for {num_bytes} bytes beside"
                f" {self._num_bytes} that are in use: set it higher"
            )

    def _evict(self, num_bytes: int) -> None:
        """Removes what was not used for longest until no more than this is left, or in use."""
        for name, entry in sorted(self._entries.items(), key=lambda item: item[1].last_use()):
            if self._num_bytes <= num_bytes:
                return
            if entry.give_up():
                self.remove(name)

    def _scan(self) -> None:
        """Takes notice of what other processes brought, used and removed, and tells them."""
        found: dict[str, _Entry] = {}
        for file in self._list_files():
            try:
                status = file.stat()
            except FileNotFoundError:
                continue
            if not file.name.endswith(_PARTIAL):
                found[file.name] = _Entry(status.st_size, status.st_mtime)
            elif time.time() - status.st_mtime > _STALE_S:  # a killed process left it
                Path(file.path).unlink(missing_ok=True)
        for name, entry in self._entries.items():
            if name in found:
                last_use = entry.last_use()
                if last_use > found[name].used:
                    os.utime(self.path(name), (last_use, last_use))
                found[name] = entry
            elif entry.is_mapped:  # which takes up its space until it no longer is
                found[name] = entry
        self._entries = found
        self._num_bytes = sum(entry.size_bytes for entry in found.values())
        self._num_new_bytes = 0

    def _list_files(self) -> list[os.DirEntry[str]]:
        """Pieces, whole ones and beginnings, and nothing that a user may keep beside them."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return [file for file in os.scandir(self._folder) if _NAME.fullmatch(file.name)]
        except OSError as error:
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError) -> UserError:
        return UserError(
            f"cannot write to cache.dir={self._folder} ({error.strerror}): free some space, set"
            f" cache.size_bytes={self.size_bytes} lower, or choose another folder"
        )
