from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from sketch_model.encoder import Posterior
from sketch_model.losses import Losses, floored_kl, kl_nats, kl_weight, sketch_losses
from sketch_model.mixture import offset_nll, pen_nll
from sketch_model.model import Prediction
from sketch_model.row_nll import reference_row_nll
from tests.sketch_model.sketches import N_MAX, random_batch, small_model


def test_each_sum_goes_over_its_own_rows() -> None:
    model, batch = small_model(conditional=False), random_batch(5)
    prediction = model(batch)
    losses = sketch_losses(prediction, batch, N_MAX)
    offsets = offset_nll(prediction.mixture, batch.targets[..., :2])
    pens = pen_nll(prediction.mixture, batch.targets[..., 2:])
    for index, length in enumerate(batch.lengths.tolist()):
        for got, expected in (
            (losses.offset_nats, offsets[index, :length]),
            (losses.pen_nats, pens[index]),
            (losses.pen_nats_to_end, pens[index, : length + 1]),
            (losses.pen_nats_real, pens[index, :length]),
        ):
            torch.testing.assert_close(got[index], expected.sum())


def test_the_losses_are_the_sums_divided_as_the_paper_divides_them() -> None:
    losses = Losses(
        offset_nats=torch.tensor([1.0, 3.0]),
        pen_nats=torch.tensor([11.0, 23.0]),
        kl_nats=torch.tensor([4.0, 8.0]),
        pen_nats_to_end=torch.tensor([5.0, 7.0]),
        pen_nats_real=torch.tensor([2.0, 6.0]),
        floored_offset_nats=torch.tensor([0.5, 1.5]),
        weighted_pen_nats=torch.tensor([30.0, 50.0]),
        N_max=10,
        N_z=4,
    )
    for got, expected in (
        (losses.L_s, 0.1),
        (losses.L_p, 4.0),
        (losses.L_R, 4.1),
        (losses.L_R_masked, 0.5),
        (losses.L_KL, 1.5),
        (losses.bound_nats, [10.0, 18.0]),
    ):
        torch.testing.assert_close(got, torch.tensor(expected))


def test_the_latent_vector_s_nats_are_per_dimension_and_none_without_one() -> None:
    batch = random_batch(3)
    prediction = small_model()(batch)
    assert prediction.posterior is not None
    losses = sketch_losses(prediction, batch, N_MAX)
    mean, log_variance = prediction.posterior.mean, prediction.posterior.log_variance
    expected = (mean.square() + log_variance.exp() - log_variance - 1.0).mean() / 2
    assert expected > 0
    torch.testing.assert_close(losses.L_KL, expected)
    alone = sketch_losses(small_model(conditional=False)(batch), batch, N_MAX)
    assert alone.L_KL == 0


def test_a_sketch_as_long_as_the_batch_has_no_end_token() -> None:
    model, batch = small_model(conditional=False), random_batch(1)
    length = int(batch.lengths[0])
    batch = replace(batch, stroke5=batch.stroke5[:, : length + 1])
    losses = sketch_losses(model(batch), batch, N_MAX)
    torch.testing.assert_close(losses.pen_nats_to_end, losses.pen_nats_real)


def test_gradients_do_not_reach_the_model_through_padding_offsets() -> None:
    model, batch = small_model(conditional=False), random_batch(4)
    padding = torch.arange(N_MAX + 1) > batch.lengths[:, None]
    moved = batch.stroke5.clone()
    moved[..., :2][padding] = 3.0
    # Rows of padding are fed to the decoder, but only after the last real target.
    losses = [sketch_losses(model(b), b, N_MAX) for b in (batch, replace(batch, stroke5=moved))]
    torch.testing.assert_close(losses[0].offset_nats, losses[1].offset_nats)


