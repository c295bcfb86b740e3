"""The whole model against the NumPy program, sketch by sketch, in float64."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import DataSpec, ModelConfig, SketchRNN, decoder, encoder
from sketch_model.batch import SketchBatch
from sketch_model.config import Cell, Condition
from sketch_model.losses import Losses, floored_kl, kl_weight, sketch_losses
from tests.numerics import sketch_rnn_numpy
from tests.numerics.sketch_rnn_numpy import Array, DecoderMasks, kl_nats, sketch_nats
from tests.numerics.torch_weights import decode_numpy, encode_numpy, to_numpy

N_MAX = 15
N_Z = 4
LENGTHS = (1, 4, 9, 14)
TOLERANCE = 1e-10


def random_batch() -> SketchBatch:
    """Float64 sketches, as wide as N_MAX, each of a category of its own."""
    random = np.random.default_rng(0)
    rows = np.zeros((len(LENGTHS), N_MAX + 1, 5))
    rows[:, 0, 2] = 1
    for sketch, length in zip(rows, LENGTHS, strict=True):
        sketch[1 : length + 1, :2] = random.normal(size=(length, 2))
        lifted = random.random(length) < 0.3
        sketch[1 : length + 1, 2], sketch[1 : length + 1, 3] = ~lifted, lifted
        sketch[length + 1 :, 4] = 1
    numbers = torch.arange(len(LENGTHS))
    return SketchBatch(torch.from_numpy(rows), torch.tensor(LENGTHS), numbers, numbers)


def random_model(**changes: Any) -> SketchRNN:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"encoder_size": 6, "decoder_size": 8, "N_z": N_Z, "M": 3}
    config = ModelConfig(**sizes | changes)
    data = DataSpec(offset_scale=1.0, N_max=N_MAX, categories=("a", "b", "c", "d"), source="random")
    model = SketchRNN(config, data).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def cells(encoder_cell: Cell, decoder_cell: Cell) -> dict[str, Any]:
    """What makes a model of these cells, with a small small cell."""
    changes: dict[str, Any] = {"encoder_cell": encoder_cell, "decoder_cell": decoder_cell}
    if Cell.hyper in changes.values():
        changes |= {"hyper_size": 5, "hyper_embedding_size": 2}
    return changes


TOLD = {"condition": Condition.category, "category_embedding_size": 3}
MODELS = [
    *(cells(one, other) for one, other in product(Cell, Cell)),
    *(cells(Cell.lstm, cell) | {"conditional": False} for cell in Cell),
    *(cells(cell, cell) | TOLD for cell in Cell),
    cells(Cell.lstm, Cell.hyper) | TOLD | {"conditional": False},
]


def name_of(changes: dict[str, Any]) -> str:
    return "-".join(str(value) for value in changes.values()) or "default"


def score_numpy(
    model: SketchRNN,
    batch: SketchBatch,
    noise: torch.Tensor,
    num_rows: Sequence[int] = (N_MAX,) * len(LENGTHS),
    **options: Any,
) -> dict[str, Array]:
    """Nats of each sketch's first rows, by name; `options` are those of `sketch_nats`."""
    rows, nats = to_numpy(batch.stroke5), defaultdict(list)
    for index, length in enumerate(LENGTHS):
        z, divergence = None, 0.0
        if model.encoder is not None:
            mean, log_variance = encode_numpy(model, rows[index, 1 : length + 1])
            z = mean + np.exp(log_variance / 2) * to_numpy(noise[index])
            divergence = kl_nats(mean, log_variance)
        output = decode_numpy(model, rows[index, :-1], z, int(batch.categories[index]))
        num = num_rows[index]
        scored = sketch_nats(output[:num], rows[index, 1 : num + 1], **options)
        for name, value in asdict(scored).items():
            nats[name].append(value)
        nats["kl"].append(divergence)
    return {name: np.array(values) for name, values in nats.items()}


