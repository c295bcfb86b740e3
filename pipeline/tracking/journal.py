"""Records that wait on disk until they are sent.

What `append` has returned from is there after a kill -9 of the process. The folder:

    state.json           which run the records belong to, and how far they were sent
    000001-3fa2c1d0/     a segment: records of one process, up to a thousand
        records.jsonl    one a line, in order
        */               copies of the pictures and files that records speak of
    refused/             records that the store will never take, in the same form
    lock                 held by the process that sends

Each process writes segments of its own, so that a line which a crash has cut short is the last of
its segment. A segment is removed when all of it has been sent and nobody writes to it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from pipeline.atomic import replacing_file
from pipeline.config import UserError

Record = dict[str, Any]
FORMAT_VERSION = 1
_STATE, _RECORDS, _REFUSED = "state.json", "records.jsonl", "refused"
_SEGMENT = re.compile(r"\d{6,}-\w+")
_NUM_RECORDS = 1000
"""Records of a segment: what is kept on disk although it has been sent."""
_CHUNK_BYTES = 1 << 20


@dataclass
class State:
    """Which MLflow run a journal belongs to, and what of it has arrived there."""

    run_name: str
    started_ms: int
    run_id: str | None = None
    """None until the server has answered for the first time."""
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """A tag of the run. It is searched for before a run is created: an answer may get lost."""
    offsets: dict[str, int] = field(default_factory=dict)
    """Bytes of each segment that are done with."""
    last_steps: dict[str, int] = field(default_factory=dict)
    """The last step that was sent, by name: steps up to there are trained again after a resume."""
    format_version: int = FORMAT_VERSION

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """The state in a journal's folder; None if there is no journal.

        Raises:
            UserError: if it cannot be read.
        """
        path = folder / _STATE
        try:
            content = json.loads(path.read_text())
            if content["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {content['format_version']}, not 1")
            return cls(**content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read: {error}. Move {folder} away to record a run anew"
            ) from error

    def save(self, folder: Path) -> None:
        """Replaces the state in the journal's folder."""
        with replacing_file(folder / _STATE) as path:
            path.write_text(json.dumps(asdict(self)) + "\n")


class Journal:
    """Writes segments of its own, from any thread, and reads everybody's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        self._segment = ""
        self._num_records = 0
        self._unwritten = b""
        self._disk_failed = False

    def append(self, record: Record, write: Callable[[Path], object] | None = None) -> None:
        """Adds a record, and with `write` the picture or file that it speaks of.

        A full disk stops nobody: lines wait in memory until there is room, a file is left out, and
        the first of a series is said.
        """
        with self._lock:
            try:
                file = self._open()
                if write is not None:
                    record = record | {"file": self._add_file(str(record["name"]), write)}
            except OSError as error:
                self._say_disk_failed(error)
                if write is not None:
                    return
                file = None
            self._unwritten += json.dumps(record).encode() + b"\n"
            if file is not None:
                self._write(file)

    def close(self) -> None:
        """Ends this process's segment, so that it can be removed when it is sent."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file, self._segment = None, ""

    def segments(self) -> list[str]:
        """Names of all segments, the oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if _SEGMENT.match(path.name))

    def read(self, segment: str, offset: int) -> list[tuple[Record, int]]:
        """The next records from a byte on, a megabyte of them, each with the offset after it.

        The path of a record's file is its "path".
        """
        records = []
        try:
            with (self.folder / segment / _RECORDS).open("rb") as file:
                file.seek(offset)
                lines = file.readlines(_CHUNK_BYTES)
        except FileNotFoundError:  # its removal was interrupted
            return []
        for line in lines:
            if not line.endswith(b"\n"):  # still being written, or cut short by a crash
                break
            offset += len(line)
            records.append((self._parse(segment, line), offset))
        return records

    def num_waiting(self, offsets: Mapping[str, int]) -> int:
        """How many records lie behind these offsets."""
        return self._unwritten.count(b"\n") + sum(
            (self.folder / name / _RECORDS).read_bytes()[offsets.get(name, 0) :].count(b"\n")
            for name in self.segments()
            if (self.folder / name / _RECORDS).exists()
        )

    def remove(self, segment: str, offset: int) -> bool:
        """Removes a segment that is sent up to `offset`, unless more came or may come."""
        with self._lock:
            if segment == self._segment:
                return False
        records = self.folder / segment / _RECORDS
        if records.exists():
            with records.open("rb") as file:
                if not try_lock(file) or self.read(segment, offset):
                    return False
        shutil.rmtree(self.folder / segment)
        return True

    def put_aside(self, record: Record, reason: str) -> Path:
        """Keeps a record that is not to be tried again; returns the folder where."""
        refused = self.folder / _REFUSED
        refused.mkdir(exist_ok=True)
        if "path" in record and Path(record["path"]).exists():
            kept = refused / Path(record["path"]).name
            copy_into(kept, Path(record["path"]))
        with (refused / _RECORDS).open("a") as file:
            file.write(json.dumps(record | {"reason": reason}) + "\n")
        return refused

    def _open(self) -> IO[bytes]:
        """The file to write to; a new segment if there is none, or it has had its share."""
        if self._file is not None and (self._num_records < _NUM_RECORDS or self._unwritten):
            return self._file
        if self._file is not None:
            self._file.close()
            self._file = None
        last = max([int(name.partition("-")[0]) for name in self.segments()], default=0)
        name = f"{last + 1:06d}-{uuid.uuid4().hex[:8]}"
        building = self.folder / f".{name}"
        building.mkdir(parents=True)
        file = (building / _RECORDS).open("ab", buffering=0)
        try_lock(file)  # before others see it, so that nobody takes it for abandoned
        building.rename(self.folder / name)
        self._file, self._segment, self._num_records = file, name, 0
        return file

    def _write(self, file: IO[bytes]) -> None:
        """Writes what fits; the rest of a line follows when there is room."""
        try:
            self._unwritten = self._unwritten[file.write(self._unwritten) :]
            self._num_records += 1
            self._disk_failed = False
        except OSError as error:
            self._say_disk_failed(error)

    def _add_file(self, name: str, write: Callable[[Path], object]) -> str:
        relative = f"{uuid.uuid4().hex}/{name}"
        path = self.folder / self._segment / relative
        path.parent.mkdir()
        write(path)
        return relative

    def _say_disk_failed(self, error: OSError) -> None:
        if not self._disk_failed:
            print(
                f"note: {self.folder} cannot be written ({error.strerror}): figures wait in memory"
                " until it can, pictures of this time are not recorded",
                flush=True,
            )
        self._disk_failed = True

    def _parse(self, segment: str, line: bytes) -> Record:
        try:
            record: Record = json.loads(line)
            if "file" in record:
                record["path"] = str(self.folder / segment / record["file"])
            return record
        except (ValueError, TypeError):
            return {"kind": "unreadable", "name": line.decode(errors="replace")}


def copy_into(target: Path, source: Path) -> None:
    """Copies a file, or a folder's content."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target)


def try_lock(file: IO[bytes]) -> bool:
    """Takes a lock that ends with this process; False if another has it.

    On a file system without locks everybody gets it: one process per run is the rule anyway.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def open_lock(folder: Path) -> IO[bytes]:
    """The file whose lock entitles to send."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    return os.fdopen(descriptor, "r+b")
