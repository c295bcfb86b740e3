"""Every part of a training is measured, and nothing of it twice."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import torch

from benchmarks import overheads, shards
from sketch_model.config import ModelConfig
from tests.experiments import new_store

TINY = ModelConfig(encoder_size=6, decoder_size=8, N_z=4, M=3)


def test_every_part_has_a_figure(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QUICKDRAW_ROOT", raising=False)
    monkeypatch.setattr(shards, "NUM_DOODLES", 300)
    monkeypatch.setattr(torch, "set_num_threads", lambda num: None)
    new_store(tmp_path, tmp_path_factory)
    found = overheads.measure(tmp_path, 1, TINY)
    for figures in found["training"].values():
        assert figures["threads"] >= 0  # to 10 ms
        assert all(figure > 0 for name, figure in figures.items() if name != "threads"), figures
        assert figures["feed"] + figures["tracker"] < 0.5
    checkpoint = found["checkpoint"]
    assert all(figure > 0 for figure in checkpoint.values()), checkpoint
    assert checkpoint["whole_s"] >= checkpoint["rename_s"]
    assert overheads.format_tables(found).count("\n| ") == 13


def test_shares_over_their_bound_are_said_to_be_missed() -> None:
    figures = dict.fromkeys(("feed", "tracker", "threads", "tracking"), 0.01)
    figures |= {"validation": 0.5, "pictures": 0.1, "sketches_per_s": 100.0}
    names = ("write_s", "sync_s", "rename_s", "whole_s", "verify_s", "size_mb")
    found = {
        "num_validated": 10,
        "training": {"fp32": figures, "bf16": figures | {"tracking": 0.03}},
        "checkpoint": dict.fromkeys(names, 0.1),
    }
    table = overheads.format_tables(found)
    assert "| feed | 1.00% | 1.00% | 2% |" in table
    assert "| tracker, together | 1.00% | 3.00% | 2% — missed |" in table


def work(duration_s: float) -> None:
    until_s = time.thread_time() + duration_s
    while time.thread_time() < until_s:
        pass


def test_a_meter_counts_this_thread_s_own_time() -> None:
    meter = overheads.Meter()
    timed = meter.timed("work", work)
    other = threading.Thread(target=timed, args=[0.05])
    other.start()
    other.join()
    assert meter.spent_s["work"] == 0
    timed(0.02)
    assert meter.spent_s["work"] == pytest.approx(0.02, abs=0.01)


def test_threads_are_found_by_name() -> None:
    before_s = overheads.thread_seconds()
    seen_s = []

    def send() -> None:
        work(0.1)
        seen_s.append(overheads.thread_seconds())

    for name, worked_s in (("tracking", 0.1), ("another", 0.0)):
        thread = threading.Thread(target=send, name=name)
        thread.start()
        thread.join()
        assert seen_s[-1] - before_s == pytest.approx(worked_s, abs=0.03)
