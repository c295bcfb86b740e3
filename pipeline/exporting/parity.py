"""What was written, read back and held against the model."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import torch
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.doodles import CATEGORIES, generate
from sketch_model import magenta, weights
from sketch_model.batch import PackedBatch, SketchBatch, to_stroke5
from sketch_model.losses import sketch_losses
from sketch_model.mixture import Mixture
from sketch_model.model import Prediction, SketchRNN
from sketch_model.onnx_reader import UNIFORMS_PER_POINT, Context, OnnxSketchRNN
from sketch_model.randomness import SAMPLE, keyed_normal, keyed_uniform
from sketch_model.strokes import polylines_to_stroke3

TOLERANCE: Final = 1e-4
"""Of a number in float32 after all steps of a drawing, relative to its size where that is above 1.

A state carries the rounding of a step on to the next: 65 rows of Google's decoders are within 2e-5,
those of small models within 3e-6."""

GOOGLE_TOLERANCE: Final = 2e-5
"""Of the parameters of a mixture as Google's reader gives them, likewise."""

READER: Final = Path(__file__).parents[2] / "benchmarks" / "magenta_js" / "reader.js"

_NUM_DRAWINGS = 16
_SEED = 0
_MIN_SAME = 0.9  # a random number may lie within rounding of where the choice changes


