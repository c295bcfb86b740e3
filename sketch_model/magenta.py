"""Google's decoders in the JSON format of its browser demos, read and written.

A file is a list [info, shapes, blobs]: what the model is, and base64 of little-endian int16 for
each of output_w, output_b, W_xh, W_hh, bias. A weight is value * 10 / 32767, so magnitudes end at
10. The gates stand in the order of `cells.LSTMCell`, and the forget bias is added at run time, as
there.

What is written here says in `info` what it was trained on, as `source` and `categories`, which
Google's reader passes over. A file without `source` is one of Google's.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import os
import reprlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from sketch_model.annotations import Tensor
from sketch_model.config import Cell, Condition, DataSpec, ModelConfig
from sketch_model.encoder import NUM_COLUMNS
from sketch_model.mixture import output_size
from sketch_model.model import SketchRNN

GOOGLE: Final = "google"
"""Source of a decoder that Google trained and released."""

WEIGHT_LIMIT: Final = 10.0
WEIGHT_STEP: Final = WEIGHT_LIMIT / 32767
"""Weights are rounded to multiples of this."""

_PARAMETERS: Final = {
    "output_w": "decoder.output.weight",  # transposed
    "output_b": "decoder.output.bias",
    "W_xh": "decoder.cell.input_weight",
    "W_hh": "decoder.cell.hidden_weight",
    "bias": "decoder.cell.bias",
}
_DECODER_MODES: Final = (2, "gen")
_MAX_LENGTH: Final = 1_000_000
_SCALES: Final = (1e-6, 1e6)  # beyond them float32 offsets would soon leave its range

_WRITABLE: Final = {
    "conditional": (False, "it gives the decoder no latent vector"),
    "condition": (Condition.none, "it gives the decoder no category"),
    "decoder_cell": (Cell.lstm, "it knows no other cell"),
    "M": (20, "it splits the output into 20 components"),
}
"""Fields that Google's reader (@magenta/sketch 0.2.0) takes one value of, and why."""


def load_google_json(path: str | os.PathLike[str]) -> SketchRNN:
    """Reads a decoder-only model, ready to draw (in evaluation mode).

    The offset scale of one of Google's, whose `data.source` is `GOOGLE`, is in the units of the
    drawings that Google trained on, about 2 to 3 times those of the public 0 to 255 drawings.

    Raises:
        ValueError: if the file is missing, is not of this format, holds another kind of model, or
            has numbers, shapes or blobs that do not fit.
    """
    path = Path(path)
    info, shapes, blobs = _read_parts(path)
    if info.get("mode", "gen") not in _DECODER_MODES:
        raise ValueError(
            f"{path}: mode is {reprlib.repr(info['mode'])}, and only decoder-only models, mode 2 or"
            " 'gen', can be read; choose a file named *.gen.json"
        )
    data = _data_spec(path, info)
    size, num_components = _sizes(path, shapes)
    if len(blobs) != len(_PARAMETERS):
        raise ValueError(
            f"{path}: there must be {len(_PARAMETERS)} blobs, got {len(blobs)}; fetch the file"
            " again"
        )
    weights = {
        _PARAMETERS[name]: _decode_blob(f"{path}: {name}", blob, shape)
        for (name, shape), blob in zip(_shapes(size, num_components).items(), blobs, strict=True)
    }
    transposed = weights[_PARAMETERS["output_w"]]
    weights[_PARAMETERS["output_w"]] = transposed.t().contiguous()
    config = ModelConfig(
        conditional=False, decoder_size=size, M=num_components, recurrent_dropout=0.0
    )
    with torch.device("meta"):  # no memory and no random numbers for weights replaced at once
        model = SketchRNN(config, data)
    model.load_state_dict(weights, assign=True)
    return model.eval()


def save_google_json(model: SketchRNN, path: str | os.PathLike[str]) -> int:
    """Writes a decoder-only LSTM with M = 20 for Google's reader, whole or not at all.

    Args:
        model: on any device.
        path: replaced if it is there; its folder is made if it is not.

    Returns:
        How many weights were beyond +-10 and were clipped there. All are rounded to multiples of
        `WEIGHT_STEP`.

    Raises:
        ValueError: if the reader could not take the model, for all the reasons that there are, or a
            weight is not finite.
    """
    _refuse_unreadable(model.config)
    parameters = model.state_dict()
    weights = {name: parameters[ours].cpu().double().numpy() for name, ours in _PARAMETERS.items()}
    weights["output_w"] = weights["output_w"].T
    for name, values in weights.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f"{_PARAMETERS[name]} has weights that are not finite: export an earlier checkpoint"
            )
    info = {
        "name": " and ".join(model.data.categories),
        "mode": _DECODER_MODES[0],
        "version": 6,  # what Google's files of this mode have
        "max_seq_len": model.data.N_max,
        "scale_factor": model.data.offset_scale,
        "source": model.data.source,
        "categories": list(model.data.categories),
    }
    shapes = [list(values.shape) for values in weights.values()]
    blobs = [_encode_blob(values) for values in weights.values()]
    _replace_text(Path(path), json.dumps([info, shapes, blobs]))
    return sum(int((np.abs(values) > WEIGHT_LIMIT).sum()) for values in weights.values())


