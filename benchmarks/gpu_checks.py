"""What `benchmarks.gpu` checks before it times anything: each fast path against a reference.

The reference is the loop over the readable cell on the same device, or the same model in float64 on
the CPU. On a machine without a GPU the Triton kernels are interpreted, at small sizes, and what
needs CUDA is named as not checked.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu_batches import (
    N_MAX,
    NotHere,
    differentiate,
    hyper_sizes,
    load_resident,
    loss_arguments,
    make_loss,
    make_model,
    perturb,
    random_batch,
    random_drawings,
)
from sketch_model import padding
from sketch_model.batch import PackedBatch
from sketch_model.cells import build_cell
from sketch_model.config import Augmentation, Cell, ModelConfig
from sketch_model.recurrent import cudnn, dropout_masks, unroll, unroll_to_ends
from sketch_model.recurrent.driver import Plan
from sketch_model.recurrent.eager import unroll_eager
from sketch_model.recurrent.graphs import GraphedLoss

TOLERANCES = {torch.float32: 2e-5, torch.bfloat16: 3e-2}
"""Of the norm of a difference, relative to the norm, by the dtype of the products."""

GRAPH_TOLERANCE = 2e-3
"""Of a graph against the same launches one by one, in bf16: cuBLAS may choose another algorithm."""


@dataclass(frozen=True)
class Outcome:
    """Of one check.

    Attributes:
        name: what was checked.
        error: the largest one found; None if it could not be checked.
        tolerance: what the error may be.
        remark: why it was not checked, or failed.
    """

    name: str
    error: float | None
    tolerance: float
    remark: str = ""

    @property
    def verdict(self) -> str:
        """ok, FAILED, or not checked."""
        if self.error is None and self.remark.startswith("not checked"):
            return "not checked"
        return "ok" if self.error is not None and self.error <= self.tolerance else "FAILED"


def run_checks(device: torch.device) -> Iterator[Outcome]:
    """One after another; an exception is a failure of its check alone."""
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for name, tolerance, check in _list_checks(device):
        try:
            yield Outcome(name, check(), tolerance)
        except NotHere as missing:
            yield Outcome(name, None, tolerance, f"not checked: {missing}")
        except Exception as error:  # what goes wrong on an unknown machine is the result
            yield Outcome(name, None, tolerance, f"{type(error).__name__}: {error}"[:300])


Check = tuple[str, float, Callable[[], float]]


def _list_checks(device: torch.device) -> list[Check]:
    checks: list[Check] = [
        (
            f"{cell} step kernels, {name_of(dtype)}, {'dropout, constant' if full else 'plain'}",
            TOLERANCES[dtype],
            lambda cell=cell, dtype=dtype, full=full: check_kernels(device, cell, dtype, full),
        )
        for cell in Cell
        for dtype in TOLERANCES
        for full in (True, False)
    ]
    checks += [
        ("cuDNN's LSTM", 2e-5, lambda: check_cudnn(device)),
        *(
            (f"unroll as chosen, {cell}", 2e-5, lambda cell=cell: check_choice(device, cell))
            for cell in Cell
        ),
        *(
            (f"loss and gradients, {cell}", 5e-5, lambda cell=cell: check_model(device, cell))
            for cell in Cell
        ),
        ("likelihood of rows", 2e-5, lambda: check_rows(device)),
        ("extreme logits: not finite, share", 0.0, lambda: check_extremes(device)),
        ("padding: bits that differ", 0.0, lambda: check_padding(device)),
        ("dropout masks: mean - 1", 3e-3, lambda: check_masks(device)),
        ("resident batches: points that differ", 0.0, lambda: check_resident(device)),
        *(
            (
                f"graph, batch after batch, {cell}",
                GRAPH_TOLERANCE,
                lambda cell=cell: check_graph(device, cell),
            )
            for cell in Cell
        ),
        (
            "graph, batch after batch, cuDNN",
            GRAPH_TOLERANCE,
            lambda: check_graph(device, Cell.lstm, bf16=False, recurrent_dropout=0.0),
        ),
        ("graph, two alive at once", GRAPH_TOLERANCE, lambda: check_two_alive(device)),
        ("graph, shapes come and go", GRAPH_TOLERANCE, lambda: check_shapes(device)),
    ]
    return checks


def name_of(dtype: torch.dtype) -> str:
    """As a table calls it."""
    return "bf16" if dtype == torch.bfloat16 else "fp32"


def largest_error(got: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm, at worst; infinite where one is not finite."""
    worst = 0.0
    for each, wanted in zip(got, expected, strict=True):
        reference = wanted.detach().double().cpu()
        difference = (each.detach().double().cpu() - reference).norm()
        error = float(difference / reference.norm().clamp(min=1e-30))
        worst = max(worst, error if np.isfinite(error) else float("inf"))
    return worst


