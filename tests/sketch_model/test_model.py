from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from sketch_model import DataSpec, ModelConfig, SketchRNN
from sketch_model.losses import sketch_losses
from tests.numerics.torch_weights import encode_numpy
from tests.sketch_model.sketches import (
    N_MAX,
    OFFSET_SCALE,
    random_batch,
    random_drawing,
    random_drawings,
    small_model,
)

DATA = DataSpec(offset_scale=OFFSET_SCALE, N_max=N_MAX, categories=("test",), source="random")


@pytest.mark.parametrize(("conditional", "expected"), [(True, 2_186_107), (False, 1_123_963)])
def test_default_sizes_have_the_references_number_of_parameters(
    conditional: bool, expected: int
) -> None:
    with torch.device("meta"):
        model = SketchRNN(ModelConfig(conditional=conditional), DATA)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize("conditional", [True, False])
def test_every_parameter_gets_a_gradient(conditional: bool) -> None:
    model, batch = small_model(conditional=conditional).train(), random_batch(4)
    losses = sketch_losses(model(batch, torch.randn(4, 5)), batch, N_MAX)
    (losses.L_R + losses.L_KL).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_padding_does_not_influence_the_posterior() -> None:
    model, batch = small_model(), random_batch(6)
    reference = model(batch).posterior
    rows = batch.stroke5.clone()
    padding = torch.arange(rows.shape[1]) > batch.lengths[:, None]
    rows[padding] = 7.0
    got = model(replace(batch, stroke5=rows)).posterior
    assert reference is not None
    assert got is not None
    assert torch.equal(got.mean, reference.mean)
    assert torch.equal(got.log_variance, reference.log_variance)


def test_dropout_follows_its_generator_and_is_off_in_evaluation() -> None:
    model, batch = small_model(recurrent_dropout=0.5), random_batch(3)

    def pen_logits(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        logits: torch.Tensor = model(batch, generator=generator).mixture.pen_logits
        return logits

    assert torch.equal(pen_logits(1), pen_logits(2))
    model.train()
    assert torch.equal(pen_logits(1), pen_logits(1))
    assert not torch.equal(pen_logits(1), pen_logits(2))


def test_latent_noise_draws_from_the_posterior_and_without_it_z_is_the_mean() -> None:
    model, batch = small_model(), random_batch(3)
    at_mean = model(batch).mixture.pen_logits
    assert torch.equal(at_mean, model(batch, torch.zeros(3, 5)).mixture.pen_logits)
    assert not torch.equal(at_mean, model(batch, torch.ones(3, 5)).mixture.pen_logits)


def test_mixture_is_float32_under_autocast() -> None:
    model, batch = small_model(), random_batch(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        prediction = model(batch, torch.zeros(3, 5))
    assert prediction.mixture.mean_x.dtype == torch.float32
    assert prediction.posterior.mean.dtype == torch.float32
    expected = sketch_losses(model(batch, torch.zeros(3, 5)), batch, N_MAX)
    got = sketch_losses(prediction, batch, N_MAX)
    torch.testing.assert_close(got.L_R, expected.L_R, rtol=0.02, atol=0.01)


def test_encode_is_the_posterior_mean_in_drawing_units() -> None:
    model = small_model().train()  # encode must not use dropout, and leave the mode as it was
    drawings = random_drawings(5)
    codes = model.encode(drawings)
    assert model.training
    for drawing, code in zip(drawings, codes, strict=True):
        rows = np.zeros((len(drawing), 5))
        rows[:, :2] = drawing[:, :2] / OFFSET_SCALE
        rows[:, 2], rows[:, 3] = 1 - drawing[:, 2], drawing[:, 2]
        mean, _ = encode_numpy(model, rows)
        np.testing.assert_allclose(code.numpy(), mean, atol=1e-5)
    torch.testing.assert_close(model.encode(drawings[1]), codes[1])
    torch.testing.assert_close(model.encode(drawings[1].astype(np.float32)), codes[1])


def test_many_drawings_are_encoded_in_parts() -> None:
    model, drawings = small_model(), random_drawings(300)
    codes = model.encode(drawings)
    assert codes.shape == (300, 5)
    torch.testing.assert_close(codes[[0, 299]], model.encode([drawings[0], drawings[299]]))


def spoil(value: float) -> np.ndarray:
    drawing = random_drawing(0, 5).astype(np.float64)
    drawing[2, 0] = value
    return drawing


@pytest.mark.parametrize(
    ("drawings", "message"),
    [
        ([], "at least one drawing"),
        ([np.zeros((0, 3))], "drawing 0: .*at least one row"),
        ([random_drawing(0, 3), spoil(float("nan"))], "drawing 1: .*finite"),
        ([np.zeros((4, 5))], r"drawing 0: .*\[L, 3\]"),
        ([random_drawing(0, N_MAX + 1)], f"25 points.*N_max={N_MAX}.*ingest.N_max"),
    ],
)
def test_drawings_that_cannot_be_encoded_are_named(
    drawings: list[np.ndarray], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_model().encode(drawings)


def test_a_decoder_only_model_says_that_it_cannot_encode() -> None:
    with pytest.raises(ValueError, match=r"no encoder.*prefix"):
        small_model(conditional=False).encode(random_drawing(0, 3))


@pytest.mark.parametrize("change", [{"M": 0}, {"N_z": 0}, {"recurrent_dropout": 1.0}])
def test_sizes_below_their_bounds_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        small_model(**change)


def test_import_is_light() -> None:
    code = """
import sys, sketch_model
heavy = {"pyarrow", "pytorch_lightning", "hydra", "omegaconf", "mlflow", "ray", "PIL", "pipeline"}
print(sorted(heavy & {name.split(".")[0] for name in sys.modules}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
