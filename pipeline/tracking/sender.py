"""The thread that sends a journal to the store, and tells when it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

from pipeline.config import TrackingConfig
from pipeline.tracking.address import is_local, redact, tracking_uri
from pipeline.tracking.journal import Journal, Record, State, open_lock, try_lock
from pipeline.tracking.store import Refused, RunIsGone, Store

GATHER_S = 2.0
"""Figures of this time share a request: a page that shows them is not looked at more often."""
PAUSE_S = 1.0
"""After a try that failed; doubled after each further one."""
LONGEST_PAUSE_S = 60.0
"""Where doubling ends."""
PATIENCE_S = 10.0
"""How long the end of a run waits for a server that nothing reaches: a preempted machine has some
30 s until it is taken away, and the journal is sent by the next command anyway."""
LOCAL_PATIENCE_S = 30.0
"""The same for a local store: MLflow waits 20 s for SQLite's lock."""
LONGEST_END_S = 120.0
"""How long the end of a run waits while records do arrive."""
_NUM_METRICS = 1000
"""What MLflow takes in one request."""


class Sender:
    """Sends what the journal has, in order, until `finish`."""

    def __init__(self, config: TrackingConfig, journal: Journal, state: State) -> None:
        self._config, self._journal, self._state = config, journal, state
        self._address = redact(tracking_uri(config))
        self._store: Store | None = None
        self._is_loading = False  # MLflow, and the tables of a new local store: some seconds
        self._has_run = False
        self._lock: IO[bytes] | None = None
        self._down_since = ""
        self._refused: set[str] = set()
        self._num_moves = 0  # what shows that it goes forward
        self._wake, self._ending, self._abandoned = (threading.Event() for _ in range(3))
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    @property
    def run_id(self) -> str | None:
        """The MLflow run's; None until the server has answered."""
        return self._state.run_id

    def finish(self) -> None:
        """Waits for the rest to arrive, as long as it does; says what is left."""
        patience_s = LOCAL_PATIENCE_S if is_local(self._config) else PATIENCE_S
        self._ending.set()
        self._wake.set()
        begun_s = moved_s = time.monotonic()
        num_moves = -1
        while self._thread.is_alive():
            now_s = time.monotonic()
            if self._num_moves != num_moves or self._is_loading:
                num_moves, moved_s = self._num_moves, now_s
            if now_s - moved_s > patience_s or now_s - begun_s > LONGEST_END_S:
                break
            self._thread.join(0.05)
        self._abandoned.set()
        self._wake.set()
        self._thread.join(PAUSE_S)  # what records next needs its lock
        num_left = self._journal.num_waiting(self._state.offsets)
        if num_left:
            self._say(
                f"{num_left} records have not reached {self._address}. They are kept in"
                f" {self._journal.folder}, and the same command sends them later"
            )

    def _run(self) -> None:
        pause_s = PAUSE_S
        while not self._abandoned.is_set():
            is_last = self._ending.is_set()  # asked before the look into the journal
            try:
                self._send_all()
            except RunIsGone:
                self._forget_run()
                continue
            except Exception as error:  # whatever it is, training goes on
                self._say_down(error)
                self._pause(PAUSE_S if is_last else pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._say_up()
            if is_last:
                break
            pause_s = PAUSE_S
            self._pause(GATHER_S)
        if self._lock is not None:
            self._lock.close()

    def _pause(self, duration_s: float) -> None:
        self._wake.wait(duration_s)
        self._wake.clear()

    def _send_all(self) -> None:
        segments = self._journal.segments()
        for segment in segments:
            self._send_segment(segment)
            if self._abandoned.is_set():
                return
        if self._lock is None:
            return
        for segment in segments:  # those too that another process had sent before it was killed
            if self._journal.remove(segment, self._state.offsets.get(segment, 0)):
                self._state.offsets.pop(segment, None)

    def _send_segment(self, segment: str) -> None:
        while records := self._journal.read(segment, self._state.offsets.get(segment, 0)):
            self._connect()
            for batch, offset in _batches(records):
                steps = dict(self._state.last_steps)
                items = [item for record in batch for item in _items(record, steps)]
                if items:
                    self._deliver(items)
                self._state.last_steps = steps
                self._state.offsets[segment] = offset
                self._state.save(self._journal.folder)
                if self._abandoned.is_set():
                    return

    def _connect(self) -> None:
        """What has to be true before the first request; nothing afterwards."""
        if self._lock is None:
            lock = open_lock(self._journal.folder)
            if not try_lock(lock):
                lock.close()
                raise BlockingIOError("another process records this run at the moment")
            self._lock = lock
            self._refresh_state()
        if self._store is None:
            self._is_loading = True
            try:
                self._store = Store(self._config, self._move)
            finally:
                self._is_loading = False
        if self._has_run:
            return
        state = self._state
        if state.run_id is not None and not self._store.has_run(state.run_id):
            raise RunIsGone
        if state.run_id is None:
            state.run_id = self._store.find_or_create_run(state)
            state.save(self._journal.folder)
        self._has_run = True
        self._move()

    def _move(self) -> None:
        self._num_moves += 1

    def _deliver(self, items: Sequence[Record]) -> None:
        """Sends items of one kind; halves those that are refused until what is wrong is alone."""
        assert self._store is not None
        assert self._state.run_id is not None
        try:
            self._store.send(self._state.run_id, items)
        except Refused as error:
            if len(items) == 1:
                self._put_aside(items[0], str(error))
            else:
                half = len(items) // 2
                self._deliver(items[:half])
                self._deliver(items[half:])
        self._move()

    def _put_aside(self, item: Record, reason: str) -> None:
        folder = self._journal.put_aside(item, reason)
        name = f"{item['kind']} {item.get('name', '')}"
        if name not in self._refused:
            self._say(
                f"{self._address} does not take the {name!r}: {reason}. It is kept in {folder};"
                " everything else is recorded"
            )
        self._refused.add(name)

    def _forget_run(self) -> None:
        self._say(f"{self._address} has no run {self._state.run_id} any more; recording a new one")
        self._state.run_id, self._state.last_steps = None, {}
        self._has_run = False

    def _say_down(self, error: Exception) -> None:
        if self._down_since:
            return
        self._down_since = time.strftime("%H:%M:%S")
        cause = _first_cause(error)
        reason = redact(f"{type(cause).__name__}: {cause}").partition("\n")[0]
        num_waiting = self._journal.num_waiting(self._state.offsets)
        self._say(
            f"nothing reaches {self._address} since {self._down_since} ({reason:.200}). What is"
            f" recorded waits in {self._journal.folder} ({num_waiting} records so far) and is sent"
            " as soon as it answers, or by the same command later"
        )

    def _say_up(self) -> None:
        if self._down_since:
            self._say(
                f"{self._address} answers again, and has what waited since {self._down_since}"
            )
        self._down_since = ""

    def _say(self, text: str) -> None:
        print(f"note: {text}", flush=True)

    def _refresh_state(self) -> None:
        """Takes over what others have sent before this got the lock; forgets removed segments."""
        saved = State.read(self._journal.folder)
        if saved is not None:
            vars(self._state).update(vars(saved))
        segments = self._journal.segments()
        self._state.offsets = {n: o for n, o in self._state.offsets.items() if n in segments}


def _first_cause(error: BaseException) -> BaseException:
    """What began it: MLflow and the libraries below it each wrap a refused connection once more."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _batches(records: Iterable[tuple[Record, int]]) -> Iterator[tuple[list[Record], int]]:
    """Figures that follow each other, as many as a request takes; anything else alone.

    Each batch comes with the offset behind it.
    """
    batch: list[Record] = []
    num, behind = 0, 0
    for record, offset in records:
        is_metrics = record["kind"] == "metrics"
        num_more = len(record["values"]) if is_metrics else _NUM_METRICS
        if batch and num + num_more > _NUM_METRICS:
            yield batch, behind
            batch, num = [], 0
        batch.append(record)
        num, behind = num + num_more, offset
    if batch:
        yield batch, behind


def _items(record: Record, last_steps: dict[str, int]) -> Iterator[Record]:
    """What of a record is to be sent, one name each; brings `last_steps` up to date.

    Left out is what belongs to a step that was sent before: training went back to a checkpoint. A
    record without a step follows the last one of its name.
    """
    kind = record["kind"]
    if kind in ("params", "tags"):
        yield from (
            {"kind": kind[:-1], "name": name, "value": value}
            for name, value in record["values"].items()
        )
    elif kind == "metrics":
        for name, value in record["values"].items():
            if (step := _new_step(record, name, last_steps)) is not None:
                yield record | {"kind": "metric", "name": name, "value": value, "step": step}
    elif kind != "image" or _new_step(record, f"image {record['key']}", last_steps) is not None:
        yield record


def _new_step(record: Record, name: str, last_steps: dict[str, int]) -> int | None:
    last, step = last_steps.get(name, -1), record["step"]
    if step is None:
        step = last + 1
    if step <= last and not record["repeats"]:
        return None
    last_steps[name] = max(step, last)
    return int(step)
