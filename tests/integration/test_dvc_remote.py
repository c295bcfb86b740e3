"""A finished `dvc repro` goes from one clone to another by a remote, and is not run again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipeline import buckets

ROOT = Path(__file__).parents[2]
SETTINGS = {"source": "doodles", "experiment": "smoke", "categories": ["cat"]}
RESULTS = "results/doodles/smoke"
OUTS = {
    "data/doodles/shards/cat/train-00000.arrow": bytes(range(256)) * 64,
    "data/doodles/shards/cat/category.json": b'{"category": "cat"}',
    "data/doodles/manifests/smoke.json": b'{"categories": ["cat"]}',
    f"{RESULTS}/model/weights.safetensors": bytes(range(255, -1, -1)) * 64,
    f"{RESULTS}/model/config.json": b'{"N_z": 8}',
    f"{RESULTS}/curves.csv": b"step,train/L_R\n1,0.5\n",
    f"{RESULTS}/gallery.html": b"<!doctype html><title>cat</title>",
}
"""What the stages would leave; that they leave it is shown in test_dvc.py."""
METRICS = f"{RESULTS}/metrics.json"
"""The one result that git keeps."""


def run(folder: Path, *command: str) -> str:
    binaries = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        # Or gcsfs asks over gRPC what type a bucket is, which an emulator never answers.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own stages with small results, recorded and committed as after a repro."""
    folder = tmp_path_factory.mktemp("project") / "first"
    kept = ("conf", "pipeline", "sketch_model", ".dvc/config", ".dvcignore", ".gitignore")
    for name in (*kept, "dvc.yaml"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    settings = yaml.safe_load((folder / "conf/repro.yaml").read_text()) | SETTINGS
    (folder / "conf/repro.yaml").write_text(yaml.safe_dump(settings))
    for name, content in (OUTS | {METRICS: b'{"L_R": 0.5}'}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    run(folder, "git", "init", "--quiet", "--initial-branch=main")
    run(folder, "dvc", "commit", "--force", "--quiet")
    run(folder, "git", "add", ".")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    run(folder, "git", *author, "commit", "--quiet", "--message=A finished repro")
    return folder


@pytest.fixture(params=["folder", "bucket"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The lines of .dvc/config.local that say where to push to and pull from."""
    heading = "[core]\nremote = shared\n['remote \"shared\"']\n"
    if request.param == "folder":
        yield f"{heading}url = {tmp_path / 'remote'}\n"
        return
    pytest.importorskip("dvc_gs")
    with buckets.serving_bucket() as bucket:
        yield (
            f"{heading}url = gs://{buckets.NAME}/dvc\n"
            f"endpointurl = {bucket.url}\nallow_anonymous_login = true\n"
        )


def test_what_one_clone_pushes_another_pulls(finished: Path, remote: str, tmp_path: Path) -> None:
    config = Path(".dvc/config.local")
    (finished / config).write_text(remote)
    assert run(finished, "dvc", "push").endswith("files pushed")

    second = tmp_path / "second"
    run(tmp_path, "git", "clone", "--quiet", str(finished), str(second))
    assert not any((second / name).exists() for name in OUTS)
    (second / config).write_text(remote)
    run(second, "dvc", "pull")
    assert {name: (second / name).read_bytes() for name in OUTS} == OUTS
    assert run(second, "dvc", "status") == "Data and pipelines are up to date."
    assert run(second, "git", "status", "--porcelain") == ""
