"""What tells runs apart, and folders that hold something else than a run should find."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.config import Config, UserError
from pipeline.manifest import Manifest
from pipeline.training import run as run_module
from pipeline.training.fit import fit
from pipeline.training.run import Run, code_fingerprint, differences, open_run
from tests.experiments import changed


@pytest.fixture
def short(config: Config) -> Config:
    return changed(config, "train", max_steps=2)


def reopen(config: Config) -> Run:
    return open_run(config, Manifest.read(config.manifest_path))


def test_a_checkpoint_of_another_config_is_one_error_with_both_sides(short: Config) -> None:
    other = changed(changed(short, "train", seed=5), "loss", w_KL=0.25)
    run, other_run = fit(short).run, fit(other).run
    shutil.copyfile(other_run.last_checkpoint, run.last_checkpoint)
    with pytest.raises(UserError) as caught:
        fit(changed(short, "train", max_steps=4))
    message = str(caught.value)
    for part in (str(run.last_checkpoint), "loss.w_KL was 0.25 and is 0.5", f"Move {run.folder}"):
        assert part in message
    assert "train.seed was 5 and is 0" in message
    assert "train.batch_size" not in message, "what is equal is no difference"


def test_a_folder_of_another_config_is_one_error_with_both_sides(short: Config) -> None:
    run = fit(short).run
    content = json.loads((run.folder / "run.json").read_text())
    content["identity"]["model"]["M"] = 99
    (run.folder / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.M was 99 and is 3.*Move the folder away"):
        fit(short)


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "{}", '{"format_version": 1}', '{"format_version": 1, "identity": {}, "x": 1}'],
)
def test_a_damaged_run_json_is_one_error(short: Config, damage: str) -> None:
    path = fit(short).run.folder / "run.json"
    path.write_text(damage)
    with pytest.raises(UserError, match=r"run\.json cannot be read.*Move .* away to train anew"):
        fit(short)


def test_a_run_of_another_format_is_refused_by_name(short: Config) -> None:
    path = fit(short).run.folder / "run.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 7'))
    with pytest.raises(UserError, match="format version 7, not 2"):
        fit(short)


def test_a_run_says_when_the_code_has_changed_and_may_begin_anew(
    short: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = fit(short).run
    curves = first.curves.read_text()
    monkeypatch.setattr(run_module, "code_fingerprint", lambda: "other code")
    assert fit(short).was_finished
    assert "the code has changed" in capsys.readouterr().out
    assert reopen(short).folder.exists()

    anew = changed(short, "train", max_steps=2)
    anew.restart_if_code_changed = True
    for number in (1, 2):
        monkeypatch.setattr(run_module, "code_fingerprint", lambda n=number: f"code {n}")
        result = fit(anew)
        assert not result.was_finished
        assert result.run.folder == first.folder
        aside = first.folder.with_name(f"{first.folder.name}.replaced-{number}")
        assert str(aside) in capsys.readouterr().out
        assert (aside / "last.ckpt").exists()
        assert (aside / "curves.csv").read_text() == curves
    assert fit(anew).was_finished, "the same code needs no new training"


def test_the_code_s_fingerprint_follows_what_a_model_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = run_module._ROOT
    for folder in ("sketch_model", "pipeline"):
        shutil.copytree(root / folder, tmp_path / folder)
    monkeypatch.setattr(run_module, "_ROOT", tmp_path)
    before = code_fingerprint()
    (tmp_path / "pipeline" / "gallery.py").write_text("# another gallery")
    assert code_fingerprint() == before
    for path in ("sketch_model/recurrent/fused.py", "pipeline/data/order.py"):
        with (tmp_path / path).open("a") as file:
            file.write("\n# changed\n")
        assert code_fingerprint() != before
        before = code_fingerprint()


def test_differences_print_both_sides_and_nothing_that_is_equal() -> None:
    old = {"model": {"M": 20, "N_z": 8}, "data": "abc"}
    new = {"model": {"M": 20, "N_z": 9}, "data": "abc", "seed": 1}
    assert differences(old, new) == "model.N_z was 8 and is 9, seed was None and is 1"