def test_floor_limits_a_row_to_13_8_nats_and_leaves_the_bound_alone() -> None:
    model, batch = small_model(), random_batch(3)
    moved = batch.stroke5.clone()
    moved[:, 1, :2] = 1e3  # an offset that the model thinks impossible
    batch = replace(batch, stroke5=moved)
    prediction = model(batch)
    floored = sketch_losses(prediction, batch, N_MAX, floor=1e-6)
    plain = sketch_losses(prediction, batch, N_MAX)
    rows = offset_nll(prediction.mixture, batch.targets[..., :2])
    expected = -torch.log(torch.exp(-rows.double()) + 1e-6)
    real = torch.arange(N_MAX) < batch.lengths[:, None]
    torch.testing.assert_close(floored.L_s.double(), (expected * real).sum() / 3 / N_MAX)
    assert abs(expected[:, 0].max().item() - 13.8155) < 1e-3
    assert torch.equal(floored.bound_nats, plain.bound_nats)
    assert floored.L_s < plain.L_s


def test_pen_weights_are_of_the_true_state_and_leave_reported_figures_alone() -> None:
    model, batch = small_model(), random_batch(3)
    prediction = model(batch)
    weighted = sketch_losses(prediction, batch, N_MAX, pen_weights=(1.0, 10.0, 100.0))
    plain = sketch_losses(prediction, batch, N_MAX)
    rows = pen_nll(prediction.mixture, batch.targets[..., 2:])
    states = batch.targets[..., 2:].argmax(dim=-1)
    expected = (rows * torch.tensor([1.0, 10.0, 100.0])[states]).sum(dim=1)
    torch.testing.assert_close(weighted.weighted_pen_nats, expected)
    torch.testing.assert_close(weighted.L_p, expected.mean() / N_MAX)
    torch.testing.assert_close(weighted.L_R, weighted.L_s + weighted.L_p)
    assert torch.equal(plain.weighted_pen_nats, plain.pen_nats)
    for name in ("pen_nats", "pen_nats_to_end", "pen_nats_real", "bound_nats", "L_R_masked", "L_s"):
        assert torch.equal(getattr(weighted, name), getattr(plain, name)), name


def test_equal_pen_weights_are_a_factor() -> None:
    batch = random_batch(3)
    prediction = small_model()(batch)
    twice = sketch_losses(prediction, batch, N_MAX, pen_weights=(2.0, 2.0, 2.0))
    torch.testing.assert_close(twice.weighted_pen_nats, 2 * twice.pen_nats)


def test_weights_reach_the_gradient() -> None:
    model, batch = small_model(conditional=False), random_batch(2)
    output = model(batch).output.detach().requires_grad_()

    def gradient(**options: Any) -> torch.Tensor:
        losses = sketch_losses(Prediction(output, None), batch, N_MAX, **options)
        return torch.autograd.grad(losses.L_R, output)[0][..., :3]

    ends = batch.targets[..., 4:]
    expected = gradient() * (1 + 99 * ends)
    torch.testing.assert_close(gradient(pen_weights=(1.0, 1.0, 100.0)), expected)


@pytest.mark.parametrize(
    "pen_weights",
    [(1.0, 10.0), (1.0, -1.0, 1.0), (1.0, math.nan, 1.0), (1.0, 1.0, math.inf), (0.0, 0.0, 0.0)],
)
def test_weights_that_do_not_fit_are_refused(pen_weights: tuple[float, ...]) -> None:
    model, batch = small_model(), random_batch(2)
    with pytest.raises(ValueError, match=r"pen_weights=\[.* must be 3 finite numbers"):
        sketch_losses(model(batch), batch, N_MAX, pen_weights=pen_weights)


