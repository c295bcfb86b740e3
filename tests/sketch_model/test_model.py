from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import DataSpec, ModelConfig, SketchRNN
from sketch_model.config import Cell, Condition, choose
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

HYPER_SIZES = {"hyper_size": 6, "hyper_embedding_size": 2}
DATA = DataSpec(offset_scale=OFFSET_SCALE, N_max=N_MAX, categories=("test",), source="random")


@pytest.mark.parametrize(
    ("encoder_cell", "encoder_size", "decoder_cell", "decoder_size", "conditional", "decoder_only"),
    [
        (Cell.lstm, 256, Cell.lstm, 512, 2_186_107, 1_123_963),
        (Cell.layer_norm, 256, Cell.layer_norm, 512, 2_192_251, 1_127_035),
        (Cell.lstm, 256, Cell.hyper, 512, 3_477_627, 2_218_363),
        (Cell.layer_norm, 512, Cell.hyper, 2048, 24_515_195, 20_350_843),
    ],
)
def test_sizes_have_the_references_number_of_parameters(
    encoder_cell: Cell,
    encoder_size: int,
    decoder_cell: Cell,
    decoder_size: int,
    conditional: int,
    decoder_only: int,
) -> None:
    for is_conditional, expected in ((True, conditional), (False, decoder_only)):
        config = ModelConfig(
            conditional=is_conditional,
            encoder_cell=encoder_cell,
            encoder_size=encoder_size,
            decoder_cell=decoder_cell,
            decoder_size=decoder_size,
        )
        with torch.device("meta"):
            model = SketchRNN(config, DATA)
        assert sum(parameter.numel() for parameter in model.parameters()) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"conditional": False},
        {"encoder_cell": Cell.layer_norm, "decoder_cell": Cell.layer_norm},
        {"encoder_cell": Cell.hyper, "decoder_cell": Cell.hyper, **HYPER_SIZES},
        {"condition": Condition.category, "category_embedding_size": 2},
        {"condition": Condition.category, "conditional": False},
        {"input_dropout": 0.2, "output_dropout": 0.2},
    ],
    ids=str,
)
def test_every_parameter_gets_a_gradient(changes: dict[str, Any]) -> None:
    model, batch = small_model(**changes).train(), random_batch(4)
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


@pytest.mark.parametrize("cell", list(Cell))
def test_mixture_is_float32_under_autocast(cell: Cell) -> None:
    sizes = HYPER_SIZES if cell is Cell.hyper else {}
    model = small_model(encoder_cell=cell, decoder_cell=cell, **sizes)
    batch = random_batch(3)
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
        ([spoil(float("inf"))], "drawing 0: .*finite"),
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"M": 0}, r"model\.M=0 must be at least 1"),
        ({"N_z": 0}, r"model\.N_z=0 must be at least 1"),
        ({"encoder_size": -1}, r"model\.encoder_size=-1 must be at least 1"),
        ({"recurrent_dropout": 1.0}, r"recurrent_dropout=1.0 must be in \[0, 1\): .* dropping"),
        ({"input_dropout": -0.1}, r"input_dropout=-0.1 must be in \[0, 1\)"),
        ({"output_dropout": float("nan")}, r"output_dropout=nan must be in \[0, 1\)"),
        ({"hyper_size": 64}, r"hyper_size=64 is not read .* set model\.decoder_cell=hyper"),
        (
            {"encoder_cell": Cell.hyper, "hyper_embedding_size": 2, "conditional": False},
            r"hyper_embedding_size=2 is not read .* set model\.decoder_cell=hyper",
        ),
        (
            {"category_embedding_size": 8},
            r"category_embedding_size=8 is not read .* set model\.condition=category",
        ),
    ],
)
def test_what_no_model_can_have_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_model(**change)


def test_a_choice_that_there_is_not_is_refused_with_those_there_are() -> None:
    assert choose("model.decoder_cell", Cell, "hyper") is Cell.hyper
    with pytest.raises(ValueError, match=r"decoder_cell='gru' must be one of lstm, layer_norm, hy"):
        choose("model.decoder_cell", Cell, "gru")
    with pytest.raises(ValueError, match=r"model\.condition=3 must be one of none, category"):
        choose("model.condition", Condition, 3)


def test_choices_are_checked_and_may_be_text() -> None:
    """In a process of its own: here annotations are checked, and text is no `Cell`."""
    code = """
from sketch_model.config import Cell, Condition, ModelConfig
config = ModelConfig(encoder_cell="layer_norm", decoder_cell="hyper", condition="category")
assert (config.encoder_cell, config.decoder_cell) == (Cell.layer_norm, Cell.hyper)
assert config.condition is Condition.category
try:
    ModelConfig(encoder_cell="gru")
except ValueError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "encoder_cell='gru' must be one of lstm, layer_norm, hyper" in result.stdout


def told_model(**changes: Any) -> SketchRNN:
    """A model that is told which of two categories it draws, and whose drawings never end."""
    model = small_model(condition=Condition.category, categories=("cat", "sun"), **changes)
    with torch.no_grad():
        model.decoder.output.bias[2] = -50.0
    return model


@pytest.mark.parametrize("conditional", [True, False])
def test_a_model_draws_what_it_is_told(conditional: bool) -> None:
    model = told_model(conditional=conditional)
    options: dict[str, Any] = {"seed": 0, "greedy": True}
    if conditional:
        options["z"] = torch.linspace(-1, 1, 5)
    cat, sun = (model.sample(category=name, **options)[0] for name in ("cat", "sun"))
    assert np.abs(cat - sun).max() > 1.0
    for got, expected in zip(
        model.sample(3, category=["sun", "cat", "sun"], **options), (sun, cat, sun), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-2)
    assert len(model.sample(2, category="sun", prefix=sun[:4], **options)) == 2
    if conditional:
        drawing = random_drawing(0, 5)
        again = model.reconstruct([drawing], category=["sun"], seed=1)[0]
        other = model.reconstruct([drawing], category=["cat"], seed=1)[0]
        assert not np.array_equal(again, other)


@pytest.mark.parametrize(
    ("told", "options", "message"),
    [
        (False, {"category": "cat"}, r"category='cat': this model is not told .*condition"),
        (True, {}, r"give category=, of \('cat', 'sun'\)"),
        (True, {"category": "dog"}, r"category='dog' is not one that was trained: \('cat', 'sun'"),
        (True, {"category": ["cat"]}, r"category must be one name or 2, got 1"),
    ],
)
def test_a_category_and_a_model_that_do_not_go_together_are_refused(
    told: bool, options: dict[str, Any], message: str
) -> None:
    model = told_model() if told else small_model()
    with pytest.raises(ValueError, match=message):
        model.sample(2, **options)


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
