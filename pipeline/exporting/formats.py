"""Each format, written whole or not at all, and checked before it appears if that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.atomic import replacing_file, replacing_folder
from pipeline.config import UserError
from pipeline.exporting import parity
from pipeline.exporting.card import CardOptions, write_card
from pipeline.exporting.subject import Subject
from sketch_model import magenta, weights
from sketch_model.onnx import save_onnx


def write_google(subject: Subject, out: Path, *, check: bool) -> Iterator[str]:
    """Google's JSON; says what it cost, and what was checked.

    Raises:
        UserError: if Google's reader could not draw with the model, or what was written is not it.
    """
    with replacing_file(out) as path:
        try:
            num_clipped = magenta.save_google_json(subject.model, path)
        except ValueError as error:
            raise UserError(str(error)) from error
        yield (
            f"{num_clipped} weights were beyond +-{magenta.WEIGHT_LIMIT:g} and are clipped; all are"
            f" rounded to multiples of {magenta.WEIGHT_STEP:.1e}"
        )
        if check:
            yield from parity.check_google(subject.model, path, num_clipped)


def write_onnx(subject: Subject, out: Path, *, check: bool) -> Iterator[str]:
    """The graphs and their config; says what there is, and what was checked.

    Raises:
        UserError: if packages are missing, the model is too large, or what was written is not it.
    """
    with replacing_folder(out) as folder:
        try:
            save_onnx(subject.model, folder)
        except ValueError as error:
            raise UserError(str(error)) from error
        yield from _list(folder)
        if check:
            yield from parity.check_onnx(subject.model, folder)


def write_safetensors(
    subject: Subject, out: Path, options: CardOptions, *, check: bool
) -> Iterator[str]:
    """Weights, config and model card; says what there is, and what was checked.

    Raises:
        UserError: if the options do not fit the data, or what was written is not the model.
    """
    card = write_card(subject, options)
    with replacing_folder(out) as folder:
        weights.save(subject.model, folder)
        (folder / "README.md").write_text(card, encoding="utf-8")
        yield from _list(folder)
        if check:
            yield from parity.check_safetensors(subject.model, folder)


def _list(folder: Path) -> Iterator[str]:
    for path in sorted(folder.iterdir()):
        yield f"{path.name:<18}{path.stat().st_size:>12,} bytes"
