"""How the studio starts, and why it does not."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import UserError
from pipeline.studio import __main__ as command
from pipeline.studio.models import read_models
from sketch_model.model import SketchRNN
from sketch_model.weights import CONFIG_NAME, save

Refuse = Callable[..., str]


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """The error that the command ends with."""

    def refuse(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["studio", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            command.main()
        assert caught.value.code in (1, 2)
        return " ".join(capsys.readouterr().err.split())

    return refuse


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pipeline.studio.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'torch', 'numpy', 'numba', 'mlflow', 'starlette', 'uvicorn'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("usage: python -m pipeline.studio")
    assert done.stdout.endswith("set()\n")


def test_what_cannot_be_served_is_said(refuse: Refuse, tmp_path: Path) -> None:
    assert "there is no model at nowhere" in refuse("nowhere", "--port", 0)
    unread = refuse("x", "--port", 0, "--tracking-uri", "sqlite:///x")
    assert "--tracking-uri is not read: x is none of MLflow's" in unread
    assert "70000 must be a whole number from 0 to 65535" in refuse("--port", 70000)
    assert "--host 0.0.0.0 names no machine" in refuse("x", "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"cannot listen on 127.0.0.1, port {port}" in refuse("x", "--port", port)
    assert "cannot listen on no.such.host.invalid" in refuse("x", "--host", "no.such.host.invalid")


def test_models_are_found_under_results(
    plain: SketchRNN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"there is no model under results/: train one"):
        read_models([])
    for name in ("suns", "broken"):
        save(plain, Path("results/local") / name / "model")
    (Path("results/local/broken/model") / CONFIG_NAME).write_text("{")
    assert list(read_models([])) == ["local/suns"]
    assert "left out: model results/local/broken/model" in capsys.readouterr().out
    with pytest.raises(UserError, match="broken"):
        read_models(["results/local/broken"])


def test_another_host_is_said_to_be_open_to_all(capsys: pytest.CaptureFixture[str]) -> None:
    with command._bind("127.0.0.2", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.2"
    assert "lets everyone who reaches this machine there draw" in capsys.readouterr().out
