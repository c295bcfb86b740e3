"""How to train a model again: the command line that a recorded config stands for."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from pipeline.config import Source, UserError
from pipeline.entry import OF_AN_ENCODER, compose
from pipeline.identity import flatten, to_dict

_SECTIONS = ("ingest.", "model.", "loss.", "train.", "source.")
"""What a run is made of; the rest of a config says where it ran."""

_OF_A_MACHINE = ("source.name", "source.root", "source.endpoint_url")


def training_arguments(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Arguments for ingest, prepare and train that compose `config`, but for places.

    Args:
        config: as training.json records it.

    Returns:
        Arguments; and names of recorded fields that this version has no more, and leaves out.

    Raises:
        UserError: if the record is not one of a config.
    """
    try:
        recorded = flatten(config)
        arguments = [
            f"name={_quote(config['name'])}",
            f"categories={_quote(config['categories'])}",
            f"source={config['source']['name']}",
        ]
        known = flatten(to_dict(compose(arguments)))
    except (KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError(f"training.json does not record a config ({error!r})") from error
    changed = [
        name
        for name, value in recorded.items()
        if name.startswith(_SECTIONS) and name not in _OF_A_MACHINE and known.get(name) != value
    ]
    if not config["model"]["conditional"]:  # presets state them all the same
        changed = [name for name in changed if not name.startswith(OF_AN_ENCODER)]
    arguments += [f"{name}={_quote(recorded[name])}" for name in changed if name in known]
    if config["source"]["name"] == Source.local:
        arguments.append("source.root=FOLDER")
    return arguments, [name for name in changed if name not in known]


def command_lines(module: str, arguments: list[str]) -> Iterator[str]:
    """The command for a shell, on lines of their own."""
    yield " \\\n".join([f"python -m {module}", *(f"    {shlex.quote(a)}" for a in arguments)])


def _quote(value: Any) -> str:
    """A value in Hydra's grammar: words as they are, anything else as JSON."""
    if isinstance(value, str) and value.replace("_", "").replace("-", "").isalnum():
        return value
    return json.dumps(value, ensure_ascii=False)
