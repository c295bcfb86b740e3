"""A signal to stop becomes a saved run and an exit code that schedulers start again.

SIGTERM is what Kubernetes, Ray and a preempted machine send, SIGUSR1 what Slurm is told to send
before a time limit, SIGINT is Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = os.EX_TEMPFAIL
"""75: nothing is wrong, and the same command goes on."""
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class Interrupted(SystemExit):
    """Ends the process; 75 for a scheduler, 130 for Ctrl-C, as shells have it."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(130 if signal_number == signal.SIGINT else EXIT_CODE)
        self.signal_number = signal_number

    def __str__(self) -> str:
        return signal.Signals(self.signal_number).name


class Interruption:
    """Whether this process was asked to stop.

    Between steps there is something to save first, so that a request waits (`deferred`) to be seen
    at the end of the step, by all processes of the run together. At any other time everything is
    saved already, and a request ends the process at once, as a second Ctrl-C does.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """Number of the signal, if there was one."""
        self.deferred = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Handles the signals inside, if this is the main thread; others cannot."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        self.take_over()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def take_over(self) -> None:
        """Handles the signals, again where Lightning has begun to.

        Its own handler speaks to the other processes in the midst of whatever they are doing.
        """
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._note)

    def stop(self) -> None:
        """Ends this process for the signal that it, or another process of the run, was sent."""
        raise Interrupted(self.requested or signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.requested == number == signal.SIGINT
        self.requested = number
        if again or not self.deferred:
            self.stop()