def _read_parts(path: Path) -> tuple[dict[str, Any], list[Any], list[Any]]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give one of Google's *.gen.json files")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not whole JSON ({error}); fetch it again") from None
    match content:
        case [dict() as info, list() as shapes, list() as blobs]:
            return info, shapes, blobs
    raise ValueError(
        f"{path} is not one of Google's models: it must be [info, shapes, blobs]; give one of"
        " Google's *.gen.json files"
    )


def _data_spec(path: Path, info: dict[str, Any]) -> DataSpec:
    N_max: Any
    scale: Any
    N_max, scale, name = (info.get(key) for key in ("max_seq_len", "scale_factor", "name"))
    if type(N_max) is not int or not 1 <= N_max <= _MAX_LENGTH:
        raise ValueError(
            f"{path}: max_seq_len must be a whole number from 1 to {_MAX_LENGTH}, got"
            f" {reprlib.repr(N_max)}; fetch the file again"
        )
    if type(scale) not in (int, float) or not _SCALES[0] <= scale <= _SCALES[1]:
        raise ValueError(
            f"{path}: scale_factor must be a number from {_SCALES[0]} to {_SCALES[1]}, got"
            f" {reprlib.repr(scale)}; fetch the file again"
        )
    if not isinstance(name, str) or not name:
        name = path.name.split(".")[0]
    categories, source = info.get("categories", [name]), info.get("source", GOOGLE)
    is_list = isinstance(categories, list) and len(categories) > 0
    if not is_list or not all(map(_is_name, [*categories, source])):
        raise ValueError(
            f"{path}: source must be a name and categories a list of names, got"
            f" {reprlib.repr(source)} and {reprlib.repr(categories)}; export the model again"
        )
    return DataSpec(
        offset_scale=float(scale), N_max=N_max, categories=tuple(categories), source=source
    )


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _sizes(path: Path, shapes: list[Any]) -> tuple[int, int]:
    """Units of the decoder and M; everything else follows from them."""
    match shapes:
        case [[int(size), int(num_outputs)], *_]:
            num_components = (num_outputs - output_size(0)) // 6
            fits = shapes == list(_shapes(size, num_components).values())
            if fits and size >= 1 and num_components >= 1:
                return size, num_components
    raise ValueError(
        f"{path}: the shapes of {', '.join(_PARAMETERS)} must be [N, 6M+3], [6M+3],"
        f" [{NUM_COLUMNS}, 4N], [N, 4N], [4N], with N and M from 1, got {reprlib.repr(shapes)};"
        " choose a file named *.gen.json"
    )


def _shapes(size: int, num_components: int) -> dict[str, list[int]]:
    num_outputs = output_size(num_components)
    return {
        "output_w": [size, num_outputs],
        "output_b": [num_outputs],
        "W_xh": [NUM_COLUMNS, 4 * size],
        "W_hh": [size, 4 * size],
        "bias": [4 * size],
    }


def _decode_blob(name: str, blob: Any, shape: list[int]) -> Tensor:
    try:
        content = base64.b64decode(blob, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{name} is not whole base64 ({error}); fetch the file again") from None
    expected = 2 * math.prod(shape)
    if len(content) != expected:
        raise ValueError(
            f"{name} of shape {shape} must have {expected} bytes, got {len(content)}; fetch the"
            " file again"
        )
    weights = np.frombuffer(content, dtype="<i2") * WEIGHT_STEP
    return torch.from_numpy(weights.astype(np.float32)).reshape(shape)


def _encode_blob(values: NDArray[np.float64]) -> str:
    clipped = np.clip(values, -WEIGHT_LIMIT, WEIGHT_LIMIT)
    return base64.b64encode(np.rint(clipped / WEIGHT_STEP).astype("<i2").tobytes()).decode()


def _refuse_unreadable(config: ModelConfig) -> None:
    reasons = [
        f"{name}={found} where it takes {value}, because {reason}"
        for name, (value, reason) in _WRITABLE.items()
        if (found := getattr(config, name)) != value
    ]
    if reasons:
        raise ValueError(
            f"Google's reader cannot draw with this model: {'; '.join(reasons)}. Train one with"
            " these settings, or save it with sketch_model.save"
        )


def _replace_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
