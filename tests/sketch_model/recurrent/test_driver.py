from __future__ import annotations

import pytest

from sketch_model.recurrent.driver import chunk_rows, chunks

ENDING = [9, 9, 9, 8, 8, 5, 3, 3, 3, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("num_rows", [[4], [4] * 7, [9] * 8, ENDING, ENDING[9:]])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 100])
def test_chunks_are_all_steps_once_and_as_many_at_a_time_as_there_is_room_for(
    num_rows: list[int], num_steps: int
) -> None:
    limit = num_steps * num_rows[0]
    found = list(chunks(num_rows, limit))
    steps = [step for start, stop in found for step in reversed(range(start, stop))]
    assert steps == list(reversed(range(len(num_rows))))
    for start, stop in found:
        total = sum(num_rows[start:stop])
        assert total <= limit
        assert total <= chunk_rows(num_rows, num_rows[0], num_steps)
        assert start == 0 or total + num_rows[start - 1] > limit
