"""The command: its help is quick, its files are written, its errors are one line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline import draw
from pipeline.config import Config
from pipeline.drawing.arguments import make_parser
from pipeline.manifest import Manifest
from sketch_model.config import Condition
from sketch_model.magenta import load_google_json
from sketch_model.weights import save
from tests.experiments import make_config, make_data, write_drawings
from tests.sketch_model.sketches import small_model

Draw = Callable[..., str]
OPERATIONS = ("sample", "reconstruct", "vary", "cross", "interpolate", "analogy", "complete")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("draw")
    config = make_config(write_drawings(folder / "bucket"), folder)
    make_data(config)
    return config


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Draw:
    """Runs the command in a folder of its own, beside a model that is told cat or sun."""
    monkeypatch.chdir(tmp_path)
    told = {"condition": Condition.category, "categories": ("cat", "sun")}
    save(small_model(**told), "told")
    save(small_model(), "plain")

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["draw", *map(str, arguments)])
        draw.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def refuse(run: Draw, capsys: pytest.CaptureFixture[str]) -> Draw:
    """The error that the command ends with."""

    def refuse(*arguments: object) -> str:
        with pytest.raises(SystemExit) as caught:
            run(*arguments)
        assert caught.value.code in (1, 2)
        return " ".join(capsys.readouterr().err.split())

    return refuse


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.draw import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'numba', 'pyarrow', 'mlflow', 'hydra'} & set(sys.modules))"
    )
    for arguments in (["--help"], ["complete", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("usage: python -m pipeline.draw")
        assert done.stdout.endswith("set()\n")


def test_every_operation_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for operation in OPERATIONS:
        with pytest.raises(SystemExit):
            make_parser().parse_args([operation, "--help"])
        assert "--model MODEL" in capsys.readouterr().out


def test_samples_are_written_in_every_form(run: Draw) -> None:
    outputs = [f"a{suffix}" for suffix in (".svg", ".png", ".ndjson", ".npz")]
    arguments = ["sample", "--model", "told", "--category", "sun", "--num", 5, "--seed", 1]
    said = run(*arguments, *(part for name in outputs for part in ("--out", name)))
    assert "sample · told · temperature 0.4 · seed 1\n5 drawings in" in said
    assert all(Path(name).stat().st_size > 100 for name in outputs)
    first = Path("a.svg").read_bytes()
    run(*arguments, "--out", "a.svg")
    assert Path("a.svg").read_bytes() == first


def test_a_seed_that_was_drawn_draws_the_same_again(run: Draw) -> None:
    said = run("sample", "--model", "plain", "--out", "a.svg")
    (seed,) = re.findall(r"seed (\d+)", said)
    first = Path("a.svg").read_bytes()
    run("sample", "--model", "plain", "--out", "a.svg", "--seed", seed)
    assert Path("a.svg").read_bytes() == first


def test_drawings_of_the_data_are_completed(run: Draw, data: Config) -> None:
    manifest = ["--data", data.manifest_path, "--seed", 1, "--out", "a.svg"]
    rows = [f"{split}:{row}" for split in ("train", "test") for row in (0, 1)]
    said = run("complete", "--model", "plain", *rows, "--points", 1, "--num", 2, *manifest)
    assert "z of the given part" in said
    assert "8 drawings" in said
    assert Path("a.svg").read_text().count('class="given"') == 4 * 3


def test_stored_drawings_are_found_by_id(run: Draw, refuse: Draw, data: Config) -> None:
    manifest = ["--data", data.manifest_path, "--out", "a.npz"]
    num = Manifest.read(data.manifest_path).num_drawings("test")
    error = refuse("reconstruct", "--model", "plain", f"test:{num}", *manifest)
    assert f"the test split of {data.manifest_path} has {num} drawings, from 0" in error
    assert "no drawing of this key_id" in refuse("vary", "--model", "plain", "id:12345", *manifest)
    assert "no drawing of this key_id" in refuse(
        "vary", "--model", "plain", f"id:{2**64}", *manifest
    )


def test_a_long_drawing_is_simplified_where_it_may_be(run: Draw, refuse: Draw) -> None:
    walk = np.random.default_rng(0).integers(0, 256, (2, 99)).tolist()
    Path("long.ndjson").write_text(f'{{"drawing": [{walk}]}}\n')
    arguments = ["complete", "--model", "plain", "long.ndjson", "--num", 1, "--out", "a.ndjson"]
    assert "98 points, and there is room for 23" in refuse(*arguments)
    assert "simplified from 98 to" in run(*arguments, "--simplify")
    assert "98 points, and there is room for 24" in refuse("vary", *arguments[1:])
    assert "to 80 pixels" in run(*arguments, "--points", 5, "--size", 80)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sample", "--temperature", "0"], "--temperature: 0 must be a number from 0.001"),
        (["sample", "--temperature", "nan"], "--temperature: nan must be a number from 0.001"),
        (["sample", "--num", "0"], "--num: 0 must be a whole number of at least 1"),
        (["sample", "--num", "many"], "--num: many must be a whole number of at least 1"),
        (["sample", "--seed", "-1"], "--seed: -1 must be a whole number of at least 0"),
        (["sample", "--category", "pig"], "category='pig' is not one that was trained"),
        (["sample", "--data", "x.json"], "--data is not read"),
        (["sample", "--tracking-uri", "sqlite:///x.db"], "--tracking-uri is not read"),
        (["vary", "x.svg", "--spread", "2"], "--spread: 2 must be a number from 0 to 1"),
        (["complete", "x.svg", "--points", "1", "--strokes", "1"], "not allowed with"),
        (["analogy", "x.svg"], "the following arguments are required"),
        (["paint"], "invalid choice: 'paint'"),
        (["sample", "--out", "a.gif"], "must end in one of .svg"),
        (["sample", "--out", "nowhere/a.svg"], "there is no folder nowhere"),
    ],
)
def test_mistakes_are_said(refuse: Draw, arguments: list[str], message: str) -> None:
    assert message in refuse(*arguments, "--model", "told", "--out", "a.svg")
    assert not Path("a.svg").exists()


def test_animation_is_of_svg(run: Draw, refuse: Draw) -> None:
    sample = ["sample", "--model", "plain", "--num", 1, "--animate", "--seed", 1]
    assert "--animate is of SVG files" in refuse(*sample, "--out", "a.png")
    run(*sample, "--out", "a.svg")
    assert "prefers-reduced-motion" in Path("a.svg").read_text()


@pytest.mark.real_data
def test_a_bear_of_googles_goes_on_from_a_real_beginning(
    run: Draw, quickdraw_root: Path, google_weights_root: Path
) -> None:
    model = google_weights_root / "bear.gen.json"
    bear = quickdraw_root / "full" / "simplified" / "bear.ndjson"
    arguments = ["--strokes", 1, "--num", 20, "--seed", 1, "--out", "a.npz"]
    said = run("complete", "--model", model, bear, *arguments)
    assert "no z: decoder only" in said
    with np.load("a.npz", allow_pickle=True) as content:
        lengths = [len(sketch) for sketch in content["train"]]
    assert 40 < np.mean(lengths) < load_google_json(model).data.N_max
