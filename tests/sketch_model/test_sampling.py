from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sketch_model import SketchRNN, TemperatureRule
from sketch_model.mixture import Mixture, output_size
from sketch_model.sampling import draw_row, most_likely_row
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


def draws(output: torch.Tensor, temperature: float, rule: TemperatureRule) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(NUM_DRAWS, 4, generator=generator, dtype=torch.float64)
    mixture = Mixture.from_output(output.expand(NUM_DRAWS, -1))
    return to_numpy(draw_row(mixture, uniforms, temperature, rule))


@pytest.mark.parametrize("temperature", [1.0, 0.4])
def test_draws_have_the_moments_of_the_density(temperature: float) -> None:
    torch.manual_seed(2)
    output = torch.randn(output_size(3), dtype=torch.float64)
    rows = draws(output, temperature, TemperatureRule.paper)
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
def test_temperature_narrows_a_normal_by_the_rule(rule: TemperatureRule, factor: float) -> None:
    output = torch.zeros(output_size(1), dtype=torch.float64)
    output[6:8] = math.log(2.0)  # one component at the origin, sigma 2
    rows = draws(output, 0.25, rule)
    np.testing.assert_allclose(rows[:, :2].std(axis=0), 2.0 * factor, rtol=0.01)


def test_pen_and_component_are_independent() -> None:
    output = torch.zeros(output_size(2), dtype=torch.float64)
    output[5:7] = torch.tensor([-100.0, 100.0])  # the sign of dx tells the component
    rows = draws(output, 1.0, TemperatureRule.paper)
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


def test_sampling_stops_when_all_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    sizes: list[int] = []
    step = model.decoder.step

    def counting(row: torch.Tensor, *rest: object) -> object:
        sizes.append(len(row))
        return step(row, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(model.decoder, "step", counting)
    lengths = [len(sketch) for sketch in model.sample(8, seed=1)]
    assert max(lengths) < N_MAX
    assert sizes == [sum(length >= step for length in lengths) for step in range(max(lengths) + 1)]


def test_a_sketch_depends_on_seed_and_number_alone() -> None:
    model = small_model()
    many, few, other = model.sample(9, seed=3), model.sample(4, seed=3), model.sample(4, seed=4)
    for got, expected in zip(few, many[:4], strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)
    assert any(a.shape != b.shape or not np.allclose(a, b) for a, b in zip(few, other, strict=True))


def test_without_a_seed_torch_gives_one() -> None:
    model = biased_to_end(-50.0)
    samples = []
    for _ in range(2):
        torch.manual_seed(0)
        samples.append([model.sample()[0], model.sample()[0]])
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(*samples[0])


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


def test_a_completion_continues_the_state_that_the_prefix_leaves() -> None:
    model = biased_to_end(-50.0, conditional=False)
    whole = model.sample(seed=0, greedy=True)[0]
    completed = model.sample(prefix=whole[:10], greedy=True)[0]
    np.testing.assert_allclose(completed, whole, rtol=1e-3, atol=1e-2)


def test_one_z_for_all_or_one_for_each() -> None:
    model = small_model()
    z = model.encode(random_drawings(3))
    assert len(model.sample(z=z, seed=0)) == 3
    assert len(model.sample(4, z=z[0], seed=0)) == 4
    alone = [model.sample(z=code, greedy=True)[0] for code in z]
    for got, expected in zip(model.sample(z=z, greedy=True), alone, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


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
