"""The gallery's command; what the page holds is tested beside the code that draws it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import gallery
from pipeline.config import Config
from pipeline.results import publish
from pipeline.training.fit import fit
from tests.experiments import changed, command_line, make_config, make_data, write_drawings

Start = Callable[[Config], None]


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """An experiment that is trained and, so to speak, evaluated."""
    folder = tmp_path_factory.mktemp("gallery")
    config = make_config(write_drawings(folder / "bucket"), folder, max_steps=2)
    make_data(config)
    deliver(config)
    return config


def deliver(config: Config) -> None:
    run = fit(config).run
    publish(
        config,
        run.best_checkpoint,
        run.curves,
        {"run_folder": str(run.folder), "mlflow_run_id": None},
    )
    config.metrics_path.write_text(json.dumps({"L_R": 1.2345, "L_KL": 0.6789}))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(config: Config) -> None:
        monkeypatch.setattr("sys.argv", ["gallery", *command_line(config)])
        gallery.main()

    return start


def test_the_page_is_of_this_run_and_the_same_again(config: Config, start: Start) -> None:
    start(config)
    page = config.gallery_path.read_bytes()
    for part in ("tiny", "after 2 steps", "1.234", "0.679"):
        assert part in page.decode().replace("\u00a0", " ")
    config.gallery_path.unlink()
    start(config)
    assert config.gallery_path.read_bytes() == page


def refused(start: Start, config: Config, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        start(config)
    assert caught.value.code == 1
    assert not config.gallery_path.exists()
    return capsys.readouterr().err


def test_what_is_missing_is_an_error_that_names_its_command(
    config: Config, start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = replace(config, results_dir=str(tmp_path / "empty"))
    assert "python -m pipeline.train +experiment=tiny" in refused(start, empty, capsys)
    trained = replace(config, results_dir=str(tmp_path / "trained"))
    deliver(trained)
    trained.metrics_path.unlink()
    assert "python -m pipeline.evaluate +experiment=tiny" in refused(start, trained, capsys)


@pytest.mark.parametrize("fractions", [[0.8, 0.2, 0.0], [0.7, 0.29, 0.01]])
def test_too_few_test_drawings_are_an_error(
    config: Config,
    start: Start,
    fractions: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = replace(config, data_dir=str(tmp_path / "data"), results_dir=str(tmp_path / "results"))
    own = changed(own, "ingest", fractions=fractions)
    make_data(own)
    deliver(own)
    assert "a larger third share in ingest.fractions" in refused(start, own, capsys)
