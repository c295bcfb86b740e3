from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import sketch_model
from pipeline import export
from pipeline.exporting import formats
from sketch_model import DataSpec, ModelConfig, SketchRNN, weights

ROOT = Path(__file__).parents[2]
SIZES: dict[str, Any] = {"encoder_size": 12, "decoder_size": 16, "N_z": 5}


def make_model(seed: int = 0, **changes: Any) -> SketchRNN:
    data = DataSpec(offset_scale=40.0, N_max=60, categories=("cat",), source="doodles")
    torch.manual_seed(seed)
    return SketchRNN(ModelConfig(**SIZES | changes), data).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A decoder-only model of LSTMs, which every format holds."""
    weights.save(make_model(conditional=False), tmp_path / "results" / "model")
    return tmp_path / "results" / "model"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
    export.main()


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_the_command_writes_graphs_and_checks_them(tmp_path: Path) -> None:
    """In a process of its own: torch cannot trace what the tests check the annotations of."""
    weights.save(make_model(), tmp_path / "model")
    program = [sys.executable, "-W", "error", "-m", "pipeline.export", "onnx", "--check"]
    done = subprocess.run(
        [*program, "--model", tmp_path / "model", "--out", tmp_path / "graphs"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for line in ("encoder, mean and sigma: within", "step, parameters over", "16 of 16 drawings"):
        assert line in done.stdout
    expected = {"config.json", "encoder.onnx", "start.onnx", "step.onnx"}
    assert everything(tmp_path / "graphs") == expected


def test_safetensors(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "hub" / "cats"
    run(monkeypatch, "safetensors", "--model", folder, "--out", out, "--check")
    assert "in 5 tensors, the same to the bit" in capsys.readouterr().out
    assert everything(out) == {"README.md", "config.json", "model.safetensors"}
    drawings = sketch_model.load(out).sample(2, seed=0)
    for ours, theirs in zip(sketch_model.load(folder).sample(2, seed=0), drawings, strict=True):
        assert (ours == theirs).all()


def test_google(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = sketch_model.load(folder)
    with torch.no_grad():
        model.decoder.output.bias[:2] = torch.tensor([11.0, -12.0])
    weights.save(model, folder)
    run(monkeypatch, "google", "--model", folder, "--out", tmp_path / "cat.gen.json", "--check")
    said = capsys.readouterr().out
    assert "2 weights were beyond +-10 and are clipped" in said
    assert "weights within 1.5e-04, 2 clipped" in said
    assert ("Google's reader, parameters after 8 rows" in said) != ("not read by Google's" in said)
    # And what was written is a model that can be exported in turn.
    run(
        monkeypatch,
        "safetensors",
        *("--model", tmp_path / "cat.gen.json", "--out", tmp_path / "again", "--check"),
    )
    assert "one of the decoders that Google released" in (tmp_path / "again/README.md").read_text()


@pytest.mark.parametrize(
    ("form", "writer"),
    [
        ("safetensors", "weights.save"),
        ("google", "magenta.save_google_json"),
        ("onnx", "save_onnx"),
    ],
)
def test_what_fails_the_check_is_not_kept(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
    writer: str,
) -> None:
    """The files of another model, all of whose numbers are there."""
    owner, _, name = writer.rpartition(".")
    module = getattr(formats, owner) if owner else formats
    write = getattr(module, name)
    other = make_model(1, conditional=False)
    if form == "onnx":
        graphs = write_graphs(other, tmp_path / "other")
        write = lambda _, out: shutil.copytree(graphs, out, dirs_exist_ok=True)  # noqa: E731
    monkeypatch.setattr(module, name, lambda _, path: write(other, path))
    before = everything(tmp_path)
    with pytest.raises(SystemExit):
        run(monkeypatch, form, "--model", folder, "--out", tmp_path / "out", "--check")
    assert "error: --check failed, and nothing was kept" in capsys.readouterr().err
    assert everything(tmp_path) == before


def write_graphs(model: SketchRNN, folder: Path) -> Path:
    weights.save(model, folder)
    program = [sys.executable, "-m", "pipeline.export", "onnx", "--model", folder]
    subprocess.run([*program, "--out", folder / "onnx"], cwd=ROOT, check=True)
    return folder / "onnx"


@contextmanager
def limited_files(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("form", ["google", "safetensors"])
def test_a_full_disk(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    before = everything(tmp_path)
    with limited_files(1000), pytest.raises(SystemExit):
        run(monkeypatch, form, "--model", folder, "--out", tmp_path / "out")
    assert "(File too large): free some space" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_an_output_that_is_there_stays(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit):
        run(monkeypatch, "safetensors", "--model", folder, "--out", tmp_path / "out")
    assert "out is there already: remove it, or choose another --out" in capsys.readouterr().err
    assert everything(tmp_path / "out") == {"mine.txt"}
    (tmp_path / "out" / "mine.txt").unlink()
    run(monkeypatch, "safetensors", "--model", folder, "--out", tmp_path / "out")
    assert everything(tmp_path / "out") == {"README.md", "config.json", "model.safetensors"}


def spoil(folder: Path, what: str) -> None:
    model = sketch_model.load(folder)
    match what:
        case "no model":
            shutil.rmtree(folder)
            folder.mkdir()
        case "not finite":
            with torch.no_grad():
                model.decoder.output.bias[0] = float("nan")
            weights.save(model, folder)
        case "other metrics":
            metrics = {"N_max": 250, "offset_scale": 40.0}
            (folder.parent / "metrics.json").write_text(json.dumps(metrics))
        case "broken metrics":
            (folder.parent / "metrics.json").write_text("[1")
        case "broken training":
            (folder / "training.json").write_text('{"num_steps": 1}')
        case "conditional":
            weights.save(make_model(decoder_cell=sketch_model.Cell.layer_norm), folder)


@pytest.mark.parametrize(
    ("form", "what", "message"),
    [
        ("onnx", "no model", "holds no model: config.json is missing"),
        ("onnx", "not finite", "decoder.output.bias must be finite float32, got .* 1 that are not"),
        (
            "safetensors",
            "other metrics",
            r"\(250, 40.0\), and the model in .* of \(60, 40.0\): run",
        ),
        ("safetensors", "broken metrics", "metrics.json cannot be read"),
        ("safetensors", "broken training", "training.json has no 'validation': train again"),
        ("google", "conditional", "conditional=True where .*; decoder_cell=layer_norm where"),
    ],
)
def test_a_model_that_cannot_be_exported(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    what: str,
    message: str,
) -> None:
    spoil(folder, what)
    parsed = export._parser().parse_args(
        [form, "--model", str(folder), "--out", str(tmp_path / "out")]
    )
    with pytest.raises(export.UserError, match=message):
        list(export.export(parsed))
    assert not (tmp_path / "out").exists()


def test_help_does_not_wait_for_torch() -> None:
    program = "import sys, pipeline.export; assert not {'torch', 'hydra'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
