from __future__ import annotations

import base64
import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sketch_model import Cell, SketchRNN, magenta
from sketch_model.batch import PackedBatch
from sketch_model.batch import to_stroke5 as to_batch
from sketch_model.config import Condition
from sketch_model.losses import sketch_losses
from sketch_model.strokes import polylines_to_stroke3
from tests.numerics.sketch_rnn_numpy import LSTM, Array, sketch_nats, to_stroke5
from tests.sketch_model.sketches import N_MAX, OFFSET_SCALE, small_model

SHAPES = [[3, 15], [15], [5, 12], [3, 12], [12]]  # 3 units, M = 2


def encode_blob(values: Any) -> str:
    return base64.b64encode(np.asarray(values, dtype="<i2").tobytes()).decode()


def file_content(**info: Any) -> list[Any]:
    generator = np.random.default_rng(0)
    header = {"mode": 2, "name": "monkey", "max_seq_len": 30, "scale_factor": 50.0} | info
    values = [generator.integers(-32767, 32768, shape) for shape in SHAPES]
    return [header, copy.deepcopy(SHAPES), [encode_blob(v) for v in values]]


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
    assert (model.data.categories, model.data.source) == (("monkey",), magenta.GOOGLE)
    expected = [10.0, -10.0, 5.000153]
    torch.testing.assert_close(model.decoder.cell.bias[:3].detach(), torch.tensor(expected))
    drawing = model.sample(temperature=0.5, seed=0)[0]
    assert drawing.shape[1] == 3


@pytest.mark.parametrize(
    "info", [{"mode": "gen", "version": 2, "kl_loss": 0, "r_loss": -0.5, "training_size": 1}, {}]
)
def test_whatever_else_a_header_says_is_not_needed(tmp_path: Path, info: dict[str, Any]) -> None:
    content = file_content()
    content[0] = {"max_seq_len": 175, "scale_factor": 62} | info
    model = magenta.load_google_json(write(tmp_path, content))
    assert (model.data.N_max, model.data.offset_scale) == (175, 62.0)
    assert model.data.categories == ("monkey",)  # from the file's name


def set_info(**info: Any) -> Callable[[list[Any]], None]:
    return lambda content: content[0].update(info)


def set_shape(index: int, shape: Any) -> Callable[[list[Any]], None]:
    return lambda content: content[1].__setitem__(index, shape)


def set_blob(index: int, blob: Any) -> Callable[[list[Any]], None]:
    return lambda content: content[2].__setitem__(index, blob)


def fit_shapes(size: int, M: int) -> Callable[[list[Any]], None]:
    def fit(content: list[Any]) -> None:
        outputs = 6 * M + 3
        content[1] = [[size, outputs], [outputs], [5, 4 * size], [size, 4 * size], [4 * size]]

    return fit


def drop_a_blob(content: list[Any]) -> None:
    content[2].pop()


def truncate_base64(content: list[Any]) -> None:
    content[2][3] = content[2][3][:-3]


def drop_the_scale(content: list[Any]) -> None:
    del content[0]["scale_factor"]


def make_it_a_vae(content: list[Any]) -> None:
    """As Google's have it: 17 blobs, and weights for z in W_xh."""
    content[0]["mode"] = "vae"
    content[1] = 12 * [[2, 2]] + content[1]
    content[2] = 12 * [encode_blob(4 * [0])] + content[2]