class Case:
    """A cell with random weights, and what it is unrolled over."""

    def __init__(self, device: torch.device, kind: Cell, *, full: bool) -> None:
        num_steps, batch_size, size = (10, 100, 512) if device.type == "cuda" else (2, 3, 20)
        num_constant = size // 4 if full else 0
        config = ModelConfig(decoder_cell=kind, **hyper_sizes(device, kind))
        torch.manual_seed(0)
        self.cell = build_cell(kind, 5 + num_constant, size, config)
        for parameter in self.cell.parameters():
            scale = 0.1 if parameter.ndim == 1 else 0.25 * parameter.shape[-1] ** -0.5
            parameter.data += scale * torch.randn_like(parameter)
        self.cell.to(device)

        def random(*shape: int) -> Tensor:
            return torch.randn(shape).to(device).requires_grad_()

        self.inputs = random(num_steps, batch_size, 5)
        vector = random(batch_size, self.cell.state_size)
        self.state = self.cell.split_state(vector)
        self.constant = random(batch_size, num_constant) if full else None
        self.masks = dropout_masks((num_steps, batch_size, size), 0.1) if full else None
        if self.masks is not None:
            self.masks = self.masks.to(device)
        leaves = [self.inputs, vector, self.constant, *self.cell.parameters()]
        self.leaves = [leaf for leaf in leaves if leaf is not None]

    def eager(self) -> list[Tensor]:
        """Of the loop over the cell: outputs and gradients."""
        return self.differentiate(
            unroll_eager(
                self.cell, self.inputs, self.state, constant=self.constant, masks=self.masks
            )
        )

    def plan(self, kernels: Any, product_dtype: torch.dtype) -> Plan:
        """All sketches at all steps."""
        num_steps, batch_size, _ = self.inputs.shape
        return Plan(kernels, product_dtype, [batch_size] * num_steps, False, True)

    def differentiate(self, outputs: Tensor) -> list[Tensor]:
        """Outputs, and the gradients of some function of them."""
        weights = torch.sin(torch.arange(outputs.numel(), device=outputs.device))
        total = (outputs * weights.view(outputs.shape)).sum()
        return [outputs, *torch.autograd.grad(total, self.leaves)]


def choose_way(kind: Cell) -> tuple[Callable[..., Tensor], Any]:
    """The driver of a cell and its Triton kernels."""
    match kind:
        case Cell.lstm:
            from sketch_model.recurrent import triton_lstm
            from sketch_model.recurrent.lstm import unroll_lstm

            return unroll_lstm, triton_lstm
        case Cell.layer_norm:
            from sketch_model.recurrent import triton_layer_norm
            from sketch_model.recurrent.layer_norm import unroll_layer_norm

            return unroll_layer_norm, triton_layer_norm
        case Cell.hyper:
            from sketch_model.recurrent import triton_hyper
            from sketch_model.recurrent.hyper import unroll_hyper

            return unroll_hyper, triton_hyper


def check_kernels(
    device: torch.device, kind: Cell, product_dtype: torch.dtype, full: bool
) -> float:
    """Forward and backward of the Triton step kernels."""
    case = Case(device, kind, full=full)
    way, kernels = choose_way(kind)
    plan = case.plan(kernels, product_dtype)
    outputs = way(plan, case.cell, case.inputs, case.state, case.constant, case.masks)
    return largest_error(case.differentiate(outputs), case.eager())


