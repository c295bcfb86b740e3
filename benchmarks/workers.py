"""Processes that wait until they are asked to measure: each has its own memory and settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from benchmarks import timing


class Worker:
    """A Python process on one thread, which runs `answer`; it waits while others are asked."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = [sys.executable, *arguments]
        threads = dict.fromkeys(timing.THREAD_VARIABLES, "1")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **threads, **environment},
            cwd=timing.ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def ask(self) -> dict[str, Any]:
        """Has it measure once.

        Raises:
            RuntimeError: if the process has ended.
        """
        print(file=self._process.stdin, flush=True)
        assert self._process.stdout
        line: str = self._process.stdout.readline()
        if not line:
            status = self._process.wait()  # -9 is what the system does when memory runs out
            raise RuntimeError(f"{' '.join(self._command)} ended with status {status}")
        return dict(json.loads(line))


def answer(measure: Callable[[], dict[str, Any]]) -> None:
    """Measures whenever the parent asks, until it has no more questions."""
    for _ in sys.stdin:
        print(json.dumps(measure()), flush=True)
