"""Configs and manifests as plain data, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dictionaries, lists and strings of a dataclass, as JSON can hold them."""
    return dict(json.loads(json.dumps(asdict(config))))


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"model": {"M": 20}}` as `{"model.M": 20}`."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        is_group = isinstance(value, dict) and value
        flat |= flatten(value, f"{path}.") if is_group else {path: value}
    return flat


def fingerprint(content: Any) -> str:
    """SHA-256 of a JSON-like value, in hexadecimal, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
