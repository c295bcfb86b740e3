"""A command of the pipeline in a process of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence

from pipeline.training.interruption import Interrupted, Interruption


class CommandFailed(SystemExit):
    """A command ended with another exit code than 0, which becomes this process's."""

    def __init__(self, code: int, command: str) -> None:
        super().__init__(code)
        self.command = command


def run_command(name: str, overrides: Sequence[str]) -> None:
    """Runs `python -m pipeline.NAME`, and hands on to it what this process is asked to stop by.

    It gets its own memory, its own device and, with trainer.num_processes, its own processes, as
    if it had been typed.

    Raises:
        CommandFailed: if it does not end well; it has said why.
        Interrupted: if it was stopped; a training has then saved its run.
    """
    command = ["python", "-m", f"pipeline.{name}", *overrides]
    interruption = Interruption()
    with interruption.watching():
        # Of another group, or a terminal would send Ctrl-C twice, which ends a training unsaved.
        process = subprocess.Popen(
            [sys.executable, *command[1:]], stdin=subprocess.DEVNULL, process_group=0
        )
        code = _wait(process)
    if interruption.requested is not None:
        raise Interrupted(interruption.requested)
    if code:
        raise CommandFailed(code if code > 0 else 128 - code, shlex.join(command))


def _wait(process: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return process.wait()
        except Interrupted as signal:
            process.send_signal(signal.signal_number)
