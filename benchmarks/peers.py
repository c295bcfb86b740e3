"""Processes of benchmarks/loaders.py: opened one after another, then asked in turns."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import timing
from pipeline.config import UserError

ENVIRONMENTS = {
    "litdata": ".venv-bench-loaders",
    "datasets": ".venv-bench-loaders",
    "datasets_arrow": ".venv-bench-loaders",
    "streaming": ".venv-bench-streaming",
}
"""Where each peer is installed."""
NUM_WORKERS = (0, 2)


def name_all(peer: str) -> list[str]:
    """What a peer is called with each number of workers."""
    return [f"{peer}_{num}_workers" for num in NUM_WORKERS]


class Peer:
    """A process of benchmarks/loaders.py, which serves when it is asked to.

    Between it is stopped, and so are its workers: in the background they would slow the others.
    """

    def __init__(self, python: str, name: str, folder: Path, num_workers: int) -> None:
        script = str(timing.ROOT / "benchmarks" / "loaders.py")
        self._command = [python, script, name, str(folder), str(num_workers)]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(timing.THREAD_VARIABLES, "1"),
            start_new_session=True,  # so that its workers are of one group with it, and no other
        )
        self._answer()
        self._signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._signal(signal.SIGCONT)
        self._process.wait()

    def rate(self, duration_s: float) -> float:
        """Sketches per second over that time."""
        self._signal(signal.SIGCONT)
        print(duration_s, file=self._process.stdin, flush=True)
        answer = self._answer()
        self._signal(signal.SIGSTOP)
        return float(answer)

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._process.pid, number)

    def _answer(self) -> str:
        assert self._process.stdout
        line: str = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._command)} ended; it said why on stderr")
        return line


def open_all(folder: Path, with_installed: bool) -> Iterator[tuple[str, Peer]]:
    """Each in turn, so that a format is written before a second process reads it.

    Args:
        folder: of drawings.npz.
        with_installed: whether to open those of `ENVIRONMENTS` beside the npz loader.
    """
    for name in ("npz", "npz_augmented"):
        timing.report(f"opening {name}")
        yield name, Peer(sys.executable, name, folder, 0)
    if not with_installed:
        return
    for name in ENVIRONMENTS:
        for called, num_workers in zip(name_all(name), NUM_WORKERS, strict=True):
            timing.report(f"opening {called}")
            yield called, Peer(_find_python(name), name, folder, num_workers)


def _find_python(peer: str) -> str:
    """The Python that has this peer.

    Raises:
        UserError: if there is none.
    """
    python = timing.ROOT / ENVIRONMENTS[peer] / "bin" / "python"
    if not python.exists():
        raise UserError(
            f"there is no Python with {peer}, which the feed is compared with ({python}): run"
            " `make bench-env`, or leave the peers out with --no-peers"
        )
    return str(python)
