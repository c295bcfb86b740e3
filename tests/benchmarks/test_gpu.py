"""`benchmarks.gpu` without a GPU: its checks, and that what it would do on one runs at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import gpu, gpu_batches, gpu_checks, gpu_timings
from benchmarks.gpu_timings import Budget, Contender, Measurement
from pipeline.training.rows import NEAR_END

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NOT_NEEDED = ("hydra", "omegaconf", "mlflow", "ray", "numba", "pytorch_lightning", "psutil")
WITHOUT = f"""
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find(name, path=None, target=None):
    return None if name.partition(".")[0] in {NOT_NEEDED} else found(name, path, target)
PathFinder.find_spec = find
import runpy, sys
sys.argv = ["gpu", "--check"]
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def test_all_that_can_be_checked_here_is_right_without_other_libraries() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    rows = [row.strip("| ").split(" | ") for row in done.stdout.splitlines() if row.startswith("|")]
    verdicts = {row[0]: row[-1] for row in rows[2:]}
    assert len(verdicts) > 25
    for name, verdict in verdicts.items():
        if name.startswith("graph"):
            assert verdict == "not checked: CUDA graphs need CUDA"
        elif name.startswith("resident"):
            assert verdict.startswith("not checked: pipeline.data.resident needs ")
        else:
            assert verdict == "ok", name


def test_resident_batches_are_those_of_the_drawings() -> None:
    assert gpu_checks.check_resident(CPU) == 0


def test_an_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [torch.ones(3), torch.tensor([1.0, 2.0])]
    assert gpu_checks.largest_error(tensors, tensors) == 0
    assert gpu_checks.largest_error(tensors, [tensors[0], 2 * tensors[1]]) == pytest.approx(0.5)
    assert gpu_checks.largest_error([torch.tensor([np.nan])], tensors[:1]) == float("inf")
    checks = [
        ("large", 1e-3, lambda: 1e-2),
        ("small", 1e-3, lambda: 1e-4),
        ("broken", 1e-3, lambda: 1 // 0),
    ]
    monkeypatch.setattr(gpu_checks, "_list_checks", lambda device: checks)
    assert [each.verdict for each in gpu_checks.run_checks(CPU)] == ["FAILED", "ok", "FAILED"]
    _, passed = gpu.check(CPU)
    assert not passed


@pytest.fixture
def _cpu_as_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for what the timings take of CUDA, and a small amount of everything."""
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1_000_000)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Some GPU")

    def graphed(compute: Callable[..., Any], parameters: Any, generators: Any) -> Any:
        return compute

    monkeypatch.setattr(gpu_timings, "GraphedLoss", graphed)
    sizes = {"encoder_size": 6, "decoder_size": 8, "N_z": 4, "M": 2}
    build = gpu_batches.build_model

    def build_small(device: torch.device, **fields: Any) -> Any:
        return build(device, **{**fields, **sizes})

    monkeypatch.setattr(gpu_timings, "build_model", build_small)
    growth = [("N 8", 2, 12, 8), ("N_max 260", 2, 260, 8)]
    monkeypatch.setattr(gpu_timings, "list_growth", lambda: growth)
    for name, value in {
        "BATCH_SIZES": (2, 3),
        "PADDED_TO": 12,
        "ROUND_S": 0.001,
        "NUM_ROUNDS": 1,
        "NUM_DRAWINGS": 200,
        "SAMPLE_SIZES": (1, 2),
        "POOL": 3,
        "EPOCH_BATCH_SIZE": 16,
    }.items():
        monkeypatch.setattr(gpu_timings, name, value)
    monkeypatch.setattr(gpu, "TARGETS", (("lstm, bf16", 2, 1.0),))

    def list_small() -> list[Contender]:
        own = Contender(name="lstm, bf16", bf16=False, batch_sizes=(2, 3))
        return [
            own,
            Contender(name="layer_norm, bf16", batch_sizes=(2,)),
            Contender(name="nn.LSTM", way=gpu_timings.Way.library, fields=sizes, batch_sizes=(2,)),
        ]

    monkeypatch.setattr(gpu_timings, "list_contenders", list_small)


@pytest.mark.usefixtures("_cpu_as_gpu")
def test_what_is_timed_on_a_gpu_makes_a_page(tmp_path: Path) -> None:
    lines = gpu.measure(CPU, Budget(3600))
    path = gpu.write(tmp_path, CPU, lines)
    assert path.name.startswith("gpu_some-gpu_20")
    page = path.read_text()
    for text in ("| nn.LSTM | ", "| lstm, bf16, batch 2 | ", "projected seconds", "N_max 260"):
        assert text in page
    assert "RuntimeError" not in page
    assert "no time" not in page


@pytest.mark.usefixtures("_cpu_as_gpu")
def test_without_time_nothing_is_measured_and_the_page_says_so() -> None:
    measured = list(gpu_timings.time_training(CPU, Budget(0.0)))
    assert {each.remark for _, _, each in measured} == {"no time"}
    assert all(each.rate is None for _, _, each in measured)
    growth = list(gpu_timings.time_growth(CPU, Budget(0.0)))
    assert {each.remark for _, each in growth} == {"no time"}


def test_batches_are_training_s_and_their_widths_few() -> None:
    lengths = np.random.default_rng(0).integers(3, 250, 200_000).astype(np.int32)
    plan = gpu_timings.plan_epoch(lengths)
    rows = np.concatenate([rows for rows, _ in plan])
    assert len(np.unique(rows)) == len(rows) == 180 * 1024
    for each, width in plan:
        longest = int(lengths[each].max())
        assert min(longest + 1 + NEAR_END, 250) <= width <= longest + 1 + NEAR_END + 16
        assert width % 16 == 0 or width == 250
    assert len({width for _, width in plan}) <= 16


def test_a_page_says_what_was_met() -> None:
    def measured(rate: float) -> Measurement:
        return Measurement(rates=[rate])

    found = {
        ("lstm, bf16", 100): measured(6_000),
        ("lstm, bf16", 4096): measured(90_000),
        ("paper, bf16", 1024): Measurement(remark="out of memory"),
        ("layer_norm, bf16", 100): measured(3_000),
        ("layer_norm, bf16", 4096): measured(80_000),
    }
    verdicts = [line.split(" | ")[-1].strip(" |") for line in gpu.format_targets(found)[3:]]
    assert verdicts == ["met", "missed", "not measured", "missed", "met"]


def test_timings_need_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit):
        gpu.main()
    assert "there is no CUDA device: only --check runs without one" in capsys.readouterr().err
