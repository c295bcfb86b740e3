"""Google's released decoders, in the JSON format of its browser demos.

A file is a list [info, shapes, blobs]: what the model is, and base64 of little-endian int16 for
each of output_w, output_b, W_xh, W_hh, bias. A weight is value * 10 / 32767, so magnitudes end at
10. The gates stand in the order of `cells.LSTMCell`, and the forget bias is added at run time, as
there.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from sketch_model.annotations import Tensor
from sketch_model.config import DataSpec, ModelConfig
from sketch_model.encoder import NUM_COLUMNS
from sketch_model.mixture import output_size
from sketch_model.model import SketchRNN

WEIGHT_LIMIT: Final = 10.0
_INT16_MAX: Final = 32767
_NAMES: Final = ("output_w", "output_b", "W_xh", "W_hh", "bias")
_DECODER_MODES: Final = (2, "gen")


def load_google_json(path: str | os.PathLike[str]) -> SketchRNN:
    """Reads a decoder-only model, ready to draw (in evaluation mode).

    Its offset scale is in the units of the drawings that Google trained on, about 2 to 3 times
    those of the public 0 to 255 drawings.

    Raises:
        ValueError: if the file is missing, is not of this format, holds another kind of model, or
            has shapes or blobs that do not fit.
    """
    path = Path(path)
    info, shapes, blobs = _read_parts(path)
    if info.get("mode") not in _DECODER_MODES:
        raise ValueError(
            f"{path}: mode is {info.get('mode')!r}, and only decoder-only models, mode 2 or 'gen',"
            " can be read; choose a file named *.gen.json"
        )
    size, num_components = _sizes(path, shapes)
    if len(blobs) != len(_NAMES):
        raise ValueError(f"{path}: there must be {len(_NAMES)} blobs, got {len(blobs)}")
    weights = {
        name: _decode_blob(f"{path}: {name}", blob, shape)
        for name, blob, shape in zip(_NAMES, blobs, shapes, strict=True)
    }
    config = ModelConfig(
        conditional=False, decoder_size=size, M=num_components, recurrent_dropout=0.0
    )
    with torch.device("meta"):  # no memory and no random numbers for weights replaced at once
        model = SketchRNN(config, _data_spec(path, info))
    names = {  # ours: theirs
        "decoder.cell.input_weight": weights["W_xh"],
        "decoder.cell.hidden_weight": weights["W_hh"],
        "decoder.cell.bias": weights["bias"],
        "decoder.output.weight": weights["output_w"].t().contiguous(),
        "decoder.output.bias": weights["output_b"],
    }
    model.load_state_dict(names, assign=True)
    return model.eval()


def _read_parts(path: Path) -> tuple[dict[str, Any], list[Any], list[Any]]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; give one of Google's *.gen.json files")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not whole JSON ({error}); fetch it again") from None
    match content:
        case [dict() as info, list() as shapes, list() as blobs]:
            return info, shapes, blobs
    raise ValueError(f"{path} is not one of Google's models: it must be [info, shapes, blobs]")


def _sizes(path: Path, shapes: list[Any]) -> tuple[int, int]:
    """Units of the decoder and M; everything else follows from them."""
    match shapes:
        case [[int(size), int(num_outputs)], *_]:
            num_components = (num_outputs - output_size(0)) // 6
            expected = [
                [size, output_size(num_components)],
                [output_size(num_components)],
                [NUM_COLUMNS, 4 * size],
                [size, 4 * size],
                [4 * size],
            ]
            if shapes == expected and num_components >= 1:
                return size, num_components
    raise ValueError(
        f"{path}: the shapes of {', '.join(_NAMES)} must be [N, 6M+3], [6M+3], [{NUM_COLUMNS}, 4N],"
        f" [N, 4N], [4N], got {shapes}"
    )


def _decode_blob(name: str, blob: Any, shape: list[int]) -> Tensor:
    try:
        content = base64.b64decode(blob, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{name} is not whole base64 ({error}); fetch the file again") from None
    expected = 2 * int(np.prod(shape))
    if len(content) != expected:
        raise ValueError(
            f"{name} of shape {shape} must have {expected} bytes, got {len(content)}; fetch the"
            " file again"
        )
    values = np.frombuffer(content, dtype="<i2").astype(np.float64)
    weights = (values * (WEIGHT_LIMIT / _INT16_MAX)).astype(np.float32)
    return torch.from_numpy(weights).reshape(shape)


def _data_spec(path: Path, info: dict[str, Any]) -> DataSpec:
    N_max, scale = info.get("max_seq_len"), info.get("scale_factor")
    if not isinstance(N_max, int) or N_max < 1:
        raise ValueError(f"{path}: max_seq_len must be a whole number from 1, got {N_max!r}")
    if not isinstance(scale, int | float) or not 0 < scale < float("inf"):
        raise ValueError(f"{path}: scale_factor must be a positive number, got {scale!r}")
    return DataSpec(
        offset_scale=float(scale),
        N_max=N_max,
        categories=(str(info.get("name", path.name.split(".")[0])),),
        source="google",
    )
