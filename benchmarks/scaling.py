"""How two processes share this machine's cores, and a model of how many GPUs would share a batch.

    python -m benchmarks.scaling [--rounds 3] [--json FILE] [--model-only]

Measured, in turns, through the real command, one thread a process, the default model in bf16, with
batches as training has them: one process, of 100; two that share each batch; two that do not know
of each other, of 50. The last pair pays for the cores, the caches and the small batches too, so
what the pair that shares has less is what collectives and waiting for each other cost.

The model needs no GPU and is no measurement: see `exchange_s`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import shards, timing
from pipeline.data.loader import TrainingLoader
from sketch_model.batch import PackedBatch
from sketch_model.config import DataSpec, ModelConfig
from sketch_model.model import SketchRNN

POOL, BATCH_SIZE = 20, 100
NUM_STEPS = 2 * POOL + 1
"""A pool to warm up, one that is timed, and the step that ends it."""
ONE, SHARING, APART = "one process", "two that share each batch", "two apart, half batches"
TURN = "--turn"
NUM_GPUS = (1, 8, 16, 64)
STEPS_S = (0.020, 0.001)
BACKWARD = 2 / 3
"""Share of a step that is its backward pass, which gradients can be exchanged beside."""
NUM_SMALL = 2
"""Other exchanges of a step: the width of the batch, and the losses with whether to stop."""


@dataclass(frozen=True)
class Network:
    """What connects GPUs; rates are one way, and a ring over all GPUs crosses each link once."""

    per_machine: int = 8
    inner_bytes_per_s: float = 450e9
    """Between GPUs of a machine: NVLink 4, of which NVIDIA's H100 data sheet says 900 GB/s both
    ways together."""
    outer_bytes_per_s: float = 100e9 / 8
    """Between machines: 100 Gbit/s."""
    latency_s: float = 5e-6
    """Of a hop. With 100 Gbit/s (p3dn.24xlarge), nccl-tests added up 8 bytes in 0.16, 0.32 and
    0.63 ms on 2, 4 and 8 machines, so in 5 us for each of 2 (n - 1) hops
    (https://gist.github.com/jacobkahn/3150a1a38abba40f58d8263d9c55969f)."""


def exchange_s(num_gpus: int, num_bytes: int, network: Network) -> float:
    """Seconds to add up so many bytes over all GPUs in a ring.

    2 (n - 1) / n of the bytes pass each link, the slowest of which counts, in 2 (n - 1) hops
    (Patarasuk & Yuan 2009; nccl-tests, PERFORMANCE.md).
    """
    is_inner = num_gpus <= network.per_machine
    rate = network.inner_bytes_per_s if is_inner else network.outer_bytes_per_s
    hops = 2 * (num_gpus - 1)
    return hops / num_gpus * num_bytes / rate + hops * network.latency_s


def efficiency(
    num_gpus: int, step_s: float, num_bytes: int, network: Network, *, beside: bool
) -> float:
    """Share of the ideal rate, with gradients exchanged after the backward pass or beside it."""
    gradients_s = exchange_s(num_gpus, num_bytes, network)
    if beside:
        gradients_s = max(0.0, gradients_s - BACKWARD * step_s)
    return step_s / (step_s + gradients_s + NUM_SMALL * exchange_s(num_gpus, 0, network))


def gradient_bytes() -> int:
    """Of the default model: float32, whatever the precision of its products."""
    data = DataSpec(offset_scale=1.0, N_max=250, categories=("any",), source="benchmark")
    return sum(4 * parameter.numel() for parameter in SketchRNN(ModelConfig(), data).parameters())


def format_model(network: Network) -> str:
    """The table of the model."""
    num_bytes = gradient_bytes()
    steps = [
        f"step of {s * 1e3:.0f} ms, exchange {how}" for s in STEPS_S for how in ("after", "beside")
    ]
    lines = [
        f"{num_bytes / 1e6:.2f} MB of gradients, {network}:",
        "",
        f"| GPUs | gradients, ms | the rest, ms | {' | '.join(steps)} |",
        "|---:" * (3 + len(steps)) + "|",
    ]
    for num in NUM_GPUS:
        small_s = NUM_SMALL * exchange_s(num, 0, network)
        cells = [f"{exchange_s(num, num_bytes, network) * 1e3:.2f}", f"{small_s * 1e3:.2f}"]
        cells += [
            f"{efficiency(num, step_s, num_bytes, network, beside=beside):.0%}"
            for step_s in STEPS_S
            for beside in (False, True)
        ]
        lines.append(f"| {num} | {' | '.join(cells)} |")
    return "\n".join(lines)


def take_turn() -> None:
    """The command, which says at its end how long its last pool took."""
    from pipeline.train import main

    begun_s: list[float] = []
    original = TrainingLoader.__iter__

    def iterate(loader: TrainingLoader) -> Iterator[PackedBatch]:
        for batch in original(loader):
            begun_s.append(time.perf_counter())
            yield batch

    TrainingLoader.__iter__ = iterate  # type: ignore[method-assign]
    main()
    print(json.dumps({"pool_s": begun_s[2 * POOL] - begun_s[POOL]}))


def start(overrides: Sequence[str]) -> subprocess.Popen[str]:
    """A training that is timed."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.scaling", TURN, *overrides],
        stdout=subprocess.PIPE,
        text=True,
        cwd=timing.ROOT,
        env={**os.environ, **dict.fromkeys(timing.THREAD_VARIABLES, "1")},
    )


def measure_rate(
    overrides: Sequence[str], *, num_processes: int = 1, num_trainings: int = 1
) -> float:
    """Sketches per second of trainings side by side that divide a batch among them.

    Raises:
        RuntimeError: if one of them fails.
    """
    batch_size = BATCH_SIZE // num_trainings
    with tempfile.TemporaryDirectory() as folder:
        trainings = [
            start(
                [
                    *overrides,
                    f"train.batch_size={batch_size}",
                    f"trainer.num_processes={num_processes}",
                    f"runs_dir={folder}/runs-{number}",
                    f"results_dir={folder}/results-{number}",
                ]
            )
            for number in range(num_trainings)
        ]
        outputs = [training.communicate()[0] for training in trainings]
    if any(training.returncode for training in trainings):
        raise RuntimeError(f"a training failed: {outputs}")
    pools_s: list[float] = [json.loads(output.splitlines()[-1])["pool_s"] for output in outputs]
    return sum(POOL * batch_size / pool_s for pool_s in pools_s)


def describe_training(folder: Path) -> list[str]:
    """The overrides of what is trained, on drawings that are put into a folder."""
    source = shards.write_shards(folder, "cat").source
    drawings = [f"source={source.name.value}", f"data_dir={folder / 'data'}"]
    if source.num_drawings:
        drawings.append(f"source.num_drawings={source.num_drawings}")
    train = {"precision": "bf16", "pool": POOL, "max_steps": NUM_STEPS, "validate_every": NUM_STEPS}
    return [
        *("name=cat", "categories=[cat]", *drawings),
        *(f"train.{name}={value}" for name, value in train.items()),
        *("trainer.num_threads=1", "tracking.enabled=false"),
    ]


def measure(overrides: Sequence[str], num_rounds: int) -> dict[str, float]:
    """Median rates of the three ways, in turns."""
    ways = {
        ONE: lambda: measure_rate(overrides),
        SHARING: lambda: measure_rate(overrides, num_processes=2),
        APART: lambda: measure_rate(overrides, num_trainings=2),
    }
    return timing.medians(timing.alternate(ways, num_rounds))


def format_rates(rates: dict[str, float]) -> str:
    """Rates, and what they are of twice that of one process."""
    lines = ["| | sketches/s | of twice one process |", "|---|---:|---:|"]
    for name, rate in rates.items():
        lines.append(f"| {name} | {rate:.1f} | {rate / (2 * rates[ONE]):.0%} |")
    share = 1 - rates[SHARING] / rates[APART]
    return "\n".join(
        [*lines, "", f"Collectives and waiting for each other: {share:.1%} of a step."]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="file for the rates")
    parser.add_argument("--model-only", action="store_true", help="measures nothing")
    options = parser.parse_args()
    if not options.model_only:
        with tempfile.TemporaryDirectory() as folder:
            rates = measure(describe_training(Path(folder)), options.rounds)
        if options.json:
            options.json.write_text(json.dumps(rates, indent=1) + "\n")
        load = os.getloadavg()[2]
        print(f"{timing.describe_machine()}, load {load:.1f}, {shards.whose()}\n")
        print(f"{format_rates(rates)}\n")
    print(format_model(Network()))


if __name__ == "__main__":
    if sys.argv[1:2] == [TURN]:
        del sys.argv[1]
        take_turn()
    else:
        main()
