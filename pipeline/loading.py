"""The one place where a composed Hydra config becomes dataclasses, or an error for people."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config, UserError


def load(composed: DictConfig) -> Config:
    """Makes dataclasses of what Hydra composed.

    Raises:
        UserError: for a missing or unknown field, and for a value out of its bounds.
    """
    if OmegaConf.is_missing(composed, "name") or OmegaConf.is_missing(composed, "categories"):
        raise UserError(
            "no experiment is chosen: add +experiment=NAME (a file of conf/experiment),"
            " or give both name=... and 'categories=[...]'"
        )
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), composed))
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    for path in _additions(composed, Config):
        *parents, key = path.split(".")
        raise UserError(_unknown_field(parents, key))
    assert isinstance(config, Config)
    return config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """The same config with other values in some fields, as `{"loss.w_KL": 0.5}`.

    Raises:
        UserError: as `load`.
    """
    node = OmegaConf.structured(config)
    try:
        for path, value in values.items():
            OmegaConf.update(node, path, value)
        changed = OmegaConf.to_object(node)
    except OmegaConfBaseException as error:
        raise UserError(explain(error)) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    assert isinstance(changed, Config)
    return changed


def explain(error: BaseException) -> str:
    """One line on what is wrong with a field or its value, with the choices there are."""
    message = str(error).splitlines()[0]
    full_key = getattr(error, "full_key", None)
    if full_key is None:
        return message
    *parents, key = str(full_key).split(".")
    if parents[:2] == ["search", "space"] and "Cannot merge" in message:
        return (
            f"{full_key} is a range in one place and a list in another: take the first away with"
            f" ~{full_key}, and add the other with +{full_key}=..."
        )
    if key.split("[")[0] in _field_names(parents):
        return f"{full_key}: {message}"
    return _unknown_field(parents, key)


def _unknown_field(parents: list[str], key: str) -> str:
    choices = _field_names(parents)
    nearest = difflib.get_close_matches(key, choices, n=1, cutoff=0.5)
    hint = f"did you mean {'.'.join([*parents, nearest[0]])}? " if nearest else ""
    return f"{'.'.join([*parents, key])} is not a field: {hint}There are: {', '.join(choices)}"


def _additions(composed: DictConfig, schema: type, prefix: str = "") -> Iterator[str]:
    """Paths that `+path=value` added although no field has that name."""
    names = {field.name for field in fields(schema)}
    for key in map(str, composed):
        node = composed._get_node(key)
        if key not in names:
            yield f"{prefix}{key}"
        elif isinstance(node, DictConfig) and is_dataclass(inner := OmegaConf.get_type(node)):
            yield from _additions(node, inner, f"{prefix}{key}.")


def _field_names(parents: list[str]) -> list[str]:
    node: Any = OmegaConf.structured(Config)
    for parent in parents:
        if parent not in node:
            return []
        node = node._get_node(parent)
    return sorted(str(key) for key in node) if isinstance(node, DictConfig) else []
