"""The npz files of Sketch-RNN come in as they are; a pickle in them can do nothing."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray

from pipeline.config import UserError
from pipeline.ingest.files import list_files
from pipeline.ingest.formats import npz as reader
from pipeline.ingest.formats.npz import read_npz
from pipeline.ingest.formats.npz_pickles import unpickle_objects
from pipeline.ingest.records import Drawings, Parsed, Reason, from_stroke3, from_strokes


def objects(sketches: Iterable[Any]) -> NDArray[np.object_]:
    sketches = list(sketches)
    array = np.empty(len(sketches), dtype=np.object_)
    for index, sketch in enumerate(sketches):
        array[index] = sketch
    return array


def read(root: Path, quantum: float = 0.0, name: str = "sheep.npz") -> list[Parsed]:
    (file,) = (
        f for f in list_files(str(root), "", "sketchrnn", (".npz",)) if f.path.endswith(name)
    )
    return list(read_npz(file, quantum))


def save(root: Path, **arrays: Any) -> None:
    (root / "sketchrnn").mkdir(exist_ok=True)
    np.savez_compressed(root / "sketchrnn" / "sheep.npz", **arrays)


def save_raw(
    root: Path, content: bytes, shape: tuple[int, ...] = (1,), name: str = "train"
) -> None:
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": shape})
    (root / "sketchrnn").mkdir(exist_ok=True)
    with zipfile.ZipFile(root / "sketchrnn" / "sheep.npz", "w") as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + content)


def rows(drawings: Drawings) -> list[list[list[int]]]:
    ends = np.cumsum(drawings.lengths)[:-1]
    return [part.tolist() for part in np.split(drawings.points, ends)]


FIRST = [[1, 2, 0], [-3, 4, 1], [5, 0, 0]]
SECOND = [[0, 0, 1], [300, -300, 1]]


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<i8", "u1", "<f4", ">f8", "<f2"])
def test_rows_are_kept_as_they_are(dtype: str, tmp_path: Path) -> None:
    sketch = np.abs(np.array(FIRST)) if dtype == "u1" else np.array(FIRST)
    transposed = np.asfortranarray(sketch.astype(dtype))
    save(
        tmp_path,
        test=objects([sketch.astype(dtype)]),
        train=objects([np.array(SECOND, dtype="i4"), transposed]),
        weights=np.ones(3),
    )
    train, test = read(tmp_path)
    assert rows(train.drawings) == [SECOND, sketch.tolist()]
    assert rows(test.drawings) == [sketch.tolist()]
    assert train.drawings.split.tolist() == [0, 0]
    assert test.drawings.split.tolist() == [2]
    assert train.drawings.hashes[1] == test.drawings.hashes[0] == test.drawings.ids[0]


@pytest.mark.parametrize("protocol", range(2, 5))
def test_every_protocol_that_numpy_writes_is_read(protocol: int, tmp_path: Path) -> None:
    array = objects([np.array(FIRST, dtype="i2"), np.array(SECOND, dtype="f8")])
    save_raw(tmp_path, pickle.dumps(array, protocol), shape=(2,))
    (parsed,) = read(tmp_path)
    assert rows(parsed.drawings) == [FIRST, SECOND]


def test_one_array_of_another_name_may_have_a_dimension_for_the_sketches(tmp_path: Path) -> None:
    sketches = np.array([FIRST, FIRST], dtype="i2")
    for array in (sketches, np.asfortranarray(sketches)):
        save(tmp_path, sketches=array)
        (parsed,) = read(tmp_path)
        assert rows(parsed.drawings) == [FIRST, FIRST]
        assert parsed.drawings.split.tolist() == [-1, -1]


def test_hashes_are_those_of_the_same_drawing_as_strokes() -> None:
    rng = np.random.default_rng(0)
    points_per_stroke = rng.integers(1, 6, size=3000)
    strokes_per_drawing = np.full(1000, 3)
    for bound in (2, 256, 16_000):
        xy = rng.integers(-bound, bound, size=(points_per_stroke.sum(), 2)).astype(np.int32)
        drawings, fits = from_strokes(xy, points_per_stroke, strokes_per_drawing)
        assert fits.all()
        again = from_stroke3(drawings.points, drawings.lengths)
        np.testing.assert_array_equal(again.hashes, drawings.hashes)
        np.testing.assert_array_equal(again.shapes, drawings.shapes)
        np.testing.assert_array_equal(again.ids, drawings.ids)
        assert len(np.unique(again.shapes)) > 100


def test_what_is_no_stroke3_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_SKETCHES", 4)
    good = np.array(FIRST, dtype="f8")
    bad = {
        Reason.not_stroke3: [np.zeros((0, 3)), np.zeros((2, 2)), np.zeros(3), [[1, 2, 0]], None, 5],
        Reason.not_finite: [good * np.nan, np.array([[np.inf, 0, 1], [-np.inf, 0, 1]])],
        Reason.bad_pen: [good * [1, 1, 2], good + np.array([0, 0, 0.5])],
        Reason.out_of_range: [good * [32768, 1, 1], good * [1e300, 1, 1]],
    }
    sketches = [sketch for group in bad.values() for sketch in group]
    reasons = [reason for reason, group in bad.items() for _ in group]
    mixed = [each for sketch in sketches for each in (good, sketch)]
    for quantum in (0.0, 0.5):
        save(tmp_path, train=objects(mixed), valid=objects([good, np.zeros((1, 4))]))
        parsed = read(tmp_path, quantum)
        assert sum(each.num_records for each in parsed) == len(mixed) + 2
        rejects = [reject for each in parsed for reject in each.rejects]
        assert [each.reason for each in rejects] == [*reasons, Reason.not_stroke3]
        assert [each.line for each in rejects] == [*range(2, len(mixed) + 1, 2), len(mixed) + 2]
        assert rejects[1].detail == "train[3] float64 array of shape (2, 2)"
        assert rejects[-1].detail == "valid[1] float64 array of shape (1, 4)"
        kept = [sketch for each in parsed for sketch in rows(each.drawings)]
        assert kept == [
            (good * [1 / quantum or 1, 1 / quantum, 1] if quantum else good).tolist()
        ] * (len(sketches) + 1)


def test_errors_of_rounding_do_not_add_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sketch = np.concatenate([rng.normal(size=(5000, 2)), np.ones((5000, 1))], axis=1)
    save(tmp_path, train=objects([sketch, sketch]))
    (parsed,) = read(tmp_path, 0.25)
    first, second = np.split(parsed.drawings.points[:, :2].astype(np.float64), 2)
    np.testing.assert_array_equal(first, second)
    errors = 0.25 * np.cumsum(first, axis=0) - np.cumsum(sketch[:, :2], axis=0)
    assert np.abs(errors).max() <= 0.125 + 1e-9


def test_fractions_need_a_quantum(tmp_path: Path) -> None:
    save(tmp_path, valid=objects([np.array(FIRST), np.array(FIRST) * [0.5, 1, 1]]))
    with pytest.raises(UserError, match=r"sheep.npz .* in valid near index 1: set source\.quantum"):
        read(tmp_path)


def test_a_quantum_that_training_would_clip_at_is_too_fine(tmp_path: Path) -> None:
    sketch = np.array([[93.25, 1, 0], [0, 1, 1]])
    save(tmp_path, train=objects([sketch]))
    with pytest.raises(UserError, match=r"here source\.quantum=0\.125 or above"):
        read(tmp_path)
    (coarse,), (fine,) = read(tmp_path, 0.125), read(tmp_path, 0.0625)
    assert rows(coarse.drawings) == [[[746, 8, 0], [0, 8, 1]]]
    assert [reject.reason for reject in fine.rejects] == [Reason.many_quanta]


def test_other_arrays_are_an_error(tmp_path: Path) -> None:
    sketches = objects([np.array(FIRST)])
    save(tmp_path, train=sketches, more=sketches)
    with pytest.raises(
        UserError, match="it has the arrays more, train: it may have train, valid, "
    ):
        read(tmp_path)
    save(tmp_path, a=sketches, b=sketches)
    with pytest.raises(UserError, match="it has the arrays a, b: it may have"):
        read(tmp_path)
    save(tmp_path, a=np.ones((2, 3)))
    with pytest.raises(UserError, match="none of its 1 arrays holds sketches"):
        read(tmp_path)


class Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class Change:
    def __init__(self, target: Any, state: Any) -> None:
        self.parts = target, (), state

    def __reduce__(self) -> Any:
        return self.parts


def array_state(shape: Any, dtype: Any, data: Any) -> bytes:
    """A pickle of an object array of one array with this state."""
    inner = Change(np._core.multiarray._reconstruct, (1, shape, dtype, False, data))  # type: ignore[attr-defined]
    inner.parts = inner.parts[0], (np.ndarray, (0,), b"b"), inner.parts[2]
    outer = Change(inner.parts[0], (1, (1,), np.dtype("O"), False, [inner]))
    outer.parts = outer.parts[0], (np.ndarray, (0,), b"b"), outer.parts[2]
    return pickle.dumps(outer, 2)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


SYSTEM = f"{os.system.__module__}.system"
CHANGED = "changes a function or a class"
ENCODE = b"\x80\x02c_codecs\nencode\n"
MEMO_BOMB = b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"."
FRAME = b"\x80\x04\x95"
MALICIOUS = {
    "system": (pickle.dumps(Call(os.system, "touch /tmp/touched-by-a-pickle"), 2), SYSTEM),
    "system, new protocol": (pickle.dumps(Call(os.system, "true"), 4), SYSTEM),
    "system, old protocol": (pickle.dumps(Call(os.system, "true"), 0), "instruction b'p'"),
    "system within": (pickle.dumps(objects([objects([Call(os.system, "true")])]), 4), SYSTEM),
    "eval": (pickle.dumps(Call(eval, "1+1"), 2), r"builtin\w*\.eval"),
    "a class": (pickle.dumps(objects([Path("x")]), 2), r"pathlib\."),
    "numpy's own loader": (pickle.dumps(Call(np.load, "x"), 4), r"numpy\.load"),
    "a name with dots": (
        b"\x80\x04" + text("numpy") + text("ndarray.dumps") + b"\x93.",
        r"numpy\.ndarray\.dumps",
    ),
    "another encoding": (ENCODE + text("a") + text("hex") + b"\x86R.", "hex"),
    "change of a function": (ENCODE + b"N)\x86b.", CHANGED),
    "change of a class": (b"\x80\x02cnumpy\ndtype\nN\x89\x86b.", CHANGED),
    "a dict": (pickle.dumps(objects([{"a": 1}]), 2), r"instruction b'}' at byte \d+"),
    "an extension": (b"\x80\x02\x82\x01.", "instruction"),
    "a persistent id": (b"\x80\x02N\x51.", "instruction"),
    "memory by memo": (MEMO_BOMB, "instruction b'r' at byte 3"),
    "memory by length": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.", "instruction"),
    "memory by negative length": (b"\x80\x02T\xff\xff\xff\xffa.", "instruction"),
    "memory by frame": (FRAME + struct.pack("<Q", 2**62) + b"N.", "instruction"),
    "across the end of a frame": (
        FRAME + struct.pack("<Q", 4) + b"C\x20abcd" + b"." * 40,
        "instruction b'C' at byte 11",
    ),
    "memory by shape": (array_state((10**12, 3), np.dtype("f8"), b"\0" * 24), "buffer"),
    "memory by negative shape": (array_state((-1, 3), np.dtype("f8"), b"\0" * 24), "negative"),
    "an empty shape": (array_state((0, 10**12), np.dtype("f8"), b"\0" * 24), "24 bytes for"),
    "text": (pickle.dumps(objects([np.array(["a"])]), 2), "dtype '<U1'"),
    "records": (pickle.dumps(objects([np.zeros(1, dtype="f8,O")]), 2), "instruction"),
    "nothing": (b"", "Ran out of input|not an array"),
    "cut off": (pickle.dumps(objects([np.array(FIRST)]), 2)[:-30], "instruction|truncated|Ran out"),
    "a number": (b"\x80\x02K\x01.", "not an array of objects"),
    "an empty stack": (b"\x80\x02.", "stack underflow"),
}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", MALICIOUS)
def test_pickles_of_anything_else_do_nothing(name: str, tmp_path: Path) -> None:
    content, says = MALICIOUS[name]
    save_raw(tmp_path, content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=rf"sheep\.npz is not an npz file .*'train'.*({says})"):
        read(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 100 << 10
    assert not Path("/tmp/touched-by-a-pickle").exists()


def test_a_deep_list_is_a_reject(tmp_path: Path) -> None:
    program = pickle.dumps(objects([None]), 2)
    assert program.count(b"Na") == 1
    depth = 100_000
    save_raw(tmp_path, program.replace(b"Na", b"]" * depth + b"a" * depth))
    (parsed,) = read(tmp_path)
    assert [each.reason for each in parsed.rejects] == [Reason.not_stroke3]


def test_random_changes_of_a_pickle_are_read_or_refused() -> None:
    program = pickle.dumps(objects([np.array(FIRST, dtype="i2")] * 3), 2)
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(3000):
        changed = bytearray(program)
        for place in rng.integers(2, len(program), size=rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        try:
            unpickle_objects(bytes(changed))
        except ValueError:
            num_refused += 1
    assert 1000 < num_refused < 3000


@pytest.mark.parametrize("content", [b"", b"PK\3\4 no zip", b"\x93NUMPY\1\0"])
def test_what_is_no_zip_is_one_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sketchrnn").mkdir()
    (tmp_path / "sketchrnn" / "sheep.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"is not an npz file of sketches .*: replace the file"):
        read(tmp_path)


def test_damage_and_claims_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, train=objects([np.array(FIRST)] * 100))
    path = tmp_path / "sketchrnn" / "sheep.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(UserError, match="is not an npz file of sketches"):
        read(tmp_path)
    save_raw(tmp_path, pickle.dumps(objects([np.array(FIRST)]), 2), shape=(10**12,))
    with pytest.raises(UserError, match="has 1 elements, not 1000000000000"):
        read(tmp_path)
    save(tmp_path, train=np.zeros((1000, 5, 3)))
    monkeypatch.setattr(reader, "MAX_ARRAY_BYTES", 100_000)
    with pytest.raises(UserError, match="'train' has 120128 bytes, at most 100000 are read"):
        read(tmp_path)


# What these files name, numpy warns of when it reads them itself.
@pytest.mark.filterwarnings("ignore:numpy.core")
@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "quantum", "counts"),
    [
        ("aaron_sheep", 0.0, [7400, 300, 300]),
        ("omniglot", 0.0, [30_000, 1000, 1000]),
        ("short_kanji", 0.0, [10_000, 600, 500]),
        ("kanji.rdp200", 1 / 8, [10_358, 600, 500]),
        ("face_test_only", 0.0, [2500]),
        ("radio_test_only", 0.0, [2500]),
    ],
)
def test_real_files(name: str, quantum: float, counts: list[int], quickdraw_root: Path) -> None:
    parsed = read(quickdraw_root, quantum, f"/{name}.npz")
    assert not any(each.rejects for each in parsed)
    drawings = Drawings.concatenate([each.drawings for each in parsed])
    splits = range(len(counts)) if len(counts) == 3 else [-1]
    assert [np.count_nonzero(drawings.split == split) for split in splits] == counts
    with np.load(
        quickdraw_root / f"sketchrnn/{name}.npz", allow_pickle=True, encoding="latin1"
    ) as f:
        names = ("train", "valid", "test") if len(counts) == 3 else ("sketches",)
        sketches = [sketch for each in names for sketch in f[each]]
    assert drawings.lengths.tolist() == [len(sketch) for sketch in sketches]
    expected = np.concatenate(sketches)
    if not quantum:
        np.testing.assert_array_equal(drawings.points, expected)
    else:
        for got, sketch in zip(rows(drawings)[:500], sketches, strict=False):
            positions = np.cumsum(np.array(got)[:, :2], axis=0) * quantum
            np.testing.assert_allclose(
                positions, np.cumsum(sketch[:, :2], axis=0), atol=quantum / 2
            )
    if name == "aaron_sheep":
        offsets = drawings.points[: drawings.lengths[drawings.split == 0].sum(), :2]
        assert offsets.std() == pytest.approx(18.5198, abs=5e-5)


@pytest.mark.real_data
def test_real_fractions_need_a_quantum(quickdraw_root: Path) -> None:
    with pytest.raises(UserError, match=r"kanji\.rdp200\.npz .* source\.quantum=0\.125 or above"):
        read(quickdraw_root, 0.0, "/kanji.rdp200.npz")
