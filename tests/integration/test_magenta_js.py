"""What is exported here is read, and drawn from, by Google's own program."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import google_reader
from benchmarks.google_reader import GoogleReader
from pipeline.doodles import generate
from sketch_model import DataSpec, ModelConfig, SketchRNN, magenta
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.losses import sketch_losses
from sketch_model.strokes import polylines_to_stroke3
from tests.numerics.sketch_rnn_numpy import read_output

SCALE, N_MAX, NUM_STEPS = 40.0, 64, 120
START = [0, 0, 1, 0, 0]
POINTS = [START, [12.5, -31.0, 1, 0, 0], [-4.0, 60.0, 0, 1, 0], [0.0, 8.25, 1, 0, 0]]


@pytest.fixture(scope="module")
def model() -> SketchRNN:
    """Trained a little on doodles."""
    drawings = [
        polylines_to_stroke3([np.array(stroke).T for stroke in orjson.loads(line)["drawing"]])
        for line in generate("face", 400, seed=0)
    ]
    short = [drawing for drawing in drawings if len(drawing) < N_MAX]
    batches = [
        to_stroke5(PackedBatch.from_sketches(short[start : start + 50]), offset_scale=SCALE)
        for start in range(0, len(short), 50)
    ]
    torch.manual_seed(0)
    data = DataSpec(offset_scale=SCALE, N_max=N_MAX, categories=("face",), source="doodles")
    return train(SketchRNN(ModelConfig(conditional=False, decoder_size=96), data), batches)


def train(model: SketchRNN, batches: list[SketchBatch]) -> SketchRNN:
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for step in range(NUM_STEPS):
        batch = batches[step % len(batches)]
        loss = sketch_losses(model(batch), batch, N_MAX).L_R
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 1
    return model.eval()


@pytest.fixture(scope="module")
def exported(model: SketchRNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("google") / "face.gen.json"
    assert magenta.save_google_json(model, path) == 0
    return path


@pytest.fixture(scope="module")
def reader(exported: Path) -> Iterator[GoogleReader]:
    if lack := google_reader.find_lack():
        pytest.skip(lack)
    with GoogleReader(exported) as reader:
        yield reader


def parameters(model: SketchRNN, rows: list[list[float]], temperature: float) -> dict[str, Any]:
    """Of the row after `rows`, in drawing units, by this project's cell."""
    decoder = model.decoder
    state = decoder.initial_state(None, 1)
    with torch.no_grad():
        for row in torch.tensor(rows, dtype=torch.float32) / torch.tensor([SCALE, SCALE, 1, 1, 1]):
            state = decoder.cell(row[None], state)
        p = read_output(decoder.output(state.h)[0].double().numpy(), temperature)
    return {
        "pi": p.weight,
        "muX": p.mean_x,
        "muY": p.mean_y,
        "sigmaX": p.sigma_x,
        "sigmaY": p.sigma_y,
        "corr": p.rho,
        "pen": p.pen,
    }


@pytest.mark.parametrize("temperature", [1.0, 0.3])
@pytest.mark.parametrize("rows", [[START], [[0, 0, 0, 0, 0]], POINTS], ids=["start", "0", "4 rows"])
def test_google_computes_the_mixture_that_we_do(
    model: SketchRNN,
    exported: Path,
    reader: GoogleReader,
    rows: list[list[float]],
    temperature: float,
) -> None:
    """To rounding with the weights of the file, to that of the weights with those before."""
    answer = reader.ask("pdf", rows=rows, temperature=temperature, softmaxTemperature=temperature)
    rounded = parameters(magenta.load_google_json(exported), rows, temperature)
    original = parameters(model, rows, temperature)
    for name, expected in rounded.items():
        got = np.array(answer[name])[: len(expected)]  # it gives more than it has of sigmaY
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(got, original[name], rtol=0.02, atol=0.005, err_msg=name)


def test_google_draws_with_it(reader: GoogleReader) -> None:
    drawn = [
        np.array(reader.ask("draw", num=N_MAX, temperature=0.3, to_end=True)["rows"])
        for _ in range(20)
    ]
    assert all(np.isfinite(rows).all() for rows in drawn)
    ended = [rows for rows in drawn if rows[-1, 4] == 1]
    assert len(ended) >= 5, "it has learnt to stop, and Google's reader with it"
    for rows in drawn:
        assert (rows[:, 2:].sum(axis=1) == 1).all()
    sizes = [extent(rows) for rows in ended]
    assert 60 < np.median(sizes) < 600, "drawings of 255 units"


def extent(rows: NDArray[np.float64]) -> float:
    """The longer side of a drawing."""
    return float(np.ptp(rows[:-1, :2].cumsum(axis=0), axis=0).max()) if len(rows) > 1 else 0.0