def doodles(N_max: int) -> list[NDArray[np.int16]]:
    """Drawings of several kinds, cut to what a model takes."""
    kinds = CATEGORIES[:4]
    lines = [line for kind in kinds for line in generate(kind, _NUM_DRAWINGS // 4, _SEED)]
    strokes = [orjson.loads(line)["drawing"] for line in lines]
    drawings = [polylines_to_stroke3([np.array(xy).T for xy in drawing]) for drawing in strokes]
    return [drawing[: max(N_max - 1, 1)] for drawing in drawings]


def check_safetensors(model: SketchRNN, folder: Path) -> Iterator[str]:
    """Reads the folder again.

    Raises:
        UserError: if a bit differs.
    """
    found = weights.load(folder)
    expected, tensors = model.state_dict(), found.state_dict()
    same = [_bits(tensors[name]) == _bits(tensor) for name, tensor in expected.items()]
    _insist(found.config == model.config and found.data == model.data, "config.json differs")
    _insist(all(same), f"{same.count(False)} of {len(same)} tensors differ")
    num = sum(tensor.numel() for tensor in expected.values())
    yield f"read back: {num:,} weights in {len(same)} tensors, the same to the bit"


def check_google(model: SketchRNN, path: Path, num_clipped: int) -> Iterator[str]:
    """Reads the file by our reader, and by Google's where there are Node and @magenta/sketch.

    Raises:
        UserError: if a weight is off by more than rounding, or Google's reader has another mixture.
    """
    found = magenta.load_google_json(path)
    tensors = found.state_dict()
    distances = torch.cat(
        [(tensors[name] - tensor).abs().flatten() for name, tensor in model.state_dict().items()]
    )
    # Half a step, and the rounding to float32 of weights up to 10.
    num_off = int((distances > magenta.WEIGHT_STEP / 2 + 1e-6).sum())
    _insist(num_off <= num_clipped, f"{num_off} weights are off by more than rounding")
    within = distances[distances <= magenta.WEIGHT_STEP / 2 + 1e-6]
    yield f"read back: weights within {float(within.max()):.1e}, {num_clipped} clipped"
    before, after = (_nats_per_point(m) for m in (model, found))
    yield (
        f"on {_NUM_DRAWINGS} doodles: {before:.4f} nats per point before, {after:.4f} in the file"
    )
    yield _check_by_google(found, path)


def check_onnx(model: SketchRNN, folder: Path) -> Iterator[str]:
    """Runs the graphs under onnxruntime.

    Raises:
        UserError: if a result is off by more than `TOLERANCE`, or drawings with the same random
            numbers are not the same.
    """
    try:
        reader = OnnxSketchRNN(folder)
    except ValueError as error:
        raise UserError(f"--check: {error}") from error
    drawings = doodles(model.data.N_max)
    batch = _to_batch(model, drawings)
    z = None
    if model.encoder is not None:
        z, sigma = reader.encode(drawings)
        with torch.inference_mode():
            posterior = model.encoder(batch.targets, batch.lengths)
        expected = posterior.mean, torch.exp(0.5 * posterior.log_variance)
        distance = max(_distance(a, b) for a, b in zip((z, sigma), expected, strict=True))
        yield _within("encoder, mean and sigma", distance, TOLERANCE)
    names = model.data.categories
    told = [names[n % len(names)] for n in range(len(drawings))]
    category = told if model.decoder.category_embedding is not None else None
    yield from _check_steps(model, reader, batch, reader.context(len(drawings), z, category))
    yield from _check_drawings(model, reader, category)


def _check_steps(
    model: SketchRNN, reader: OnnxSketchRNN, batch: SketchBatch, context: Context
) -> Iterator[str]:
    """Every row of the drawings, each step with the state of the graph's own step before."""
    told = {name: torch.from_numpy(values) for name, values in context.items()}
    with torch.inference_mode():
        output = model.decoder(
            batch.inputs, model.decoder.context(told.get("z"), told.get("category"))
        )
    expected = Mixture.from_output(output)
    state, steps = reader.start(len(batch.lengths), context), []
    for rows in batch.inputs.unbind(1):
        parameters, state = reader.step(rows.numpy(), state, context)
        steps.append(parameters)
    found = {name: np.stack([step[name] for step in steps], axis=1) for name in steps[0]}
    distance = max(_distance(found[name], getattr(expected, name)) for name in found)
    yield _within(f"step, parameters over {len(steps)} rows", distance, TOLERANCE)
    mixture = {name: torch.from_numpy(values) for name, values in found.items()}
    outputs = torch.cat([mixture[name] for name in Mixture.__dataclass_fields__], dim=-1)
    nats = [
        sketch_losses(Prediction(out, None), batch, batch.targets.shape[1]).bound_nats.double()
        for out in (outputs, output)
    ]
    difference = float((nats[0] - nats[1]).abs().max())
    yield (
        f"likelihood: {float(nats[0].mean()):.4f} nats per doodle under ONNX, at most"
        f" {difference:.1e} off"
    )


def _check_drawings(
    model: SketchRNN, reader: OnnxSketchRNN, category: list[str] | None
) -> Iterator[str]:
    """Whole drawings, sampled here and there with the same random numbers."""
    num, num_points = _NUM_DRAWINGS, model.data.N_max
    keys, counters = torch.arange(num), torch.arange(num_points * UNIFORMS_PER_POINT)
    uniforms = keyed_uniform(_SEED, SAMPLE, keys[:, None], counters)
    z = None
    if model.encoder is not None:
        z = keyed_normal(_SEED + 1, SAMPLE, keys, model.config.N_z)
    expected = model.sample(num, z=z, category=category, seed=_SEED, temperature=0.5)
    found = reader.sample(
        uniforms.reshape(num, num_points, UNIFORMS_PER_POINT).numpy(),
        z=None if z is None else z.numpy(),
        category=category,
        temperature=0.5,
    )
    pairs = zip(expected, found, strict=True)
    same = [(a, b) for a, b in pairs if a[:, 2].tobytes() == b[:, 2].tobytes()]
    distance = max((float(np.abs(a - b).max(initial=0)) for a, b in same), default=0.0)
    num_rows = sum(len(a) for a, _ in same)
    summary = (
        f"{len(same)} of {num} drawings ({num_rows} points) sampled with the same random numbers"
        f" are the same, within {distance:.1e} drawing units"
    )
    _insist(len(same) >= _MIN_SAME * num, summary)
    yield summary


def _check_by_google(model: SketchRNN, path: Path) -> str:
    """The mixture after a few rows, as @magenta/sketch gives it."""
    if shutil.which("node") is None or not (READER.parent / "node_modules").is_dir():
        return (
            "not read by Google's reader: that takes Node and `npm ci --ignore-scripts --prefix"
            " benchmarks/magenta_js`"
        )
    batch = _to_batch(model, doodles(model.data.N_max)[:1])
    rows = batch.inputs[0, :8]
    scale = torch.tensor([model.data.offset_scale, model.data.offset_scale, 1, 1, 1])
    of = {"temperature": 1.0, "softmaxTemperature": 1.0}
    request = {"do": "pdf", "rows": (rows * scale).tolist(), **of}
    answer = subprocess.run(
        ["node", str(READER), str(path)],
        input=orjson.dumps(request),
        capture_output=True,
        timeout=60,
        check=False,
    )
    _insist(answer.returncode == 0, f"Google's reader ended: {answer.stderr.decode()[-500:]}")
    found = orjson.loads(answer.stdout)
    distance = max(
        _distance(np.array(found[name])[: len(values)], values)
        for name, values in _as_google_names_them(model, rows).items()
    )
    return _within("Google's reader, parameters after 8 rows", distance, GOOGLE_TOLERANCE)


def _as_google_names_them(model: SketchRNN, rows: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        mixture = Mixture.from_output(model.decoder(rows[None], None)[0, -1])
    return {
        "pi": mixture.weight_logits.softmax(-1),
        "muX": mixture.mean_x,
        "muY": mixture.mean_y,
        "sigmaX": mixture.log_sigma_x.exp(),
        "sigmaY": mixture.log_sigma_y.exp(),
        "corr": mixture.rho_logit.tanh(),
        "pen": mixture.pen_logits.softmax(-1),
    }


def _to_batch(model: SketchRNN, drawings: list[NDArray[np.int16]]) -> SketchBatch:
    return to_stroke5(PackedBatch.from_sketches(drawings), offset_scale=model.data.offset_scale)


@torch.inference_mode()
def _nats_per_point(model: SketchRNN) -> float:
    batch = _to_batch(model, doodles(model.data.N_max))
    losses = sketch_losses(model(batch), batch, batch.targets.shape[1])
    return float(losses.bound_nats.sum() / batch.lengths.sum())


def _distance(found: NDArray[Any], expected: torch.Tensor) -> float:
    """The largest, relative to the size of what was expected where that is above 1."""
    known = expected.double().numpy()
    return float(np.max(np.abs(found - known) / np.maximum(1, np.abs(known))))


def _within(name: str, distance: float, tolerance: float) -> str:
    summary = f"{name}: within {distance:.1e}, {tolerance:.0e} is allowed"
    _insist(distance <= tolerance, summary)
    return summary


def _bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def _insist(is_so: bool, summary: str) -> None:
    if not is_so:
        raise UserError(f"--check failed, and nothing was kept. {summary}")
