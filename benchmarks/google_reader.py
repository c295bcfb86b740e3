"""Google's own reader of Sketch-RNN decoders (@magenta/sketch), run by Node beside this process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks import timing

FOLDER = timing.ROOT / "benchmarks" / "magenta_js"


def find_lack() -> str | None:
    """What there is not, and how to get it; None if the reader can run."""
    if shutil.which("node") is None:
        return "there is no `node`, which runs Google's reader: install Node 20 or newer"
    if not (FOLDER / "node_modules").is_dir():
        return (
            "Google's reader is not installed: npm ci --ignore-scripts --prefix"
            f" {FOLDER.relative_to(timing.ROOT)}"
        )
    return None


class GoogleReader:
    """A decoder in the hands of Google's reader; it waits while nothing is asked of it."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(FOLDER / "reader.js"), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | dict.fromkeys(timing.THREAD_VARIABLES, "1"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """The answer to a request; benchmarks/magenta_js/reader.js says what there is.

        Raises:
            RuntimeError: if the reader has ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"do": do, **request}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Google's reader ended; it said why on stderr")
        return dict(json.loads(line))
