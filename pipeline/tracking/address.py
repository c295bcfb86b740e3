"""Where a run is recorded: the address, whether it can be used, and how it may be shown."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

from pipeline.config import TrackingConfig, UserError

SQLITE = "sqlite:///"
_KNOWN = re.compile(
    r"sqlite:///.|https?://.|(postgresql|mysql|mssql)(\+\w+)?://.|databricks(://|$)"
)
_CREDENTIALS = re.compile(r"(?<=://)(?:[^/:\s]*:[^\s'\"]*|[^/\s'\"]*)@")
"""User and password, or a token, before an address's host; a password may have a slash."""
_PARAMETERS = re.compile(
    r"([?&;](?:\w*(?:password|passwd|secret|token|key)|user)=)[^&;\s'\"]+", re.IGNORECASE
)


def redact(value: Any) -> Any:
    """The same text, or lists and dictionaries of texts, without the credentials in addresses.

    For everything that is printed, or written where others may read it: rather a host too much is
    hidden than a password too little.
    """
    match value:
        case str():
            return _PARAMETERS.sub(r"\1***", _CREDENTIALS.sub("***@", value))
        case dict():
            return {name: redact(content) for name, content in value.items()}
        case list() | tuple():
            return [redact(content) for content in value]
    return value


def tracking_uri(config: TrackingConfig) -> str:
    """The store's address, with the path of a local one made absolute."""
    return f"{SQLITE}{database(config)}" if is_local(config) else config.uri


def is_local(config: TrackingConfig) -> bool:
    """Whether the store is a file."""
    return config.uri.startswith(SQLITE)


def database(config: TrackingConfig) -> Path:
    """The file of a local store."""
    return Path(config.uri.removeprefix(SQLITE)).absolute()


def check_store(config: TrackingConfig) -> None:
    """Raises UserError if the address means nothing to MLflow, or a local store cannot be written.

    A server is not asked: it may be down, and training goes on nevertheless.
    """
    if not _KNOWN.match(config.uri):
        raise UserError(
            f"tracking.uri={redact(config.uri)} is no address of an MLflow store: it must be"
            " sqlite:///FILE, http(s)://HOST, or a database's (postgresql://, mysql://, mssql://)."
            " tracking.enabled=false trains without tracking"
        )
    if not is_local(config):
        return
    file = database(config)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(file, timeout=10)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE write_check (x)")
            connection.rollback()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise UserError(
            f"the tracking store {tracking_uri(config)} cannot be written: {error}."
            " Point tracking.uri elsewhere (tracking.uri=sqlite:///FILE), or train without"
            " tracking (tracking.enabled=false)"
        ) from error
