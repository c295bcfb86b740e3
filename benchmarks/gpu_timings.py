"""What `benchmarks.gpu` times: training, an epoch over resident drawings, sampling, growth."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.gpu_batches import (
    MEAN_LENGTH,
    N_MAX,
    build_model,
    load_resident,
    loss_arguments,
    make_loss,
    random_batch,
    random_drawings,
)
from benchmarks.models import PlainSketchRNN, Way, plain_loss
from sketch_model import padding
from sketch_model.batch import SketchBatch
from sketch_model.config import Augmentation, Cell, ModelConfig
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal
from sketch_model.recurrent.graphs import GraphedLoss

BATCH_SIZES, PADDED_TO = (100, 512, 1024, 4096), N_MAX
ROUND_S, NUM_ROUNDS = 0.25, 3
NUM_DRAWINGS, NUM_ALL = 1_000_000, 50_000_000
SAMPLE_SIZES = (1, 1000)
POOL, EPOCH_BATCH_SIZE, WIDTH_MULTIPLE = 20, 1024, 16
PAST_END = 11
"""Rows that training computes after the last point of a sketch (`pipeline.training.rows`)."""
PAPER = {"encoder_size": 512, "decoder_cell": Cell.hyper, "decoder_size": 2048}
"""Ha & Eck 2017, with the sizes that stand in `conf/model/paper.yaml`."""


class Budget:
    """Time that may be spent."""

    def __init__(self, total_s: float) -> None:
        self._end_s = time.monotonic() + total_s

    @property
    def left_s(self) -> float:
        """Until the end."""
        return self._end_s - time.monotonic()

    def part(self, share_s: float) -> Budget:
        """At most so much of what is left."""
        return Budget(min(share_s, self.left_s))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model and how it is trained.

    Attributes:
        name: in the table.
        way: of a peer; None is this project's, by graphs.
        fields: of its configuration.
        bf16: whether products are in bf16; otherwise in TF32.
        batch_sizes: at which it is measured.
    """

    name: str
    way: Way | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    bf16: bool = True
    batch_sizes: tuple[int, ...] = BATCH_SIZES


def list_contenders() -> list[Contender]:
    """The first one's batches of 100 and 4,096 are what most is asked of."""
    cells = {cell: {"encoder_cell": cell, "decoder_cell": cell} for cell in Cell}
    return [
        *(Contender(name=f"{cell}, bf16", fields=cells[cell]) for cell in Cell),
        Contender(name="paper, bf16", fields=PAPER),
        *(Contender(name=f"{cell}, TF32", fields=cells[cell], bf16=False) for cell in Cell),
        Contender(name="nn.LSTM, TF32", way=Way.library, bf16=False),
        Contender(name="nn.LSTM, bf16 autocast", way=Way.library),
        Contender(name="loop, TF32", way=Way.loop, bf16=False, batch_sizes=(100,)),
    ]


class Trainer:
    """A model with its optimizer, which takes steps."""

    def __init__(self, contender: Contender, device: torch.device) -> None:
        self._contender = contender
        if contender.way is None:
            self.model: SketchRNN | PlainSketchRNN = build_model(device, **contender.fields)
            generator = torch.Generator(device).manual_seed(0)
            self._compute: Any = GraphedLoss(
                make_loss(self.model, bf16=contender.bf16, generator=generator),
                self.model.parameters(),
                generators=[generator],
            )
        else:
            config = ModelConfig(**contender.fields)
            self.model = PlainSketchRNN(config, contender.way).to(device)
            self._compute = self._compute_plain
        self.model.train()
        self._parameters = list(self.model.parameters())
        self._optimizer = torch.optim.Adam(self._parameters, fused=True)

    def step(self, arguments: tuple[Tensor, ...]) -> None:
        """Forward, backward, clipping by value, Adam; of what `loss_arguments` gives."""
        self._compute(*arguments)[0].backward()
        torch.nn.utils.clip_grad_value_(self._parameters, 1.0)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _compute_plain(self, *tensors: Tensor) -> tuple[Tensor]:
        batch, noise = SketchBatch(*tensors[:4]), tensors[4]
        with torch.autocast(noise.device.type, torch.bfloat16, enabled=self._contender.bf16):
            prediction = self.model(batch, noise)
        return (plain_loss(prediction, batch, N_MAX, w_KL=0.25, KL_min=0.2),)


@dataclass
class Measurement:
    """Of a contender at a batch size.

    Attributes:
        rates: sketches/s of each round.
        peak_bytes: of memory that torch had allocated.
        remark: why there are no rates.
    """

    rates: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    remark: str = ""

    @property
    def rate(self) -> float | None:
        """The median, in sketches/s."""
        return statistics.median(self.rates) if self.rates else None


def time_training(
    device: torch.device, budget: Budget, num_passes: int = 2
) -> Iterator[tuple[str, int, Measurement]]:
    """Every contender at every batch size, in turns as often as there is time for."""
    found: dict[tuple[str, int], Measurement] = {}
    for number in range(num_passes):
        for batch_size in BATCH_SIZES:
            for contender in list_contenders():
                if batch_size not in contender.batch_sizes:
                    continue
                key = contender.name, batch_size
                measurement = found.setdefault(key, Measurement())
                if budget.left_s > 0:
                    visit(contender, batch_size, device, measurement, PADDED_TO)
                elif number == 0:
                    measurement.remark = "no time"
                yield *key, measurement