def make_it_a_vae_without_mode(content: list[Any]) -> None:
    make_it_a_vae(content)
    del content[0]["mode"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (drop_a_blob, "must be 5 blobs, got 4"),
        (truncate_base64, "W_hh is not whole base64"),
        (set_blob(2, "zero"), "W_xh of shape .* must have 120 bytes, got 3"),
        (set_blob(2, "z%ro"), "W_xh is not whole base64"),
        (set_blob(2, 7), "W_xh is not whole base64"),
        (set_blob(2, None), "W_xh is not whole base64"),
        (set_blob(4, encode_blob(11 * [0])), "must have 24 bytes, got 22"),
        (set_blob(4, encode_blob(13 * [0])), "must have 24 bytes, got 26"),
        (set_shape(2, [6, 12]), r"shapes of output_w.*got .*\[6, 12\]"),
        (set_shape(0, [3, 14]), r"shapes of output_w.*got .*\[3, 14\]"),
        (set_shape(0, "3x15"), "shapes of output_w.*got .*3x15"),
        (set_shape(0, None), "shapes of output_w.*got .*None"),
        (fit_shapes(0, 2), "N and M from 1, got"),
        (fit_shapes(-3, 2), "N and M from 1, got"),
        (fit_shapes(3, 0), "N and M from 1, got"),
        (fit_shapes(10**9, 2), "output_w of shape .* must have 30000000000 bytes, got 90"),
        (fit_shapes(10**30, 10**30), "must have .* bytes, got 90"),
        (make_it_a_vae, "mode is 'vae'.*gen.json"),
        (make_it_a_vae_without_mode, "shapes of output_w.*gen.json"),
        (set_info(mode=1), "mode is 1.*gen.json"),
        (set_info(source=""), "source must be a name .*got ''"),
        (set_info(source=7), "source must be a name .*got 7"),
        (set_info(categories="cat"), "categories a list of names, got .* and 'cat'"),
        (set_info(categories=["cat", None]), r"got 'google' and \['cat', None\]"),
        (set_info(categories=[]), r"got 'google' and \[\]"),
        (drop_the_scale, "scale_factor must be a number from .*got None.*fetch"),
        (set_info(scale_factor=float("nan")), "scale_factor must be a number from .*got nan"),
        (set_info(scale_factor=float("inf")), "scale_factor must be a number from .*got inf"),
        (set_info(scale_factor=0), "scale_factor must be a number from .*got 0"),
        (set_info(scale_factor=-50.0), "scale_factor must be a number from .*got -50.0"),
        (set_info(scale_factor=10**400), "scale_factor must be a number from .*got 1000"),
        (set_info(scale_factor="50"), "scale_factor must be a number from .*got '50'"),
        (set_info(scale_factor=True), "scale_factor must be a number from .*got True"),
        (set_info(max_seq_len=0), "max_seq_len must be a whole number from 1 to .*got 0.*fetch"),
        (set_info(max_seq_len=-1), "max_seq_len must be a whole number from 1 to .*got -1"),
        (set_info(max_seq_len=10**12), "max_seq_len must be a whole number from 1 to 1000000"),
        (set_info(max_seq_len=30.5), "max_seq_len must be a whole number from 1 to .*got 30.5"),
        (set_info(max_seq_len=None), "max_seq_len must be a whole number from 1 to .*got None"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    content = file_content()
    spoil(content)
    path = write(tmp_path, content)
    with pytest.raises(ValueError, match=message) as caught:
        magenta.load_google_json(path)
    assert str(path) in str(caught.value)


HOSTILE = (
    None, True, 0, -1, 3, 2**63, 10**400, 0.5, 1e308, float("nan"), float("-inf"),
    "", "gen", "AAAA", "\u00e9\ud83d", [], [3], [[[]]], {}, {"mode": 2},
)  # fmt: skip


def mutate(content: Any, generator: random.Random) -> Any:
    """Replaces, drops or doubles one thing at some depth."""
    parent, key = [content], 0
    while isinstance(parent[key], list | dict) and parent[key] and generator.random() < 0.8:
        parent = parent[key]
        key = generator.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    value = parent[key]
    if isinstance(value, str) and generator.random() < 0.5:
        cut = generator.randrange(len(value) + 1)
        parent[key] = value[:cut] + generator.choice(["", "=", "A", "%"]) + value[cut + 1 :]
    elif isinstance(parent, list) and generator.random() < 0.2:
        parent.insert(key, copy.deepcopy(value))
    else:
        parent[key] = copy.deepcopy(generator.choice(HOSTILE))
    return content


def test_a_mutated_file_is_refused_or_is_whole(tmp_path: Path) -> None:
    """Whatever is wrong: a ValueError that names the file, or a model that can draw."""
    generator = random.Random(0)
    outcomes = []
    for _ in range(600):
        content: Any = file_content()
        for _ in range(generator.choice([1, 1, 2])):
            content = mutate(content, generator)
        path = write(tmp_path, json.dumps(content))
        try:
            model = magenta.load_google_json(path)
        except ValueError as error:
            outcomes.append("refused" if str(path) in str(error) else repr(error))
        else:
            assert all(weight.isfinite().all() for weight in model.parameters())
            assert np.isfinite(model.sample(seed=0, max_length=3)[0]).all()
            outcomes.append("read")
    assert set(outcomes) == {"refused", "read"}
    assert 50 < outcomes.count("read") < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"mode": 2}, [[', "not whole JSON"),
        ("", "not whole JSON"),
        ("[" * 100_000, "not whole JSON"),
        (f'[{{"max_seq_len": 1{5000 * "0"}}}, [], []]', "not whole JSON"),
        ({"mode": 2}, "not one of Google's models"),
        ([{}, []], "not one of Google's models"),
        ([[], [], []], "not one of Google's models"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        magenta.load_google_json(write(tmp_path, content))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "monkey.gen.json"
    path.write_bytes(b"\xff\xfe[]")
    with pytest.raises(ValueError, match="not whole JSON"):
        magenta.load_google_json(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.gen\.json does not exist"):
        magenta.load_google_json(tmp_path / "none.gen.json")
    with pytest.raises(ValueError, match="does not exist"):
        magenta.load_google_json(tmp_path)


def decoder_only(**changes: Any) -> SketchRNN:
    return small_model(**{"conditional": False, "M": 20} | changes)


def test_what_is_written_is_what_a_program_of_its_own_reads(tmp_path: Path) -> None:
    model = decoder_only(categories=("cat", "pig"))
    path = tmp_path / "new" / "cat.gen.json"
    assert magenta.save_google_json(model, path) == 0
    info = json.loads(path.read_text())[0]
    assert info == {
        "name": "cat and pig",
        "mode": 2,
        "version": 6,
        "max_seq_len": N_MAX,
        "scale_factor": OFFSET_SCALE,
        "source": "random",
        "categories": ["cat", "pig"],
    }
    cell, (output_w, output_b) = read_weights(path)
    decoder = model.decoder
    for got, expected in (
        (cell.input_weight, decoder.cell.input_weight),
        (cell.hidden_weight, decoder.cell.hidden_weight),
        (cell.bias, decoder.cell.bias),
        (output_w, decoder.output.weight.T),
        (output_b, decoder.output.bias),
    ):
        np.testing.assert_allclose(got, expected.detach(), rtol=0, atol=0.5 * 10 / 32767 + 1e-7)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    model, path = decoder_only(categories=("cat", "dog and pig")), tmp_path / "test.gen.json"
    magenta.save_google_json(model, path)
    again = magenta.load_google_json(path)
    assert again.data == model.data, "the origin too: it is not taken for one of Google's"
    weights = dict(model.named_parameters())
    for name, weight in again.named_parameters():
        torch.testing.assert_close(weight, weights[name], rtol=0, atol=0.5 * 10 / 32767 + 1e-6)
    second = tmp_path / "second.gen.json"
    magenta.save_google_json(again, second)  # what is rounded already does not move
    assert second.read_text() == path.read_text()


def test_weights_beyond_the_limit_are_clipped_and_counted(tmp_path: Path) -> None:
    model, path = decoder_only(), tmp_path / "test.gen.json"
    with torch.no_grad():
        model.decoder.cell.bias[:4] = torch.tensor([10.0, 10.001, -1e30, 9.999])
        model.decoder.output.weight[0, 0] = 11
    assert magenta.save_google_json(model, path) == 3
    again = magenta.load_google_json(path).decoder
    assert again.cell.bias[:3].tolist() == [10, 10, -10]
    assert again.output.weight[0, 0] == 10


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"conditional": True}, ["conditional=True where it takes False.*no latent vector"]),
        ({"M": 19}, ["M=19 where it takes 20.*20 components"]),
        ({"decoder_cell": Cell.layer_norm}, ["decoder_cell=layer_norm.*no other cell"]),
        ({"condition": Condition.category}, ["condition=category.*no category"]),
        ({"M": 1, "decoder_cell": Cell.hyper}, ["M=1 ", "decoder_cell=hyper"]),
    ],
)
def test_what_the_reader_cannot_take_is_refused(
    tmp_path: Path, changes: dict[str, Any], reasons: list[str]
) -> None:
    path = tmp_path / "test.gen.json"
    for reason in reasons:
        with pytest.raises(ValueError, match=f"{reason}.*Train one"):
            magenta.save_google_json(decoder_only(**changes), path)
    assert not path.exists()


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    model = decoder_only()
    with torch.no_grad():
        model.decoder.cell.bias[3] = torch.nan
    with pytest.raises(ValueError, match=r"decoder\.cell\.bias has weights that are not finite"):
        magenta.save_google_json(model, tmp_path / "test.gen.json")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test.gen.json"
    path.write_text("old")

    def run_out_of_space(self: Path, *_: Any, **__: Any) -> int:
        with self.open("w") as file:
            file.write("[")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", run_out_of_space)
        with pytest.raises(OSError, match="No space"):
            magenta.save_google_json(decoder_only(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["test.gen.json"]
    assert path.read_text() == "old"


def read_weights(path: Path) -> tuple[LSTM, tuple[Array, Array]]:
    """The file, read without the package."""
    _, shapes, blobs = json.loads(path.read_text())
    output_w, output_b, W_xh, W_hh, bias = (
        np.frombuffer(base64.b64decode(blob), "<i2").reshape(shape) * (10 / 32767)
        for blob, shape in zip(blobs, shapes, strict=True)
    )
    return LSTM(W_xh, W_hh, bias), (output_w, output_b)


def read_sketches(root: Path, word: str, N_max: int) -> list[Any]:
    """Up to 1,000 real ones that are short enough, the shortest first."""
    sketches = []
    for folder in ("full", "partial"):
        for line in (root / folder / "simplified" / f"{word}.ndjson").read_text().splitlines():
            strokes = [np.array(stroke).T for stroke in json.loads(line)["drawing"]]
            sketches.append(polylines_to_stroke3(strokes))
    return sorted((sketch for sketch in sketches[:1000] if len(sketch) < N_max), key=len)


def masked_loss(model: SketchRNN, sketches: list[Any]) -> float:
    """The package's."""
    N_max, scale, total = model.data.N_max, model.data.offset_scale, 0.0
    for start in range(0, len(sketches), 250):
        packed = PackedBatch.from_sketches(sketches[start : start + 250])
        batch = to_batch(packed, offset_scale=scale)
        with torch.no_grad():
            losses = sketch_losses(model(batch), batch, N_max)
        total += losses.L_R_masked.item() * packed.num_sketches
    return total / len(sketches)


def masked_loss_by_numpy(path: Path, sketches: list[Any]) -> float:
    """The same of sketches in order of length, in float64, from the file itself."""
    (cell, output), info = read_weights(path), json.loads(path.read_text())[0]
    scale = info["scale_factor"]
    rows = [to_stroke5(sketch / [scale, scale, 1], len(sketch)) for sketch in sketches]
    outputs: list[list[Array]] = [[] for _ in sketches]
    state = np.zeros((len(sketches), cell.state_size))
    for step in range(len(sketches[-1])):
        first = sum(len(sketch) <= step for sketch in sketches)
        inputs = np.stack([row[step] for row in rows[first:]])
        state = cell.step(inputs, state[len(state) - len(inputs) :])
        shown = cell.shown(state) @ output[0] + output[1]
        for one, output_row in zip(outputs[first:], shown, strict=True):
            one.append(output_row)
    total = 0.0
    for row, output_rows in zip(rows, outputs, strict=True):
        nats = sketch_nats(np.stack(output_rows), row[1:])
        total += nats.offsets + nats.pen_real
    return total / len(sketches) / info["max_seq_len"]


@pytest.mark.real_data
def test_losses_on_real_drawings_are_those_of_the_numpy_program(
    google_weights_root: Path, quickdraw_root: Path
) -> None:
    """Of every decoder there is, on drawings of its category: L_R without the pen's end."""
    paths = sorted(google_weights_root.glob("*.gen.json"))
    assert paths
    for path in paths:
        model = magenta.load_google_json(path)
        sketches = read_sketches(quickdraw_root, model.data.categories[0], model.data.N_max)
        loss = masked_loss(model, sketches)
        assert abs(loss - masked_loss_by_numpy(path, sketches)) < 1e-4, path
        if path.name == "monkey.gen.json":
            assert abs(loss - -0.326) < 0.001  # what others have found on these drawings
