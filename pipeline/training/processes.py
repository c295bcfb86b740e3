"""Processes that train together: starting them, and ending all of them when one is lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from pipeline.config import LostProcess, TrainerConfig
from pipeline.training.launch import Launch

_GRACE_S = 10
"""Seconds that processes have to end by themselves, with a message of their own."""


@contextmanager
def all_processes(launch: Launch, trainer: TrainerConfig) -> Iterator[None]:
    """Starts the other processes if that is left to this one, and sees to it that none is left.

    They run the same command, with torchrun's variables in their environment.

    Raises:
        LostProcess: if another process ended, or did not answer for trainer.timeout_s.
    """
    others: list[subprocess.Popen[bytes]] = []
    if launch.starts_others:
        command = [sys.executable, *sys.orig_argv[1:]]
        for rank in range(1, launch.num_local):
            variables = os.environ | launch.variables(rank)
            others.append(subprocess.Popen(command, env=variables))
    is_over = threading.Event()
    threading.Thread(target=_watch, args=(others, is_over), daemon=True).start()
    try:
        yield
    except Exception as error:
        lost = explain_lost_process(error, launch, trainer)
        if lost is None:
            raise
        raise lost from error
    finally:
        is_over.set()
        for process in others:
            _end(process)


def explain_lost_process(
    error: Exception, launch: Launch, trainer: TrainerConfig
) -> LostProcess | None:
    """What to say if an error is of the connection to other processes; None if it is another."""
    # Of gloo there are no exceptions of a kind of their own, but it names its source file.
    is_connection = isinstance(error, DistError) or (
        isinstance(error, RuntimeError) and ("gloo" in str(error) or "NCCL" in str(error))
    )
    if launch.world_size == 1 or not is_connection:
        return None
    reason = re.sub(r"^\[.*?\] ", "", str(error)).split(". ")[0].splitlines()[0]
    return LostProcess(
        f"process {launch.rank} of {launch.world_size} ends because another one has ended, or has"
        f" not answered for trainer.timeout_s={trainer.timeout_s} ({reason:.200})."
        " If that one could still say why, its message is above, or in its machine's log. The last"
        " checkpoint is intact: the same command goes on from it"
    )


def _watch(others: list[subprocess.Popen[bytes]], is_over: threading.Event) -> None:
    """Ends this process where it waits in vain for one that did not get as far as to connect."""
    while not is_over.wait(1.0):
        codes = [process.poll() for process in others]
        if any(code not in (None, 0, os.EX_TEMPFAIL) for code in codes):
            if is_over.wait(_GRACE_S):
                return
            print(
                f"error: processes of this run have ended with codes {codes}, and this one waits"
                " for them in vain. The last checkpoint is intact: the same command goes on from"
                " it",
                file=sys.stderr,
                flush=True,
            )
            for process in others:
                process.kill()
            os._exit(1)


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