def assert_close(value: torch.Tensor, expected: object) -> None:
    np.testing.assert_allclose(to_numpy(value), expected, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("changes", MODELS, ids=name_of)
def test_forward_and_losses_agree(changes: dict[str, Any]) -> None:
    model, batch = random_model(**changes), random_batch()
    noise = torch.randn(len(LENGTHS), N_Z, dtype=torch.float64)
    got = sketch_losses(model(batch, noise), batch, N_MAX)
    nats = score_numpy(model, batch, noise)
    assert_close(got.L_s, nats["offsets"].mean() / N_MAX)
    assert_close(got.L_p, nats["pen"].mean() / N_MAX)
    assert_close(got.L_R, (nats["offsets"] + nats["pen"]).mean() / N_MAX)
    assert_close(got.L_R_masked, (nats["offsets"] + nats["pen_real"]).mean() / N_MAX)
    assert_close(got.L_KL, nats["kl"].mean() / N_Z)
    assert_close(got.bound_nats, nats["offsets"] + nats["pen_to_end"] + nats["kl"])


def losses_of(model: SketchRNN, batch: SketchBatch, noise: torch.Tensor, **options: Any) -> Losses:
    return sketch_losses(model(batch, noise), batch, N_MAX, **options)


def test_floor_and_pen_weights_change_what_is_trained_on_and_not_the_bound() -> None:
    model, batch = random_model(), random_batch()
    noise = torch.randn(len(LENGTHS), N_Z, dtype=torch.float64)
    floor, pen_weights = 1e-6, (1.0, 10.0, 100.0)
    got = losses_of(model, batch, noise, floor=floor, pen_weights=pen_weights)
    plain = score_numpy(model, batch, noise)
    changed = score_numpy(model, batch, noise, floor=floor, pen_weights=pen_weights)
    assert_close(got.L_s, changed["offsets"].mean() / N_MAX)
    assert_close(got.L_p, changed["pen"].mean() / N_MAX)
    assert_close(got.L_R, (changed["offsets"] + changed["pen"]).mean() / N_MAX)
    assert_close(got.pen_nats, plain["pen"])
    assert_close(got.bound_nats, plain["offsets"] + plain["pen_to_end"] + plain["kl"])
    assert (changed["pen"] > 10 * plain["pen"]).all(), "weights that do not weigh"


@pytest.mark.parametrize("cell", list(Cell))
def test_every_dropout_acts_where_the_reference_has_it(
    monkeypatch: pytest.MonkeyPatch, cell: Cell
) -> None:
    """On the candidate in both parts; on all that the decoder's cell reads, and on what it shows.

    What the cell shows is dropped on the way to the output layer, and not in its state.
    """
    drawn: dict[float, list[torch.Tensor]] = defaultdict(list)

    def noting(draw: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def masks(shape: tuple[int, ...], probability: float, **options: Any) -> torch.Tensor:
            drawn[probability].append(draw(shape, probability, **options).double())
            return drawn[probability][-1]

        return masks

    for module in (encoder, decoder):
        monkeypatch.setattr(module, "dropout_masks", noting(module.dropout_masks))
    dropout = {"recurrent_dropout": 0.3, "input_dropout": 0.4, "output_dropout": 0.5}
    model, batch = random_model(**cells(cell, cell), **dropout).train(), random_batch()
    prediction = model(batch)
    ahead, back, candidate = map(to_numpy, drawn.pop(0.3))
    (inputs,), (outputs,) = drawn.pop(0.4), drawn.pop(0.5)
    assert not drawn
    posterior = prediction.posterior
    assert posterior is not None

    rows = to_numpy(batch.stroke5)
    for index, length in enumerate(LENGTHS):
        mean, log_variance = encode_numpy(
            model, rows[index, 1 : length + 1], (ahead[:, index], back[:, index])
        )
        assert_close(posterior.mean[index], mean)
        assert_close(posterior.log_variance[index], log_variance)
        masks = DecoderMasks(
            to_numpy(inputs[:, index]), candidate[:, index], to_numpy(outputs[:, index])
        )
        expected = decode_numpy(model, rows[index, :-1], mean, masks=masks)
        assert_close(prediction.output[index], expected)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        cells(Cell.layer_norm, Cell.layer_norm),
        cells(Cell.hyper, Cell.hyper),
        cells(Cell.lstm, Cell.hyper) | TOLD,
    ],
    ids=name_of,
)
def test_gradients_agree_with_finite_differences_of_the_numpy_program(
    changes: dict[str, Any],
) -> None:
    """Of the training loss, along random directions of all weights together."""
    model, batch = random_model(**changes), random_batch()
    noise = torch.randn(len(LENGTHS), N_Z, dtype=torch.float64)
    losses = losses_of(model, batch, noise)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(losses.L_R + 0.7 * losses.L_KL, parameters)

    def loss_numpy() -> float:
        nats = score_numpy(model, batch, noise)
        reconstruction = (nats["offsets"] + nats["pen"]) / N_MAX
        return float((reconstruction + 0.7 * nats["kl"] / N_Z).mean())

    step = 1e-5
    for seed in range(3):
        torch.manual_seed(seed)
        directions = [torch.randn_like(parameter) for parameter in parameters]
        values = []
        for sign in (1, -2):  # +step, then -step
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(sign * step * direction)
            values.append(loss_numpy())
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(step * direction)
        slope = sum(
            float((gradient * direction).sum())
            for gradient, direction in zip(gradients, directions, strict=True)
        )
        np.testing.assert_allclose(slope, (values[0] - values[1]) / (2 * step), rtol=1e-6)


