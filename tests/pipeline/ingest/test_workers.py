"""An ingest on several processes, on Ray, and killed: the same bytes in the end."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import (
    Engine,
    IngestConfig,
    SourceConfig,
    SplitRule,
    UserError,
)
from pipeline.ingest.driver import ingest_categories, ingest_category
from pipeline.ingest.engine import Workers
from tests.pipeline.ingest.shard_files import read_bytes

MakeSource = Callable[..., SourceConfig]
CONFIG = IngestConfig(
    N_max=45, recordbatch_rows=16, shard_rows=64, fractions=[0.6, 0.2, 0.2], max_reject_share=0.1
)
IN_PARTS = replace(CONFIG, part_bytes=10_000)
NUM_KILLS = 20


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "nowhere.invalid:6379"])
def test_a_cluster_that_is_not_there_is_an_error_at_once(
    tmp_path: Path, make_source: MakeSource, address: str
) -> None:
    workers = Workers(Engine.ray, ray_address=address)
    with pytest.raises(UserError, match=f"there is no Ray cluster at ray_address='{address}'"):
        list(ingest_categories(["cat"], make_source({"cat": 9}), CONFIG, str(tmp_path), workers))


def fail(task: int) -> None:
    raise UserError(f"task {task} cannot be done") if task else ValueError("a bug")


def die(task: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.dist
def test_errors_of_processes_arrive() -> None:
    with pytest.raises(UserError, match="task 3 cannot be done"):
        list(Workers(num=2).run(fail, [3, 3]))
    with pytest.raises(UserError, match=r"a process of the ingest was killed.*now 2"):
        list(Workers(num=2).run(die, [1, 2]))


def wait_for_the_end(note: Path) -> None:
    note.write_text(str(os.getpid()))
    time.sleep(60)


def keep_workers_waiting(notes: list[Path]) -> None:
    list(Workers(num=2).run(wait_for_the_end, notes))


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.dist
def test_the_workers_of_a_killed_ingest_end_with_it(tmp_path: Path) -> None:
    """Guarantee G2: nobody works on beside the ingest that goes on."""
    notes = [tmp_path / "one", tmp_path / "other"]
    process = multiprocessing.get_context("forkserver").Process(
        target=keep_workers_waiting, args=(notes,)
    )
    process.start()
    while not all(note.exists() and note.read_text() for note in notes):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    deadline_s = time.monotonic() + 30
    while any(is_running(int(note.read_text())) for note in notes):
        assert time.monotonic() < deadline_s, "its workers go on"
        time.sleep(0.01)


@pytest.mark.dist
@pytest.mark.parametrize("splits", [SplitRule.fractions, SplitRule.paper])
def test_any_number_of_processes_gives_the_same_bytes(
    tmp_path: Path, make_source: MakeSource, splits: SplitRule
) -> None:
    """Guarantee G4."""
    config, settings = (
        make_source({"cat": 300, "sun": 50}),
        replace(IN_PARTS, splits=splits, fractions=[0.9, 0.05, 0.05]),
    )
    for name, workers in (("one", Workers()), ("three", Workers(num=3))):
        list(ingest_categories(["sun", "cat"], config, settings, str(tmp_path / name), workers))
    assert read_bytes(tmp_path / "one") == read_bytes(tmp_path / "three")
    assert len(list((tmp_path / "one" / "cat").glob("0*/part.json"))) > 5


@pytest.mark.dist
def test_ray_gives_the_same_bytes(tmp_path: Path, make_source: MakeSource) -> None:
    """Guarantee G4."""
    ray = pytest.importorskip("ray")
    config = make_source({"cat": 300, "sun": 50})
    try:
        for name, workers in (("one", Workers()), ("ray", Workers(Engine.ray, num=2))):
            ingested = ingest_categories(
                ["sun", "cat"], config, IN_PARTS, str(tmp_path / name), workers
            )
            assert sum(each.manifest.counts.lines for each in ingested) == 350
        broken = make_source({"dog": [b"{"] * 9})
        os.remove(Path(broken.root) / "full/simplified/dog.ndjson")
        workers = Workers(Engine.ray, num=2)
        with pytest.raises(UserError, match="has no category 'dog'"):
            list(ingest_categories(["dog"], broken, IN_PARTS, str(tmp_path / "ray"), workers))
    finally:
        ray.shutdown()
    assert read_bytes(tmp_path / "one") == read_bytes(tmp_path / "ray")


@pytest.mark.dist
@pytest.mark.timeout(900)
def test_a_killed_ingest_run_again_ends_in_the_same_bytes(
    tmp_path: Path, make_source: MakeSource
) -> None:
    """Guarantee G2, killed at NUM_KILLS random moments."""
    config = make_source({"cat": 600})
    settings = replace(
        CONFIG, splits=SplitRule.paper, limit=400, part_bytes=3000, fractions=[0.9, 0.05, 0.05]
    )
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipeline.ingest.driver"])
    rng = random.Random(NUM_KILLS)

    def start(folder: str) -> Any:
        arguments = ("cat", config, settings, str(tmp_path / folder))
        process = context.Process(target=ingest_category, args=arguments)
        process.start()
        return process

    def count_parts(folder: str) -> int:
        return len(list((tmp_path / folder).glob("cat/[0-9]*/part.json")))  # those that are whole

    start("undisturbed").join()
    num_parts = count_parts("undisturbed")
    num_killed, states = 0, set()
    while num_killed < NUM_KILLS:
        # After so many more parts, and a while: a machine that is busy ends elsewhere in the part.
        wanted = count_parts("killed") + rng.randrange(num_parts // 2)
        process = start("killed")
        while process.is_alive() and count_parts("killed") < wanted:
            time.sleep(0.001)
        process.join(rng.uniform(0.0, 0.02))
        if process.exitcode is None:
            process.kill()
            num_killed += 1
        process.join()
        states.add(count_parts("killed"))
        if (tmp_path / "killed" / "cat" / "category.json").exists():
            start("killed").join()
            assert read_bytes(tmp_path / "killed") == read_bytes(tmp_path / "undisturbed")
            shutil.rmtree(tmp_path / "killed")
    assert len(states) > 3, "it was always killed at the same place"
    process = start("killed")
    process.join()
    assert process.exitcode == 0
    assert read_bytes(tmp_path / "killed") == read_bytes(tmp_path / "undisturbed")
