"""The whole model against the NumPy program, sketch by sketch, in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sketch_model import DataSpec, ModelConfig, SketchRNN
from sketch_model.batch import SketchBatch
from sketch_model.losses import sketch_losses
from tests.numerics.sketch_rnn_numpy import kl_nats, sketch_nats
from tests.numerics.torch_weights import decode_numpy, encode_numpy, to_numpy

N_MAX = 15
LENGTHS = (1, 4, 9, 14)
TOLERANCE = 1e-10


def random_batch() -> SketchBatch:
    """Float64 sketches, as wide as N_MAX."""
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


def random_model(conditional: bool) -> SketchRNN:
    torch.manual_seed(0)
    config = ModelConfig(conditional=conditional, encoder_size=6, decoder_size=8, N_z=4, M=3)
    data = DataSpec(offset_scale=1.0, N_max=N_MAX, categories=("test",), source="random")
    model = SketchRNN(config, data).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


@pytest.mark.parametrize("floor", [0.0, 1e-6])
@pytest.mark.parametrize("conditional", [True, False])
def test_forward_and_losses_agree(conditional: bool, floor: float) -> None:
    model, batch = random_model(conditional), random_batch()
    noise = torch.randn(len(LENGTHS), 4, dtype=torch.float64)
    got = sketch_losses(model(batch, noise), batch, N_MAX, floor=floor)

    rows = to_numpy(batch.stroke5)
    bounds, offsets, pens, masked_pens, divergences = [], [], [], [], []
    for index, length in enumerate(LENGTHS):
        z, divergence = None, 0.0
        if conditional:
            mean, log_variance = encode_numpy(model, rows[index, 1 : length + 1])
            z = mean + np.exp(log_variance / 2) * to_numpy(noise[index])
            divergence = kl_nats(mean, log_variance)
        output = decode_numpy(model, rows[index, :-1], z)
        nats = sketch_nats(output, rows[index, 1:])
        offsets.append(sketch_nats(output, rows[index, 1:], floor).offsets)
        pens.append(nats.pen)
        masked_pens.append(nats.pen_real)
        divergences.append(divergence)
        bounds.append(nats.offsets + nats.pen_to_end + divergence)

    def assert_close(value: torch.Tensor, expected: object) -> None:
        np.testing.assert_allclose(to_numpy(value), expected, rtol=TOLERANCE, atol=TOLERANCE)

    assert_close(got.L_s, np.mean(offsets) / N_MAX)
    assert_close(got.L_p, np.mean(pens) / N_MAX)
    assert_close(got.L_R, np.mean(np.add(offsets, pens)) / N_MAX)
    assert_close(got.L_R_masked, np.mean(np.add(offsets, masked_pens)) / N_MAX)
    assert_close(got.L_KL, np.mean(divergences) / 4)
    assert_close(got.bound_nats, bounds)


def test_gradients_agree_with_finite_differences_of_the_numpy_program() -> None:
    """Of the training loss, along random directions of all weights together."""
    model, batch = random_model(conditional=True), random_batch()
    noise = torch.randn(len(LENGTHS), 4, dtype=torch.float64)
    losses = sketch_losses(model(batch, noise), batch, N_MAX)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(losses.L_R + 0.7 * losses.L_KL, parameters)

    def loss_numpy() -> float:
        rows = to_numpy(batch.stroke5)
        total = 0.0
        for index, length in enumerate(LENGTHS):
            mean, log_variance = encode_numpy(model, rows[index, 1 : length + 1])
            z = mean + np.exp(log_variance / 2) * to_numpy(noise[index])
            nats = sketch_nats(decode_numpy(model, rows[index, :-1], z), rows[index, 1:])
            total += (nats.offsets + nats.pen) / N_MAX + 0.7 * kl_nats(mean, log_variance) / 4
        return total / len(LENGTHS)

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
    model, batch = random_model(conditional=True), random_batch()
    wide = sketch_losses(model(batch), batch, N_MAX)
    short = SketchBatch(**{name: part[:3] for name, part in vars(batch).items()})
    short = replace(short, stroke5=short.stroke5[:, :11])  # the longest has 9 points
    narrow = sketch_losses(model(short), short, N_MAX)
    for name in ("offset_nats", "pen_nats_to_end", "pen_nats_real", "kl_nats"):
        torch.testing.assert_close(
            getattr(narrow, name), getattr(wide, name)[:3], rtol=1e-12, atol=1e-12
        )
    assert (narrow.pen_nats < wide.pen_nats[:3]).all()
