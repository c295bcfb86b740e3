"""What is on disk, and what of it survives."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import UserError
from pipeline.tracking import journal as journal_module
from pipeline.tracking.journal import Journal, State


@pytest.fixture
def make_journal(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Journals of one folder, as several processes have them."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(Journal(tmp_path)))


@pytest.fixture
def journal(make_journal: Callable[[], Journal]) -> Journal:
    return make_journal()


def records(journal: Journal) -> list[dict[str, Any]]:
    return [record for name in journal.segments() for record, _ in journal.read(name, 0)]


def numbers(journal: Journal) -> list[int]:
    return [record["n"] for record in records(journal)]


def append(journal: Journal, *values: int) -> None:
    for value in values:
        journal.append({"kind": "metrics", "n": value})


def test_records_are_read_in_order_from_any_offset(journal: Journal) -> None:
    append(journal, 1, 2, 3)
    (segment,) = journal.segments()
    read = journal.read(segment, 0)
    assert [record["n"] for record, _ in read] == [1, 2, 3]
    assert [r["n"] for r, _ in journal.read(segment, read[0][1])] == [2, 3]
    assert journal.num_waiting({}) == 3
    assert journal.num_waiting({segment: read[1][1]}) == 1


def test_a_line_that_was_cut_short_is_left_out_wherever_it_was_cut(
    make_journal: Callable[[], Journal], tmp_path: Path
) -> None:
    first = make_journal()
    append(first, 1, 2)
    (segment,) = first.segments()
    file = tmp_path / segment / "records.jsonl"
    whole = file.read_bytes()
    ends = [end for _, end in first.read(segment, 0)]
    for length in range(len(whole) + 1):
        file.write_bytes(whole[:length])
        assert numbers(Journal(tmp_path)) == [1, 2][: sum(end <= length for end in ends)]
    file.write_bytes(whole[:-3])
    second = make_journal()
    append(second, 3)
    assert numbers(second) == [1, 3]


def test_a_segment_is_removed_when_it_is_sent_and_nobody_writes_to_it(
    make_journal: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_NUM_RECORDS", 2)
    journal, other = make_journal(), make_journal()
    append(journal, 1, 2, 3)
    append(other, 4)
    full, current, of_other = journal.segments()
    ends = {name: journal.read(name, 0)[-1][1] for name in journal.segments()}
    assert not journal.remove(full, 0), "it is not sent"
    assert journal.remove(full, ends[full])
    assert not journal.remove(current, ends[current])
    assert not journal.remove(of_other, ends[of_other])
    other.close()
    assert journal.remove(of_other, ends[of_other])
    assert numbers(journal) == [3]
    append(journal, 5, 6)
    assert numbers(journal) == [3, 5, 6]


def test_files_are_copied_and_go_with_their_segment(journal: Journal) -> None:
    record = {"kind": "file", "name": "note.txt"}
    journal.append(record, lambda target: target.write_text("hello"))
    ((read, offset),) = journal.read(*journal.segments(), 0)
    assert Path(read["path"]).read_text() == "hello"
    assert Path(read["path"]).name == "note.txt"
    kept = journal.put_aside(read, "too long")
    journal.close()
    assert journal.remove(*journal.segments(), offset)
    assert (kept / "note.txt").read_text() == "hello"
    assert '"reason": "too long"' in (kept / "records.jsonl").read_text()
    assert journal.segments() == []


def test_threads_do_not_mix_their_records(journal: Journal) -> None:
    threads = [
        threading.Thread(target=append, args=(journal, *range(start, 2000, 4)))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.segments()) == 2
    assert sorted(numbers(journal)) == list(range(2000))


def test_a_full_disk_delays_figures_and_is_said_once(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    """/dev/full answers as a full disk does; half a line was written before it was."""
    append(journal, 1)
    file = journal._file
    assert file is not None
    with open("/dev/full", "wb", buffering=0) as full:
        journal._file = full
        append(journal, 2, 3)
        journal.append({"name": "x.png"}, lambda target: os.write(full.fileno(), b"picture"))
    assert numbers(journal) == [1]
    journal._unwritten, half = journal._unwritten[10:], journal._unwritten[:10]
    file.write(half)
    journal._file = file
    assert numbers(journal) == [1]
    assert journal.num_waiting({}) == 3
    append(journal, 4)
    assert numbers(journal) == [1, 2, 3, 4]
    assert capsys.readouterr().out.count("No space left on device") == 1


def test_a_state_that_cannot_be_read_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    assert State.read(tmp_path) is None
    state = State("first", 12, last_steps={"x": 3})
    state.save(tmp_path)
    assert State.read(tmp_path) == state
    file = tmp_path / "state.json"
    whole = file.read_text()
    for text in ("", "[]", whole[:20], whole.replace('"format_version": 1', '"format_version": 2')):
        file.write_text(text)
        with pytest.raises(UserError, match=r"Move .* away"):
            State.read(tmp_path)
