"""Graphs under onnxruntime against the model that they were written from."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import Cell, SketchRNN, magenta, onnx, weights
from sketch_model.batch import PackedBatch, to_stroke5
from sketch_model.config import Condition
from sketch_model.onnx_reader import START, UNIFORMS_PER_POINT, OnnxSketchRNN
from sketch_model.randomness import SAMPLE, keyed_uniform
from tests.numerics.sketch_rnn_numpy import sketch_nats
from tests.sketch_model.sketches import N_MAX, random_drawing, random_drawings, small_model
from tests.sketch_model.test_magenta import masked_loss_by_numpy, read_sketches

ROOT = Path(__file__).parents[2]
CATEGORIES = ("cat", "sun", "owl")
KINDS: dict[str, dict[str, Any]] = {
    "layer_norm, hyper, category": {
        "encoder_cell": Cell.layer_norm,
        "decoder_cell": Cell.hyper,
        "hyper_size": 6,
        "hyper_embedding_size": 2,
        "condition": Condition.category,
        "category_embedding_size": 4,
        "categories": CATEGORIES,
    },
    "hyper, lstm": {"encoder_cell": Cell.hyper, "hyper_size": 6, "hyper_embedding_size": 2},
    "decoder-only layer_norm": {"conditional": False, "decoder_cell": Cell.layer_norm},
}
"""An encoder of plain LSTMs is written in tests/pipeline/test_export.py."""

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


@dataclass(frozen=True)
class Exported:
    model: SketchRNN
    folder: Path
    reader: OnnxSketchRNN

    def context(self, num: int) -> dict[str, Any]:
        """Arguments that the model takes, of `num` sketches."""
        told: dict[str, Any] = {}
        if self.model.config.conditional:
            told["z"] = np.random.default_rng(1).standard_normal((num, self.model.config.N_z))
        if self.model.decoder.category_embedding is not None:
            told["category"] = [CATEGORIES[n % 3] for n in range(num)]
        return told


def write_graphs(folders: list[Path]) -> None:
    """Graphs of the model in each folder, in `onnx` beside it.

    In another process: the checks of annotations in this one cannot be traced into a graph's loop.
    """
    program = (
        "import sys; from pathlib import Path; from sketch_model import weights\n"
        "from sketch_model.onnx import save_onnx\n"
        "for path in map(Path, sys.argv[1:]): save_onnx(weights.load(path), path / 'onnx')"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program, *folders], check=True, cwd=ROOT)


@pytest.fixture(scope="module")
def all_exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    models = {kind: small_model(**changes) for kind, changes in KINDS.items()}
    folders = {kind: tmp_path_factory.mktemp("model") for kind in KINDS}
    for kind, folder in folders.items():
        weights.save(models[kind], folder)
    write_graphs(list(folders.values()))
    return {
        kind: Exported(models[kind], folder / "onnx", OnnxSketchRNN(folder / "onnx"))
        for kind, folder in folders.items()
    }


@pytest.fixture(params=KINDS)
def exported(request: pytest.FixtureRequest, all_exported: dict[str, Exported]) -> Exported:
    return all_exported[request.param]


@pytest.mark.parametrize("num", [1, 7])
def test_encoder(exported: Exported, num: int) -> None:
    model = exported.model
    drawings = random_drawings(num)
    if model.encoder is None:
        assert not (exported.folder / "encoder.onnx").exists()
        with pytest.raises(ValueError, match="decoder-only model has no encoder"):
            exported.reader.encode(drawings)
        return
    batch = to_stroke5(PackedBatch.from_sketches(drawings), offset_scale=model.data.offset_scale)
    with torch.no_grad():
        posterior = model.encoder(batch.targets, batch.lengths)
    mean, sigma = exported.reader.encode(drawings)
    np.testing.assert_allclose(mean, posterior.mean, **TOLERANCE)
    np.testing.assert_allclose(sigma, torch.exp(0.5 * posterior.log_variance), **TOLERANCE)


@pytest.mark.parametrize("num", [1, 7])
def test_start_and_step(exported: Exported, num: int) -> None:
    """All that a step gives, from the first state and from any other."""
    decoder, reader, told = exported.model.decoder, exported.reader, exported.context(num)
    context = reader.context(num, **told)
    tensors = {name: torch.from_numpy(values) for name, values in context.items()}
    expected = decoder.context(tensors.get("z"), tensors.get("category"))
    with torch.no_grad():
        first = torch.cat(list(decoder.initial_state(expected, num)), dim=-1)
    np.testing.assert_allclose(reader.start(num, context), first, **TOLERANCE)
    for state in (first.numpy(), np.random.default_rng(0).standard_normal(first.shape)):
        point = np.random.default_rng(2).standard_normal((num, 5)).astype(np.float32)
        found, next_state = reader.step(point, state.astype(np.float32), context)
        parts = decoder.cell.split_state(torch.from_numpy(state).float())
        with torch.no_grad():
            mixture, parts = decoder.step(torch.from_numpy(point), expected, parts)
        assert found.keys() == vars(mixture).keys()
        for name, values in found.items():
            np.testing.assert_allclose(values, getattr(mixture, name), **TOLERANCE, err_msg=name)
        np.testing.assert_allclose(next_state, torch.cat(list(parts), dim=-1), **TOLERANCE)


def uniforms(seed: int, num: int, num_points: int) -> np.ndarray:
    """Those that `SketchRNN.sample` draws with this seed."""
    counters = torch.arange(num_points * UNIFORMS_PER_POINT)
    drawn = keyed_uniform(seed, SAMPLE, torch.arange(num)[:, None], counters)
    return drawn.reshape(num, num_points, UNIFORMS_PER_POINT).numpy()


@pytest.mark.parametrize("length", [0, 5])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_whole_drawings_are_those_of_the_model(
    exported: Exported, temperature: float, length: int
) -> None:
    told, prefix = exported.context(8), random_drawing(3, length) if length else None
    options: dict[str, Any] = {"temperature": temperature, "prefix": prefix}
    found = exported.reader.sample(uniforms(5, 8, N_MAX), **told, **options)
    if "z" in told:
        told["z"] = torch.from_numpy(told["z"])
    expected = exported.model.sample(8, seed=5, **told, **options)
    assert sum(map(len, expected)) > 8 * length
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-3)


def test_the_reader_needs_no_torch_and_the_files_no_sources(exported: Exported) -> None:
    program = (
        "import sys; from sketch_model.onnx_reader import OnnxSketchRNN as R;"
        f"R({str(exported.folder)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
    for path in exported.folder.glob("*.onnx"):
        assert b"sketch_model" not in path.read_bytes(), (
            "a stack trace, with places of this machine"
        )


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, r"told \['category', 'z'\] by this model, got \[\]"),
        ({"z": np.zeros((2, 4)), "category": ["cat", "sun"]}, r"z must be \[2, 5\], got \[2, 4\]"),
        ({"z": np.zeros((2, 5)), "category": ["cat", "elk"]}, r"category must be 2 of .*elk"),
        ({"z": np.zeros((2, 5)), "category": ["cat"]}, r"category must be 2 of"),
    ],
)
def test_a_context_that_does_not_fit(
    all_exported: dict[str, Exported], told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        all_exported["layer_norm, hyper, category"].reader.context(2, **told)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, r"config\.json cannot be read .*give a folder of graphs"),
        ("config.json", "[", r"config\.json cannot be read"),
        ("config.json", '{"format_version": 2}', r"is not of graphs of format 1: export"),
        ("step.onnx", "graph", r"step\.onnx cannot be run .*export the model again"),
        ("step.onnx", None, r"step\.onnx cannot be run"),
    ],
)
def test_a_broken_folder(
    all_exported: dict[str, Exported], tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    folder = tmp_path / "graphs"
    shutil.copytree(all_exported["decoder-only layer_norm"].folder, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        OnnxSketchRNN(folder)


def test_without_the_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ValueError, match=r"ONNX needs onnxscript: pip install '\.\[onnx\]'"):
        onnx.save_onnx(small_model(), tmp_path / "graphs")
    assert not (tmp_path / "graphs").exists()


def test_a_model_that_is_too_large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx, "_MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"bytes of weights, .* at most 1,000: train one with"):
        onnx.save_onnx(small_model(), tmp_path)


@pytest.mark.real_data
def test_a_decoder_of_google_scores_real_drawings_as_the_numpy_program_does(
    google_weights_root: Path, quickdraw_root: Path, tmp_path: Path
) -> None:
    """L_R without the pen's end, from the graph's parameters alone."""
    path = google_weights_root / "monkey.gen.json"
    sketches = read_sketches(quickdraw_root, "monkey", 250)[::5]
    weights.save(magenta.load_google_json(path), tmp_path)
    write_graphs([tmp_path])
    reader = OnnxSketchRNN(tmp_path / "onnx")
    rows = np.zeros((len(sketches), len(sketches[-1]), 5), np.float32)
    for padded, sketch in zip(rows, sketches, strict=True):
        padded[: len(sketch)] = reader.to_rows(sketch)
    point, state = (
        np.tile(np.array(START, np.float32), (len(sketches), 1)),
        reader.start(len(sketches), {}),
    )
    outputs = []
    for targets in rows.swapaxes(0, 1):
        parameters, state = reader.step(point, state[: len(point)], {})
        outputs.append(np.concatenate(list(parameters.values()), axis=1))
        point = targets
    nats = [
        sketch_nats(np.stack(output[: len(sketch)]).astype(np.float64), row[: len(sketch)])
        for output, row, sketch in zip(np.stack(outputs, 1), rows, sketches, strict=True)
    ]
    loss = sum(each.offsets + each.pen_real for each in nats) / len(sketches) / reader.N_max
    assert abs(loss - masked_loss_by_numpy(path, sketches)) < 1e-4