@pytest.mark.parametrize("state", range(3))
def test_a_state_may_have_no_weight(state: int) -> None:
    model, batch = small_model(), random_batch(3)
    pen_weights = [0.5, 0.5, 0.5]
    pen_weights[state] = 0.0
    losses = sketch_losses(model(batch), batch, N_MAX, pen_weights=pen_weights)
    rows = pen_nll(model(batch).mixture, batch.targets[..., 2:])
    counted = batch.targets[..., 2 + state] == 0
    torch.testing.assert_close(losses.weighted_pen_nats, 0.5 * (rows * counted).sum(dim=1))


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_fused_losses_equal_those_of_the_reference(
    monkeypatch: pytest.MonkeyPatch, floor: float
) -> None:
    model, batch = small_model(), random_batch(6)
    options: dict[str, Any] = {"floor": floor, "pen_weights": (1.0, 10.0, 100.0)}
    output = model(batch).output.detach().requires_grad_()

    def evaluate() -> tuple[Losses, torch.Tensor]:
        found = sketch_losses(Prediction(output, None), batch, N_MAX, **options)
        return found, torch.autograd.grad(found.L_R, output)[0]

    fused, fused_gradient = evaluate()
    monkeypatch.setattr("sketch_model.losses.row_nll", reference_row_nll)
    reference, reference_gradient = evaluate()
    for name in (field.name for field in fields(Losses)):
        got, expected = getattr(fused, name), getattr(reference, name)
        torch.testing.assert_close(got, expected, rtol=2e-5, atol=2e-5)
    torch.testing.assert_close(fused_gradient, reference_gradient, rtol=2e-5, atol=2e-5)


def test_losses_of_a_batch_are_the_mean_of_its_parts() -> None:
    model, batch = small_model(), random_batch(4)
    whole = sketch_losses(model(batch), batch, N_MAX)
    parts = [batch.take(rows) for rows in (slice(0, 1), slice(1, 4))]
    halves = [sketch_losses(model(part), part, N_MAX) for part in parts]
    for name in ("L_R", "L_s", "L_p", "L_KL", "L_R_masked"):
        weighted = (getattr(halves[0], name) + 3 * getattr(halves[1], name)) / 4
        torch.testing.assert_close(getattr(whole, name), weighted)


def test_kl_against_the_integral() -> None:
    mean, log_variance = 0.7, -0.4
    posterior = Posterior(torch.tensor([[mean, 0.0]]), torch.tensor([[log_variance, 0.0]]))
    z = torch.linspace(-12, 12, 100_001, dtype=torch.float64)
    q = torch.distributions.Normal(mean, math.exp(log_variance / 2)).log_prob(z)
    p = torch.distributions.Normal(0.0, 1.0).log_prob(z)
    integral = torch.trapezoid(q.exp() * (q - p), z)
    torch.testing.assert_close(kl_nats(posterior)[0].double(), integral, rtol=1e-6, atol=1e-6)


def test_kl_weight_runs_from_the_start_to_w_KL() -> None:
    def weight(step: int) -> float:
        return kl_weight(step, w_KL=0.5, eta_min=0.02, R=0.99995)

    assert weight(0) == pytest.approx(0.01)  # the reference's kl_weight_start
    assert weight(10_000) == pytest.approx(0.5 - (0.5 - 0.01) * 0.99995**10_000)
    assert weight(10_000_000) == pytest.approx(0.5)


def test_no_gradient_below_the_floor_of_the_kl() -> None:
    for value, slope in ((0.1, 0.0), (0.3, 1.0)):
        L_KL = torch.tensor(value, requires_grad=True)
        floored = floored_kl(L_KL, 0.2)
        assert floored.item() == pytest.approx(max(value, 0.2))
        assert torch.autograd.grad(floored, L_KL)[0].item() == slope


def test_a_batch_wider_than_N_max_is_refused() -> None:
    model, batch = small_model(), random_batch(2)
    with pytest.raises(ValueError, match=f"{N_MAX} rows and N_max=20"):
        sketch_losses(model(batch), batch, 20)
    with pytest.raises(ValueError, match="floor=-1"):
        sketch_losses(model(batch), batch, N_MAX, floor=-1)
