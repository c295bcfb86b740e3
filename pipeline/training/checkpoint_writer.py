"""Writes checkpoints: whole or not at all, and two of them.

Apart from `checkpoint_files`, so that reading them takes no Lightning, which takes long to import.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from pipeline.atomic import replacing_file
from pipeline.training.checkpoint_files import LAST, PREVIOUS


class CheckpointFiles(TorchCheckpointIO):
    """Writes a file beside the old one, syncs it and renames it; `last` becomes `previous` first.

    A file is a zip archive, as `torch.save` makes it, with a CRC-32 of each of its parts.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Writes a checkpoint; what was there before is intact until it is complete.

        Raises:
            UserError: if it cannot be written, for example because the disk is full.
        """
        target = Path(path)
        with replacing_file(target) as writing:
            _write(checkpoint, writing)
            if target.name == LAST and target.exists():
                os.replace(target, target.with_name(PREVIOUS))


def _write(checkpoint: dict[str, Any], path: Path) -> None:
    """`torch.save`, which hides what a disk says behind an error of its own."""
    try:
        with path.open("wb") as file:
            torch.save(checkpoint, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
