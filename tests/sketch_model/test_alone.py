"""The package where torch, numpy and safetensors are all that is installed beside it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

import sketch_model
from tests.sketch_model.sketches import random_drawing, small_model

ROOT = Path(__file__).parents[2]
NEEDED = ("torch", "numpy", "safetensors")
LACKING = ("numba", "triton", "PIL", "onnx", "onnxscript", "onnxruntime", "jaxtyping", "pipeline")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for sys.path with this package, those it needs, and what these need themselves."""
    folder = tmp_path_factory.mktemp("packages")
    for name in sorted(_requirements()):
        files = distribution(name).files or []
        for top in {file.parts[0] for file in files if file.parts[0] not in ("..", "__pycache__")}:
            (folder / top).symlink_to(Path(str(distribution(name).locate_file(top))))
    (folder / "sketch_model").symlink_to(ROOT / "sketch_model")
    return folder


def _requirements() -> set[str]:
    found: set[str] = set()
    waiting = [*NEEDED]
    while waiting:
        name = waiting.pop()
        try:
            requirements = distribution(name).requires or []
        except PackageNotFoundError:  # for another platform
            continue
        if name not in found:
            found.add(name)
            needed = [each for each in requirements if "extra ==" not in each]
            waiting += [re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in needed]
    return found


def run_alone(packages: Path, script: str) -> str:
    start = f"import sys; sys.path.insert(0, {str(packages)!r})\n"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_draws_and_learns_and_what_takes_more_says_so(
    packages: Path, tmp_path: Path
) -> None:
    model = small_model()
    sketch_model.save(model, tmp_path / "model")
    expected = model.encode(random_drawing(0, 12)).tolist()
    output = run_alone(
        packages,
        f"""
from importlib.util import find_spec
assert not [name for name in {LACKING} if find_spec(name)]
import numpy as np, torch, sketch_model
from sketch_model.batch import PackedBatch, to_stroke5
from sketch_model.losses import sketch_losses
from sketch_model.onnx import save_onnx
from sketch_model.svg import sketch_to_svg
model = sketch_model.load({str(tmp_path / "model")!r})
drawing = np.array({random_drawing(0, 12).tolist()}, dtype=np.int16)
assert np.allclose(model.encode(drawing), {expected}, atol=1e-5)
drawings = model.sample(3, temperature=0.5, seed=1)
assert all(each.shape[1] == 3 for each in drawings)
assert sketch_to_svg(drawings[0]).startswith("<svg")
batch = to_stroke5(PackedBatch.from_sketches([drawing]), offset_scale=20.0, width=24)
loss = sketch_losses(model.train()(batch), batch, 24).L_R
loss.backward()
assert all(torch.isfinite(each.grad).all() for each in model.parameters() if each.grad is not None)
sketch_model.save(model, {str(tmp_path / "again")!r})
try:
    save_onnx(model, {str(tmp_path / "graphs")!r})
except ValueError as error:
    print(error)
try:
    import sketch_model.raster
except ImportError as error:
    print(error)
""",
    )
    assert (tmp_path / "again" / "model.safetensors").exists()
    assert output.splitlines() == [
        "ONNX needs onnx and onnxscript: pip install '.[onnx]'",
        "No module named 'PIL'",
    ]
