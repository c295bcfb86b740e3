"""Checkpoints on disk, checked before they are used; `checkpoint_writer` writes them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from pipeline.config import UserError

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"
"""The newest, the one before, and the one of the best validation; all of the same kind."""

_UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, TypeError, ValueError, UnpicklingError)


class DamagedCheckpoint(UserError):
    """A checkpoint that is not what was written."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, memory-mapped: tensors, numbers and names, never code.

    Raises:
        DamagedCheckpoint: if a checksum does not fit or it cannot be read; says what is the matter.
    """
    import torch  # here, because names of checkpoints are wanted without it

    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpoint(f"{path} is damaged: the checksum of {damaged} does not fit")
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except DamagedCheckpoint:
        raise
    except (*_UNREADABLE, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedCheckpoint(f"{path} cannot be read: {reason}") from error
    if not isinstance(content, dict):
        raise DamagedCheckpoint(f"{path} is not a checkpoint but a {type(content).__name__}")
    return content


def newest_checkpoint(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint of a run that is whole, with its content; None if it has none yet.

    A damaged one is passed over, which is said.

    Raises:
        UserError: if there are checkpoints and none is whole.
    """
    damage = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            content = read_checkpoint(path)
        except DamagedCheckpoint as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                damage.append(str(error))
            continue
        if damage:
            print(f"note: {damage[0]}; going on from {path}, of step {content.get('global_step')}")
        return path, content
    if damage:
        raise UserError(f"{'; '.join(damage)}. Move {folder} away to train anew")
    return None


def set_damaged_aside(folder: Path, going_on_from: Path) -> None:
    """Keeps a `last` that is passed over from taking the place of the `previous` that is whole."""
    last = folder / LAST
    if going_on_from != last and last.exists():
        os.replace(last, last.with_name(f"{LAST}.damaged"))
