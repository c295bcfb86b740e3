"""Memory as the kernel counts it: what is a process's own, what is cached, and less of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # types-psutil is not worth a dependency

LIMIT_NAMES = ("memory.max", "memory.limit_in_bytes")
"""Of control groups of version 2 and 1."""


def measure_private_bytes() -> int:
    """Anonymous pages of this process: those that are its own, and cannot be read from a file."""
    return sum(each.anonymous for each in psutil.Process().memory_maps(grouped=True))


def measure_unique_bytes(mapped_suffix: str) -> int:
    """Unique set size of this process without the pages of mapped files with this suffix.

    The page cache's pages count as unique while no other process maps the same file. Those of data
    are left out; those of libraries are in, some hundred MB if no other process has loaded them.
    """
    maps = psutil.Process().memory_maps(grouped=True)
    return sum(
        each.anonymous
        if each.path.endswith(mapped_suffix)
        else each.private_clean + each.private_dirty
        for each in maps
    )


def measure_peak_bytes() -> int:
    """The most that was resident of this process.

    getrusage would count what its parent had resident when it started it.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmHWM")


def evict(paths: Iterable[Path]) -> None:
    """Drops what the page cache holds of some files; they must not be mapped."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # what is not on disk stays
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def read_through(paths: Iterable[Path]) -> None:
    """Fills the page cache with some files, as far as they fit."""
    block = bytearray(1 << 24)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(block):
                pass


@contextmanager
def limited_group(limit_bytes: int) -> Iterator[Path | None]:
    """A control group whose processes have so much memory, page cache included.

    None where this process may make no such group.
    """
    group = next(_make_groups(limit_bytes), None)
    try:
        yield group
    finally:
        if group is not None:
            group.rmdir()


def join_group(group: Path) -> None:
    """Puts this process under a group's limit."""
    (group / "cgroup.procs").write_text(str(os.getpid()))


def _make_groups(limit_bytes: int) -> Iterator[Path]:
    for parent in _own_groups():
        group = parent / f"benchmark-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        for name in LIMIT_NAMES:
            if (group / name).exists() and os.access(group / name, os.W_OK):
                (group / name).write_text(str(limit_bytes))
                yield group
                return
        group.rmdir()


def _own_groups() -> Iterator[Path]:
    """Folders of the groups that this process is in, each before the one that it lies in."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path.lstrip("/"))
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, options, *_ = line.split()
        name = "memory" if kind == "cgroup" and "memory" in options.split(",") else ""
        if name or kind == "cgroup2":
            inner = Path(mount) / own.get(name, "")
            yield inner
            yield from (each for each in inner.parents if each.is_relative_to(mount))
