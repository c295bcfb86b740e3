from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import magenta
from sketch_model.batch import PackedBatch
from sketch_model.batch import to_stroke5 as to_batch
from sketch_model.losses import sketch_losses
from sketch_model.strokes import polylines_to_stroke3
from tests.numerics.sketch_rnn_numpy import CellWeights, decode, sketch_nats, to_stroke5

SHAPES = [[3, 15], [15], [5, 12], [3, 12], [12]]  # 3 units, M = 2


def encode_blob(values: Any) -> str:
    return base64.b64encode(np.asarray(values, dtype="<i2").tobytes()).decode()


def file_content(**info: Any) -> list[Any]:
    random = np.random.default_rng(0)
    header = {"mode": 2, "name": "monkey", "max_seq_len": 30, "scale_factor": 50.0} | info
    values = [random.integers(-32767, 32768, shape) for shape in SHAPES]
    return [header, [*SHAPES], [encode_blob(v) for v in values]]


def write(folder: Path, content: Any) -> Path:
    path = folder / "monkey.gen.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_reads_weights_sizes_and_data(tmp_path: Path) -> None:
    content = file_content()
    content[2][4] = encode_blob([32767, -32767, 16384] + 9 * [0])
    model = magenta.load_google_json(write(tmp_path, content))
    assert (model.config.decoder_size, model.config.M, model.config.conditional) == (3, 2, False)
    assert (model.data.N_max, model.data.offset_scale) == (30, 50.0)
    assert model.data.categories == ("monkey",)
    expected = [10.0, -10.0, 5.000153]
    torch.testing.assert_close(model.decoder.cell.bias[:3].detach(), torch.tensor(expected))
    drawing = model.sample(temperature=0.5, seed=0)[0]
    assert drawing.shape[1] == 3


def drop_a_blob(content: list[Any]) -> None:
    content[2].pop()


def truncate_base64(content: list[Any]) -> None:
    content[2][3] = content[2][3][:-3]


def shorten_a_blob(content: list[Any]) -> None:
    content[2][4] = encode_blob(11 * [0])


def change_a_shape(content: list[Any]) -> None:
    content[1][2] = [6, 12]


def make_it_a_vae(content: list[Any]) -> None:
    content[0]["mode"] = "vae"


def drop_the_scale(content: list[Any]) -> None:
    del content[0]["scale_factor"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_a_blob, "must be 5 blobs, got 4"),
        (truncate_base64, "W_hh is not whole base64"),
        (shorten_a_blob, "must have 24 bytes, got 22"),
        (change_a_shape, r"shapes of output_w.*got .*\[6, 12\]"),
        (make_it_a_vae, "mode is 'vae'.*gen.json"),
        (drop_the_scale, "scale_factor must be a positive number, got None"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    content = file_content()
    spoil(content)
    with pytest.raises(ValueError, match=message):
        magenta.load_google_json(write(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"),
    [('[{"mode": 2}, [[', "not whole JSON"), ({"mode": 2}, "not one of Google's models")],
)
def test_another_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        magenta.load_google_json(write(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.gen\.json does not exist"):
        magenta.load_google_json(tmp_path / "none.gen.json")


def read_weights(path: Path) -> tuple[CellWeights, tuple[Any, Any]]:
    """The file, read without the package."""
    _, shapes, blobs = json.loads(path.read_text())
    output_w, output_b, W_xh, W_hh, bias = (
        np.frombuffer(base64.b64decode(blob), "<i2").reshape(shape) * (10 / 32767)
        for blob, shape in zip(blobs, shapes, strict=True)
    )
    return CellWeights(W_xh, W_hh, bias), (output_w, output_b)


@pytest.mark.real_data
def test_loss_on_real_monkeys_is_that_of_the_numpy_program(
    google_weights_root: Path, quickdraw_root: Path
) -> None:
    """The masked L_R of sketches up to max_seq_len: -0.326 on all 1,000 by other means."""
    path = google_weights_root / "monkey.gen.json"
    model = magenta.load_google_json(path)
    N_max, scale = model.data.N_max, model.data.offset_scale
    lines = (quickdraw_root / "full/simplified/monkey.ndjson").read_text().splitlines()
    drawings = [json.loads(line)["drawing"] for line in lines]
    sketches = [
        polylines_to_stroke3([np.array(stroke).T for stroke in drawing]) for drawing in drawings
    ]
    sketches = sorted((sketch for sketch in sketches if len(sketch) < N_max), key=len)

    masked = 0.0
    with torch.no_grad():
        for start in range(0, len(sketches), 250):
            packed = PackedBatch.from_sketches(sketches[start : start + 250])
            batch = to_batch(packed, offset_scale=scale)
            losses = sketch_losses(model(batch), batch, N_max)
            masked += losses.L_R_masked.item() * packed.num_sketches / len(sketches)
    assert abs(masked - -0.326) < 0.001

    few = sketches[::40]
    batch = to_batch(PackedBatch.from_sketches(few), offset_scale=scale)
    with torch.no_grad():
        got = sketch_losses(model(batch), batch, N_max).L_R_masked.item()
    cell, output = read_weights(path)
    total = 0.0
    for sketch in few:
        rows = to_stroke5(sketch / [scale, scale, 1], len(sketch))
        nats = sketch_nats(decode(cell, output, rows[:-1]), rows[1:])
        total += (nats.offsets + nats.pen_real) / N_max
    assert abs(got - total / len(few)) < 1e-4