def visit(
    contender: Contender,
    batch_size: int,
    device: torch.device,
    measurement: Measurement,
    width: int,
) -> None:
    """Adds some rounds to a measurement, and leaves no memory taken."""
    gc.collect()  # a trainer may hold itself
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    try:
        trainer = Trainer(contender, device)
        batch = random_batch(device, batch_size, width, seed=0)
        arguments = loss_arguments(trainer.model.config.N_z, batch)
        rounds = [time_steps(trainer, arguments) for _ in range(NUM_ROUNDS)]
        measurement.rates += [batch_size * rate for rate in rounds]
    except RuntimeError as error:  # what goes wrong, out of memory at first, is the result
        measurement.remark = str(error).partition("\n")[0][:120]
    measurement.peak_bytes = torch.cuda.max_memory_allocated(device)


def time_steps(trainer: Trainer, arguments: tuple[Tensor, ...]) -> float:
    """Steps/s, of one round."""
    for _ in range(2):
        trainer.step(arguments)
    torch.cuda.synchronize()
    start_s, num = time.perf_counter(), 0
    while time.perf_counter() - start_s < ROUND_S:
        for _ in range(4):
            trainer.step(arguments)
        torch.cuda.synchronize()
        num += 4
    return num / (time.perf_counter() - start_s)


def time_epoch(device: torch.device, budget: Budget) -> dict[str, Any]:
    """The default model over drawings in the GPU's memory.

    Raises:
        NotHere: if drawings cannot be made resident here.
    """
    packed = random_drawings(NUM_DRAWINGS, MEAN_LENGTH, seed=0)
    resident = load_resident(packed, device)
    trainer = Trainer(Contender(name="epoch"), device)
    plan = plan_epoch(resident.lengths)
    rows_by_width = {width: rows for rows, width in plan}
    for width in sorted(rows_by_width, reverse=True):  # captures each
        trainer.step(_augmented_arguments(trainer, resident, rows_by_width[width], width))
    torch.cuda.synchronize()
    start_s, num = time.perf_counter(), 0
    for number, (rows, width) in enumerate(plan):
        trainer.step(_augmented_arguments(trainer, resident, rows, width))
        num += len(rows)
        if number % 64 == 63:
            torch.cuda.synchronize()
            if budget.left_s < 0:
                break
    torch.cuda.synchronize()
    rate = num / (time.perf_counter() - start_s)
    return {
        "drawings measured": num,
        "sketches/s": rate,
        "widths": len({width for _, width in plan}),
        f"projected seconds for {NUM_ALL:,}": NUM_ALL / rate,
        "resident bytes": 6 * len(packed.points),
    }


def plan_epoch(lengths: NDArray[np.int32]) -> list[tuple[NDArray[np.int64], int]]:
    """Rows of each batch, dealt as training deals them (`pipeline.permutation`), and its width.

    As wide as at most steps of training, but for up to `WIDTH_MULTIPLE`, so that few are captured.
    """
    random = np.random.default_rng(0)
    order, plan = random.permutation(len(lengths)), []
    for number in range(len(order) // (POOL * EPOCH_BATCH_SIZE)):
        pool = order[number * POOL * EPOCH_BATCH_SIZE :][: POOL * EPOCH_BATCH_SIZE]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        runs = [quarter.reshape(POOL, -1) for quarter in np.split(pool, 4)]
        for rows in np.concatenate([run[random.permutation(POOL)] for run in runs], axis=1):
            width = int(lengths[rows].max()) + PAST_END
            plan.append((rows, min(width + -width % WIDTH_MULTIPLE, N_MAX)))
    return plan


def _augmented_arguments(
    trainer: Trainer, resident: Any, rows: NDArray[np.int64], width: int
) -> tuple[Tensor, ...]:
    """A batch gathered, augmented and padded on the device, without waiting for it."""
    packed = resident.gather(rows)
    stroke5, lengths = padding.pad(
        packed.points,
        packed.offsets,
        packed.positions,
        offset_scale=35.0,
        width=width,
        augmentation=Augmentation(),
        seed=0,
    )
    noise = keyed_normal(0, LATENT, packed.positions, trainer.model.config.N_z)
    w_KL = torch.full((), 0.25, device=stroke5.device)
    categories = packed.categories.to(torch.int64)
    return stroke5, lengths, categories, packed.positions, noise, w_KL


def time_sampling(device: torch.device, budget: Budget) -> dict[str, float]:
    """Sketches/s of the default model, of N_max points each."""
    model = build_model(device).eval()
    torch.nn.init.constant_(model.decoder.output.bias[2:3].detach(), -1e9)  # never ends
    rates = {}
    for num in SAMPLE_SIZES:
        model.sample(num, seed=0)
        torch.cuda.synchronize()
        start_s, num_runs = time.perf_counter(), 0
        while num_runs < 1 or (num_runs < 5 and budget.left_s > 0):
            model.sample(num, seed=num_runs)
            num_runs += 1
        rates[f"{num} at a time"] = num * num_runs / (time.perf_counter() - start_s)
    return rates


def time_growth(device: torch.device, budget: Budget) -> Iterator[tuple[str, Measurement]]:
    """The default model in bf16 over batch sizes, N_max and units of the decoder."""
    for name, batch_size, width, units in list_growth():
        measurement = Measurement()
        if budget.left_s > 0:
            contender = Contender(name=name, fields={"decoder_size": units})
            visit(contender, batch_size, device, measurement, width)
        else:
            measurement.remark = "no time"
        yield name, measurement


def list_growth() -> list[tuple[str, int, int, int]]:
    """Name, batch size, N_max and units."""
    sizes = (32, 64, 128, 256, 512, 1024, 2048, 4096)
    return [
        *((f"N {units}", 100, N_MAX, units) for units in (256, 512, 1024, 2048)),
        *((f"N_max {width}", 100, width, 512) for width in (50, 100, 250, 500)),
        *((f"batch {size}", size, N_MAX, 512) for size in sizes),
    ]