def check_cudnn(device: torch.device) -> float:
    """torch's LSTM; a warning, such as that of weights in pieces, is an error."""
    case = Case(device, Cell.lstm, full=True)
    case.masks = None
    if device.type == "cuda" and not torch.cudnn_is_acceptable(case.inputs):
        raise NotHere("torch would not give this to cuDNN")
    plan: Any = case.plan(None, torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outputs = cudnn.unroll_cudnn(plan, case.cell, case.inputs, case.state, case.constant, None)  # type: ignore[arg-type]
        got = case.differentiate(outputs)
    return largest_error(got, case.eager())


def check_choice(device: torch.device, kind: Cell) -> float:
    """`unroll` and `unroll_to_ends` as a model calls them."""
    case = Case(device, kind, full=True)
    outputs = unroll(case.cell, case.inputs, case.state, constant=case.constant, masks=case.masks)
    errors = [largest_error(case.differentiate(outputs), case.eager())]
    case = Case(device, kind, full=False)
    num_steps, batch_size, _ = case.inputs.shape
    lengths = torch.arange(batch_size, device=device) % num_steps + 1
    zeros = case.cell.zero_state(batch_size)
    every = unroll_eager(case.cell, case.inputs, zeros)
    expected = every[lengths - 1, torch.arange(batch_size, device=device)]
    errors.append(largest_error([unroll_to_ends(case.cell, case.inputs, lengths)], [expected]))
    return max(errors)


def check_model(device: torch.device, kind: Cell) -> float:
    """Without dropout, against the same in float64 on the CPU."""
    model = make_model(device, kind, recurrent_dropout=0.0)
    perturb(model, 0.02)  # fresh weights are partly 0 or all alike, and have gradients of 0
    reference = copy.deepcopy(model).to("cpu", torch.float64)
    batch = random_batch(device, 8, 40 if device.type == "cuda" else 12, seed=0)
    arguments = loss_arguments(model.config.N_z, batch)
    doubled = [each.cpu() for each in arguments]
    doubled = [each.double() if each.is_floating_point() else each for each in doubled]
    got = differentiate(make_loss(model), model, arguments)
    return largest_error(got, differentiate(make_loss(reference), reference, doubled))


def check_rows(device: torch.device) -> float:
    """The likelihood of rows and its gradient, against float64 on the CPU."""
    from sketch_model.row_nll import reference_row_nll, row_nll

    batch = random_batch(device, 16, 30, seed=1)
    output = torch.randn(16, 30, 123, generator=torch.Generator().manual_seed(2))
    results = []
    for way, place, dtype in (
        (row_nll, device, torch.float32),
        (reference_row_nll, torch.device("cpu"), torch.float64),
    ):
        leaf = output.to(place, dtype).requires_grad_()
        offset, pen = way(leaf, batch.targets.to(place, dtype), batch.lengths.to(place))
        gradient = torch.autograd.grad(offset.sum() + 2 * pen.sum(), leaf)[0]
        results.append([offset, pen, gradient])
    return largest_error(*results)


def check_extremes(device: torch.device) -> float:
    """Share of losses and gradients that are not finite, of logits as large as bf16 has them."""
    from sketch_model.row_nll import row_nll

    batch = random_batch(device, 16, 30, seed=1)
    not_finite = []
    for scale in (1e2, 1e6, 1e30):
        for dtype in (torch.float32, torch.bfloat16):
            leaf = torch.randn(16, 30, 123, generator=torch.Generator().manual_seed(3)) * scale
            leaf = leaf.to(device, dtype).requires_grad_()
            offset, pen = row_nll(leaf, batch.targets, batch.lengths)
            gradient = torch.autograd.grad(offset.mean() + pen.mean(), leaf)[0]
            results = (offset, pen, gradient)
            not_finite += [1.0 - float(each.isfinite().float().mean()) for each in results]
    return max(not_finite)


def check_padding(device: torch.device) -> float:
    """Share of numbers that differ from the CPU's, with augmentation."""
    packed = random_drawings(200, 44.5, seed=0)
    options = {"offset_scale": 20.0, "width": N_MAX, "augmentation": Augmentation(), "seed": 7}
    results = []
    for place in ("cpu", device):
        here = packed.to(place)
        results.append(padding.pad(here.points, here.offsets, here.positions, **options))
    differ = [
        float((got.cpu() != wanted).float().mean()) for wanted, got in zip(*results, strict=True)
    ]
    return max(differ)


def check_masks(device: torch.device) -> float:
    """Mean of dropout masks; and that the generator alone decides them."""
    masks = [
        dropout_masks(
            (100, 100, 512), 0.1, device=device, generator=torch.Generator(device).manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert masks[0] is not None
    assert masks[1] is not None
    assert masks[2] is not None
    if not torch.equal(masks[0], masks[1]) or torch.equal(masks[0], masks[2]):
        return float("inf")
    return abs(float(masks[0].double().mean()) - 1.0)


def check_resident(device: torch.device) -> float:
    """Points, offsets and positions of gathered batches that differ from the drawings' own."""
    packed = random_drawings(5000, 44.5, seed=3)
    resident = load_resident(packed, device)
    sketches = packed.sketches()
    rows = np.random.default_rng(0).integers(0, 5000, 300)
    batch = resident.gather(rows)
    wanted = PackedBatch.from_sketches([sketches[row] for row in rows], positions=rows.tolist())
    return float(
        sum(
            int((getattr(batch, name).cpu() != getattr(wanted, name)).sum())
            for name in ("points", "offsets", "positions")
        )
    )


def make_graphed(
    device: torch.device, kind: Cell, *, bf16: bool = True, max_shapes: int = 32, **fields: Any
) -> tuple[Any, ...]:
    """A model, its loss, the generator of its dropout, and the same loss by graphs."""
    if device.type != "cuda":
        raise NotHere("CUDA graphs need CUDA")
    model = make_model(device, kind, **fields).train()
    generator = torch.Generator(device)
    compute = make_loss(model, bf16=bf16, generator=generator)
    graphed = GraphedLoss(
        compute, model.parameters(), generators=[generator], max_shapes=max_shapes
    )
    return model, compute, generator, graphed


def check_graph(device: torch.device, kind: Cell, **options: Any) -> float:
    """Thrice in a row with other inputs, weights and masks: loss and gradients, dropout on."""
    model, compute, generator, graphed = make_graphed(device, kind, **options)
    errors = []
    for seed in (0, 1, 2):
        arguments = loss_arguments(model.config.N_z, random_batch(device, 32, 48, seed), seed)
        generator.manual_seed(seed)
        expected = differentiate(compute, model, arguments)
        generator.manual_seed(seed)
        errors.append(largest_error(differentiate(graphed, model, arguments), expected))
        perturb(model, 0.01)
    return max(errors)


def check_two_alive(device: torch.device) -> float:
    """Forward a, forward b, backward a, backward b, of one shape."""
    model, compute, generator, graphed = make_graphed(device, Cell.layer_norm)
    parameters = list(model.parameters())
    arguments = [
        loss_arguments(model.config.N_z, random_batch(device, 32, 48, seed), seed)
        for seed in (0, 1)
    ]
    expected = []
    for each in arguments:
        generator.manual_seed(5)
        expected.append(differentiate(compute, model, each)[3:])
    losses = []
    for each in arguments:
        generator.manual_seed(5)
        losses.append(graphed(*each)[0])
    got = [torch.autograd.grad(loss, parameters) for loss in losses]
    return max(largest_error(*pair) for pair in zip(got, expected, strict=True))


def check_shapes(device: torch.device) -> float:
    """Three widths in turn where two graphs are kept, over shared memory."""
    model, compute, generator, graphed = make_graphed(device, Cell.lstm, max_shapes=2)
    errors = []
    for seed, width in enumerate((48, 16, 32, 48, 32, 16)):
        arguments = loss_arguments(model.config.N_z, random_batch(device, 32, width, seed), seed)
        generator.manual_seed(seed)
        expected = differentiate(compute, model, arguments)
        generator.manual_seed(seed)
        errors.append(largest_error(differentiate(graphed, model, arguments), expected))
    return max(errors)
