"""The plain and the fast way are trained alike but for what is compared, and go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import curves, shards
from sketch_model.config import ModelConfig

TINY = ModelConfig(encoder_size=8, decoder_size=12, N_z=4, M=2)


@pytest.fixture(autouse=True)
def _few_doodles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUICKDRAW_ROOT", raising=False)
    monkeypatch.setattr(shards, "NUM_DOODLES", 200)
    monkeypatch.setattr(curves, "BATCH_SIZE", 10)
    monkeypatch.setattr(curves, "VALIDATE_EVERY", 1)


def test_curves_go_on_and_are_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    begun = curves.train_all(tmp_path, 1, ["cat"], TINY)
    found = curves.train_all(tmp_path, 2, ["cat"], TINY)
    assert {row["variant"] for row in found} == set(curves.VARIANTS)
    for variant in curves.VARIANTS:
        before = [row for row in begun if row["variant"] == variant]
        after = [row for row in found if row["variant"] == variant]
        assert [row["sketches"] for row in after] == [10, 20]
        assert before == after[:1]
        assert after[1]["L_R"] < after[0]["L_R"]
        assert after[1]["L_R"] == pytest.approx(after[1]["L_s"] + after[1]["L_p"])
    assert len({row["L_R"] for row in found}) == len(found)
    curves.write_curves(found, tmp_path / "curves.csv")
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 1 + len(found)
    curves.plot(found, "here", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "| cat, plain | 20 |" in curves.format_ends(found)


def test_the_small_model_is_the_configured_one() -> None:
    from omegaconf import OmegaConf

    configured = OmegaConf.load(Path(__file__).parents[2] / "conf" / "model" / "small.yaml")
    assert {name: getattr(curves.SMALL, name) for name in configured} == dict(configured)
