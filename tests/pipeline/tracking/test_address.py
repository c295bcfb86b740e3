"""Addresses that can be used, and how they may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import TrackingConfig, UserError
from pipeline.tracking import redact
from pipeline.tracking.address import check_store

SECRET = "pl4nted"


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{SECRET}@host:5000/path",
        f"https://{SECRET}@host/",
        f"https://{SECRET}:@host",
        f"postgresql+psycopg2://user:{SECRET}@host/db",
        f"postgresql://user:a/{SECRET}@host/db",
        f"postgresql://user:a@{SECRET}@host/db",
        f"mysql://host/db?user=u&password={SECRET}&x=1",
        f"https://host/?access_token={SECRET}",
        f"s3://bucket/x?aws_secret_access_key={SECRET}",
        f"python -m pipeline.train 'tracking.uri=https://user:{SECRET}@host' train.seed=1",
        f'{{"uri": "https://user:{SECRET}@host", "other": "kept"}}',
        f"HTTPConnectionPool: https://user:{SECRET}@host/api/2.0 failed",
    ],
)
def test_credentials_are_not_shown(text: str) -> None:
    shown = redact(text)
    assert SECRET not in shown
    assert "***" in shown
    assert redact(shown) == shown
    for kept in ("host", "train.seed=1", '"other": "kept"', "/api/2.0 failed"):
        assert (kept in text) == (kept in shown)


@pytest.mark.parametrize(
    "value",
    [
        "https://host:5000/path",
        "sqlite:////home/me@work/mlflow.db",
        "gs://bucket/folder@2",
        "mail@example.org, see https://example.org",
        12,
        None,
        {"a": ["cat", 1.5, True, {"b": "gs://bucket"}]},
    ],
)
def test_everything_else_is_shown_as_it_is(value: object) -> None:
    assert redact(value) == value


def test_every_text_in_a_config_is_redacted() -> None:
    config = {"tracking": {"uri": f"http://u:{SECRET}@host"}, "roots": [f"s3://k:{SECRET}@b"]}
    assert redact(config) == {"tracking": {"uri": "http://***@host"}, "roots": ["s3://***@b"]}


def test_an_address_that_is_none_of_mlflows_is_an_error_without_its_secret() -> None:
    for uri in (f"htp://u:{SECRET}@host", "mlruns", "file:///tmp/mlruns", "", "sqlite:///"):
        with pytest.raises(UserError, match=r"sqlite:///FILE, http\(s\)://HOST") as caught:
            check_store(TrackingConfig(uri=uri))
        assert SECRET not in str(caught.value)


def test_servers_and_databases_are_not_asked(tmp_path: Path) -> None:
    for uri in ("http://h:1", "https://h", "postgresql://u:p@h/d", "mysql+pymysql://h/d"):
        check_store(TrackingConfig(uri=uri))
    check_store(TrackingConfig(uri=f"sqlite:///{tmp_path}/new/mlflow.db"))
    assert (tmp_path / "new").is_dir()
