"""Trials that train nothing. Ray's processes import this module: without torch it takes no time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.search.trial import IS_FINAL, STEP


@dataclass(frozen=True)
class Dying:
    """A trial whose process is killed, unless it was killed `num_deaths` times already."""

    config: Config
    folder: Path
    num_deaths: int

    def folder_of(self, values: Any) -> Path:
        return self.folder

    def run(self, values: Any, report: Callable[[dict[str, Any]], None], train: Any) -> None:
        found = len([*self.folder.glob("death-*")])
        if found < self.num_deaths:
            (self.folder / f"death-{found}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        report({STEP: 7, IS_FINAL: True, "bound_nats": 1.5})


@dataclass(frozen=True)
class Sharing:
    """Trials that look who else is there; none ends before two have begun."""

    config: Config
    folder: Path

    def folder_of(self, values: Any) -> Path:
        return self.folder

    def run(self, values: Any, report: Callable[[dict[str, Any]], None], train: Any) -> None:
        own = self.folder / f"begun-{values['loss.w_KL']}"
        own.write_text(os.environ["CUDA_VISIBLE_DEVICES"])
        while len([*self.folder.glob("begun-*")]) < 2:
            time.sleep(0.01)
        time.sleep(0.5)  # a third one would begin meanwhile
        begun, ended = ([*self.folder.glob(f"{what}-*")] for what in ("begun", "ended"))
        num_there = len(begun) - len(ended)
        own.with_name(f"ended-{values['loss.w_KL']}").touch()
        report({STEP: num_there, IS_FINAL: True, "bound_nats": 1.5})
