from __future__ import annotations

import importlib.util
import logging
import math
from typing import Any

import numpy as np
import pytest
import torch

import sketch_model.model
from sketch_model import (
    Cell,
    SketchRNN,
    TemperatureRule,
    compiled_randomness,
    compiled_sampling,
    randomness,
    sampling,
)
from sketch_model.config import DataSpec, ModelConfig
from sketch_model.mixture import Mixture, output_size
from sketch_model.sampling import draw_row, generate_eager, most_likely_row
from tests.numerics.sketch_rnn_numpy import read_output
from tests.numerics.torch_weights import to_numpy
from tests.sketch_model.sketches import (
    N_MAX,
    OFFSET_SCALE,
    random_drawing,
    random_drawings,
    small_model,
)

NUM_DRAWS = 200_000


@pytest.fixture(params=["eager", "compiled"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to sample that there are on a CPU."""
    if request.param == "eager":
        monkeypatch.setattr(sketch_model.model, "generate", generate_eager)
    return str(request.param)


def draws(output: torch.Tensor, temperature: float, rule: TemperatureRule, way: str) -> np.ndarray:
    if way == "compiled":
        return compiled_draws(output, rule.spread(temperature), temperature)
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(NUM_DRAWS, 4, generator=generator, dtype=torch.float64)
    mixture = Mixture.from_output(output.expand(NUM_DRAWS, -1))
    return to_numpy(draw_row(mixture, uniforms, temperature, rule))


def compiled_draws(output: torch.Tensor, spread: float, temperature: float) -> np.ndarray:
    outputs = np.tile(to_numpy(output).astype(np.float32), (NUM_DRAWS, 1))
    rows = np.empty((NUM_DRAWS, 5), np.float32)
    sketches = np.zeros((NUM_DRAWS, 8, 3), np.float32)
    active, stream = np.arange(NUM_DRAWS), np.uint64(11)
    going_on = compiled_sampling._draw(
        7, stream, temperature, spread, False, active, outputs, rows, sketches
    )
    np.testing.assert_array_equal(going_on, rows[:, 4] == 0)
    np.testing.assert_array_equal(sketches[:, 7], rows[:, [0, 1, 3]] * going_on[:, None])
    return rows


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_draws_have_the_moments_of_the_density(temperature: float, way: str) -> None:
    torch.manual_seed(2)
    output = torch.randn(output_size(3), dtype=torch.float64)
    rows = draws(output, temperature, TemperatureRule.paper, way)
    p = read_output(to_numpy(output), temperature)

    np.testing.assert_allclose(rows[:, 2:].mean(axis=0), p.pen, atol=0.005)
    mean = np.array([p.weight @ p.mean_x, p.weight @ p.mean_y])
    np.testing.assert_allclose(rows[:, :2].mean(axis=0), mean, atol=0.02)
    centres = np.stack([p.mean_x, p.mean_y], axis=1) - mean
    covariance = np.einsum("k,ka,kb->ab", p.weight, centres, centres)
    covariance[0, 0] += p.weight @ p.sigma_x**2
    covariance[1, 1] += p.weight @ p.sigma_y**2
    between = p.weight @ (p.rho * p.sigma_x * p.sigma_y)
    covariance += [[0, between], [between, 0]]
    np.testing.assert_allclose(np.cov(rows[:, :2].T), covariance, rtol=0.03, atol=0.02)


@pytest.mark.parametrize(
    ("rule", "factor"), [(TemperatureRule.paper, 0.5), (TemperatureRule.magenta, 0.25)]
)
def test_temperature_narrows_a_normal_by_the_rule(
    rule: TemperatureRule, factor: float, way: str
) -> None:
    output = torch.zeros(output_size(1), dtype=torch.float64)
    output[6:8] = math.log(2.0)  # one component at the origin, sigma 2
    rows = draws(output, 0.25, rule, way)
    np.testing.assert_allclose(rows[:, :2].std(axis=0), 2.0 * factor, rtol=0.01)


def test_pen_and_component_are_independent(way: str) -> None:
    output = torch.zeros(output_size(2), dtype=torch.float64)
    output[5:7] = torch.tensor([-100.0, 100.0])  # the sign of dx tells the component
    rows = draws(output, 1.0, TemperatureRule.paper, way)
    correlation = np.corrcoef(rows[:, 0] > 0, rows[:, 2])[0, 1]
    assert abs(correlation) < 0.01


def test_greedy_takes_the_likeliest() -> None:
    output = torch.zeros(2, output_size(2))
    output[0, 1], output[1, 2] = 1.0, 1.0  # pen lifted; end
    output[:, 4] = 1.0  # second component
    output[:, 6], output[:, 8] = 3.0, -4.0  # its mean
    expected = [[3, -4, 0, 1, 0], [3, -4, 0, 0, 1]]
    assert most_likely_row(Mixture.from_output(output)).tolist() == expected


def biased_to_end(bias: float, **changes: object) -> SketchRNN:
    model = small_model(**changes)
    with torch.no_grad():
        model.decoder.output.bias[2] = bias
    return model


@pytest.mark.usefixtures("way")
def test_samples_are_drawings_that_end_by_themselves_or_are_cut() -> None:
    model = small_model()
    sketches = model.sample(20, seed=0)
    lengths = {len(sketch) for sketch in sketches}
    assert len(lengths) > 3
    assert max(lengths) <= N_MAX
    for sketch in sketches:
        assert sketch.dtype == np.float32
        assert sketch.shape[1] == 3
        assert set(np.unique(sketch[:, 2])) <= {0, 1}
    assert {len(s) for s in biased_to_end(-50.0).sample(3, max_length=11, seed=0)} == {11}
    assert {s.shape for s in biased_to_end(50.0).sample(3, seed=0)} == {(0, 3)}


def test_sampling_stops_when_all_have_ended(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    model = small_model()
    sizes: list[int] = []

    def counting(function: Any, argument: int) -> Any:
        def count(*arguments: Any) -> Any:
            sizes.append(len(arguments[argument]))
            return function(*arguments)

        return count

    if way == "eager":
        monkeypatch.setattr(model.decoder, "step", counting(model.decoder.step, 0))
    else:
        monkeypatch.setattr(compiled_sampling, "_draw", counting(compiled_sampling._draw, 5))
    lengths = [len(sketch) for sketch in model.sample(8, seed=1)]
    assert max(lengths) < N_MAX
    assert sizes == [sum(length >= step for length in lengths) for step in range(max(lengths) + 1)]


@pytest.mark.parametrize("greedy", [False, True])
@pytest.mark.parametrize("conditional", [True, False])
@pytest.mark.parametrize("cell", list(Cell))
def test_the_compiled_way_draws_the_sketches_of_the_eager_one(
    cell: Cell, conditional: bool, greedy: bool
) -> None:
    sizes = {"hyper_size": 6, "hyper_embedding_size": 2} if cell is Cell.hyper else {}
    model = small_model(decoder_cell=cell, conditional=conditional, **sizes)
    context = torch.randn(40, 5) if conditional else None
    given = torch.zeros(1, 3, 5)
    given[0, :, 2] = 1
    given[0, 1:, :2] = torch.tensor([[0.5, -1.0], [0.25, 2.0]])
    with torch.no_grad():
        eager, compiled = (
            generate(
                model.decoder,
                given.expand(40, -1, -1),
                context,
                seed=3,
                max_length=30,
                temperature=0.6,
                rule=TemperatureRule.magenta,
                greedy=greedy,
            )
            for generate in (generate_eager, compiled_sampling.generate)
        )
    if conditional or not greedy:
        assert len({len(sketch) for sketch in eager}) > 1
    for got, expected in zip(compiled, eager, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


class UnknownCell(torch.nn.Module):
    """What a cell is that has no fast path yet."""

    def __init__(self, cell: torch.nn.Module) -> None:
        super().__init__()
        self.cell = cell
        self.zero_state = cell.zero_state

    def forward(self, *arguments: Any) -> Any:
        return self.cell(*arguments)


def test_a_cell_without_a_stepper_is_drawn_from_in_eager_steps() -> None:
    model = small_model(conditional=False)
    expected = model.sample(5, seed=1)
    model.decoder.cell = UnknownCell(model.decoder.cell)  # type: ignore[assignment]
    for got, sketch in zip(model.sample(5, seed=1), expected, strict=True):
        np.testing.assert_allclose(got, sketch, rtol=1e-4, atol=1e-3)


def test_compiled_draws_keep_parameters_within_their_bounds() -> None:
    """Of outputs of any size, also those of a model that has gone astray."""
    outputs = torch.tensor([-200.0, 0.0, 200.0, 3e8]).repeat_interleave(50)[:, None]
    outputs = outputs * torch.randn(200, output_size(4), generator=torch.Generator().manual_seed(0))
    rows, sketches = np.empty((200, 5), np.float32), np.empty((200, 1, 3), np.float32)
    active, stream = np.arange(200), randomness.SAMPLE
    compiled_sampling._draw(
        0,
        np.uint64(randomness._stream_offset(5, stream)),
        0.5,
        0.5,
        False,
        active,
        outputs.numpy(),
        rows,
        sketches,
    )
    uniforms = randomness.keyed_uniform(
        5, stream, torch.from_numpy(active)[:, None], torch.arange(4)
    )
    mixture = Mixture.from_output(outputs.double())
    expected = draw_row(mixture, uniforms.double(), 0.5, TemperatureRule.magenta)
    assert expected.isfinite().all()
    torch.testing.assert_close(torch.from_numpy(rows).double(), expected, rtol=1e-5, atol=1e-5)


def test_a_temperature_next_to_zero_draws_the_likeliest(way: str) -> None:
    model = biased_to_end(-50.0)
    cold = model.sample(2, temperature=1e-40, seed=0, z=torch.zeros(5))
    greedy = model.sample(2, greedy=True, z=torch.zeros(5))
    np.testing.assert_allclose(cold, greedy, rtol=1e-4, atol=1e-3)


def test_the_way_is_chosen_by_dtype_and_by_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sampling._report.cache_clear()
    config = ModelConfig(conditional=False, decoder_size=4, M=1)
    data = DataSpec(offset_scale=1.0, N_max=4, categories=("a",), source="random")
    model = SketchRNN(config, data)
    with caplog.at_level(logging.INFO, logger="sketch_model"):
        model.sample(seed=0)
        model.sample(seed=1)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        model.sample(seed=0)
    messages = [record.message for record in caplog.records]
    assert messages == [
        "sampling from LSTMCell on cpu: compiled steps",
        "sampling from LSTMCell on cpu: eager steps",
    ]


@pytest.mark.usefixtures("way")
def test_a_sketch_depends_on_seed_and_number_alone() -> None:
    model = small_model()
    many, few, other = model.sample(9, seed=3), model.sample(4, seed=3), model.sample(4, seed=4)
    for got, expected in zip(few, many[:4], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
    assert any(a.shape != b.shape or not np.allclose(a, b) for a, b in zip(few, other, strict=True))


@pytest.mark.usefixtures("way")
def test_without_a_seed_torch_gives_one() -> None:
    model = biased_to_end(-50.0)
    samples = []
    for _ in range(2):
        torch.manual_seed(0)
        samples.append([model.sample()[0], model.sample()[0]])
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(*samples[0])


@pytest.mark.usefixtures("way")
def test_teacher_forcing_and_sampling_take_the_same_steps() -> None:
    """A greedy sample, fed back, is what the decoder predicts at each row."""
    model = biased_to_end(-50.0)
    z = torch.linspace(-1, 1, 5)
    sketch = model.sample(z=z, greedy=True)[0]
    rows = torch.zeros(1, N_MAX + 1, 5)
    rows[0, 0, 2] = 1
    rows[0, 1:, :2] = torch.from_numpy(sketch[:, :2] / OFFSET_SCALE)
    rows[0, 1:, 3] = torch.from_numpy(sketch[:, 2])
    rows[0, 1:, 2] = 1 - rows[0, 1:, 3]
    with torch.no_grad():
        mixture = Mixture.from_output(model.decoder(rows[:, :-1], z[None]))
    predicted = torch.stack([most_likely_row(_at_step(mixture, n))[0] for n in range(N_MAX)])
    torch.testing.assert_close(predicted, rows[0, 1:], rtol=1e-4, atol=1e-4)


def _at_step(mixture: Mixture, step: int) -> Mixture:
    return Mixture(**{name: part[:, step] for name, part in vars(mixture).items()})


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("conditional", [True, False])
def test_completions_begin_with_the_prefix_and_differ(conditional: bool) -> None:
    model = biased_to_end(-50.0, conditional=conditional)
    prefix = random_drawing(0, 6)
    sketches = model.sample(3, prefix=prefix, seed=0)
    for sketch in sketches:
        np.testing.assert_allclose(sketch[:6], prefix, atol=1e-4)
        assert len(sketch) == N_MAX
    assert not np.allclose(sketches[0], sketches[1])
    if conditional:
        again = model.sample(3, prefix=prefix, seed=0, z=model.encode(prefix))
        np.testing.assert_array_equal(sketches, again)


@pytest.mark.usefixtures("way")
def test_a_completion_continues_the_state_that_the_prefix_leaves() -> None:
    model = biased_to_end(-50.0, conditional=False)
    whole = model.sample(seed=0, greedy=True)[0]
    completed = model.sample(prefix=whole[:10], greedy=True)[0]
    np.testing.assert_allclose(completed, whole, rtol=1e-3, atol=1e-2)


@pytest.mark.usefixtures("way")
def test_one_z_for_all_or_one_for_each() -> None:
    model = small_model()
    z = model.encode(random_drawings(3))
    assert len(model.sample(z=z, seed=0)) == 3
    assert len(model.sample(4, z=z[0], seed=0)) == 4
    alone = [model.sample(z=code, greedy=True)[0] for code in z]
    for got, expected in zip(model.sample(z=z, greedy=True), alone, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.usefixtures("way")
def test_reconstruction_draws_from_the_encoding() -> None:
    model, drawings = small_model(), random_drawings(3)
    got = model.reconstruct(drawings, temperature=0.3, seed=5)
    expected = model.sample(z=model.encode(drawings), temperature=0.3, seed=5)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, r"temperature=0.0 must be above 0.*greedy=True"),
        ({"temperature": -1.0}, "temperature=-1.0"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"num": 0}, "num=0 must be at least 1"),
        ({"max_length": 0}, "max_length=0"),
        ({"prefix": random_drawing(0, N_MAX)}, f"prefix of {N_MAX} points"),
        ({"prefix": np.full((2, 3), np.nan)}, "prefix: .*finite"),
        ({"z": torch.zeros(4)}, r"z must be \[5\]"),
        ({"z": torch.zeros(2, 5), "num": 3}, r"\[3, 5\], got \[2, 5\]"),
        ({"z": torch.full((5,), float("inf"))}, "z must be finite"),
    ],
)
def test_arguments_outside_their_bounds_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        small_model().sample(**arguments)  # type: ignore[arg-type]


def test_a_decoder_only_model_takes_no_z() -> None:
    with pytest.raises(ValueError, match="takes no z"):
        small_model(conditional=False).sample(z=torch.zeros(5))


def test_compiled_random_numbers_are_those_of_the_reference() -> None:
    keys, counters = np.array([0, 1, 999, 2**62]), np.array([0, 3, 10**6])
    stream = np.uint64(randomness._stream_offset(-7, randomness.SAMPLE))
    got = [
        [compiled_randomness.uniform(compiled_randomness.mix_key(stream, k), c) for c in counters]
        for k in keys
    ]
    expected = randomness.keyed_uniform(
        -7, randomness.SAMPLE, torch.from_numpy(keys)[:, None], torch.from_numpy(counters)
    )
    np.testing.assert_array_equal(np.array(got, np.float32), expected)