def test_a_batch_of_other_width_changes_only_the_pen_loss_of_the_rows_left_out() -> None:
    model, batch = random_model(), random_batch()
    wide = sketch_losses(model(batch), batch, N_MAX)
    short = batch.take(slice(3))
    short = replace(short, stroke5=short.stroke5[:, :11])  # the longest has 9 points
    narrow = sketch_losses(model(short), short, N_MAX)
    for name in ("offset_nats", "pen_nats_to_end", "pen_nats_real", "kl_nats"):
        torch.testing.assert_close(
            getattr(narrow, name), getattr(wide, name)[:3], rtol=1e-12, atol=1e-12
        )
    assert (narrow.pen_nats < wide.pen_nats[:3]).all()


@pytest.mark.parametrize("changes", MODELS, ids=name_of)
def test_rows_that_do_not_count_have_no_part_in_losses_and_gradients(
    changes: dict[str, Any],
) -> None:
    """Nor are they computed; of a model that did compute them, the losses are the same."""
    model, batch = random_model(**changes), random_batch()
    noise = torch.randn(len(LENGTHS), N_Z, dtype=torch.float64)
    counted = replace(batch, num_rows=torch.tensor([3, N_MAX, 10, N_MAX]))
    prediction = model(counted, noise)
    assert prediction.packing is not None
    assert sum(prediction.packing.counts) == 3 + 10 + 2 * N_MAX
    got = sketch_losses(prediction, counted, N_MAX)
    nats = score_numpy(model, batch, noise, num_rows=counted.num_rows.tolist())
    assert_close(got.L_s, nats["offsets"].mean() / N_MAX)
    assert_close(got.L_p, nats["pen"].mean() / N_MAX)
    assert_close(got.bound_nats, nats["offsets"] + nats["pen_to_end"] + nats["kl"])
    computed = sketch_losses(model(batch, noise), counted, N_MAX)
    parameters = [*model.parameters()]
    for one, other in zip(
        torch.autograd.grad(got.L_R + got.L_KL, parameters),
        torch.autograd.grad(computed.L_R + computed.L_KL, parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", list(Cell))
def test_dropout_is_the_same_where_only_some_rows_are_computed(cell: Cell) -> None:
    """All of them count here, so that both ways draw as many masks, in the same order."""
    dropout = {"recurrent_dropout": 0.3, "input_dropout": 0.4, "output_dropout": 0.5}
    model, batch = random_model(**cells(cell, cell), **dropout).train().float(), random_batch()
    batch = replace(batch, stroke5=batch.stroke5.float())
    counted = replace(batch, num_rows=torch.full((len(LENGTHS),), N_MAX))
    found = []
    for each in (batch, counted):
        generator = torch.Generator().manual_seed(3)
        losses = sketch_losses(model(each, generator=generator), each, N_MAX)
        found.append(torch.stack([losses.L_s, losses.L_p, losses.L_KL]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(found[0], torch.stack(_without_dropout(model, batch)), rtol=1e-3)


def _without_dropout(model: SketchRNN, batch: SketchBatch) -> list[torch.Tensor]:
    losses = sketch_losses(model.eval()(batch), batch, N_MAX)
    return [losses.L_s, losses.L_p, losses.L_KL]


@pytest.mark.parametrize("step", [0, 1, 999, 100_000, 10_000_000])
def test_the_weight_of_the_divergence_is_the_reference_s(step: int) -> None:
    """Its kl_weight_start is absolute, and eta_min the same as a share."""
    expected = sketch_rnn_numpy.kl_weight(step, 0.5, 0.01, 0.99995)
    assert kl_weight(step, w_KL=0.5, eta_min=0.02, R=0.99995) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("L_KL", "slope"), [(0.1, 0.0), (0.3, 1.0)])
def test_the_floor_of_the_divergence_has_no_gradient_below(L_KL: float, slope: float) -> None:
    value = torch.tensor(L_KL, requires_grad=True)
    floored = floored_kl(value, 0.2)
    floored.backward()
    assert floored.item() == pytest.approx(max(L_KL, 0.2))
    assert value.grad is not None
    assert value.grad.item() == slope
