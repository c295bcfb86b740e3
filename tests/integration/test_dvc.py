"""dvc.yaml against the code: each stage depends on what it uses, and reruns when that changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import hydra
import pytest
import yaml

from pipeline.entry import CONF

ROOT = Path(__file__).parents[2]
PACKAGES = ("pipeline", "sketch_model")
ENTRY_POINTS = {
    "ingest": "pipeline.ingest.__main__",
    "prepare": "pipeline.prepare",
    "train": "pipeline.train",
    "evaluate": "pipeline.evaluate",
    "gallery": "pipeline.gallery",
}


def load_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def stages() -> dict[str, dict[str, Any]]:
    stages = load_yaml(ROOT / "dvc.yaml")["stages"]
    return {name: stage.get("do", stage) for name, stage in stages.items()}


def source_file(module: str) -> str:
    path = Path(*module.split("."))
    is_package = (ROOT / path).is_dir()
    return str(path / "__init__.py" if is_package else path.with_suffix(".py"))


@pytest.fixture(scope="module")
def import_graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES)


@pytest.mark.parametrize("stage", ENTRY_POINTS)
def test_a_stage_lists_exactly_the_modules_that_it_imports(
    stage: str, import_graph: grimp.ImportGraph
) -> None:
    entry = ENTRY_POINTS[stage]
    imported = {source_file(m) for m in import_graph.find_upstream_modules(entry) | {entry}}
    listed = {dep for dep in stages()[stage]["deps"] if dep.startswith(PACKAGES)}
    folders = {dep for dep in listed if (ROOT / dep).is_dir()}
    in_folders = {f for f in imported if any(f.startswith(f"{folder}/") for folder in folders)}

    assert imported - in_folders == listed - folders
    for folder in folders:
        paths = [p.relative_to(ROOT) for p in (ROOT / folder).rglob("*.py")]
        modules = {str(path) for path in paths if path.name != "__init__.py"}
        assert modules <= imported, f"{folder} is more than it imports"


def test_the_packages_import_nothing_when_they_are_imported() -> None:
    """Or every stage would depend on all that they import, which no stage lists."""
    script = "import sys, sketch_model, pipeline; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert {m for m in modules if m.startswith(PACKAGES)} == set(PACKAGES)


@pytest.mark.parametrize("stage", ["ingest", "prepare", "train", "evaluate", "gallery"])
def test_a_stage_lists_every_config_file_that_it_is_composed_from(stage: str) -> None:
    """Those excepted whose values a stage does not read (see below)."""
    values = load_yaml(ROOT / "conf" / "repro.yaml")
    described = stages()[stage]
    overrides = re.findall(r"(\+?\w+)=\$\{(\w+)\}", described["cmd"])
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        composed = hydra.compose(
            "config",
            [f"{key}={values[name]}" for key, name in overrides],
            return_hydra_config=True,
        )
    choices = {
        group: choice
        for group, choice in composed.hydra.runtime.choices.items()
        if not group.startswith("hydra/")
    }
    used = {f"conf/{group}/{choice}.yaml" for group, choice in choices.items()}
    listed = set()
    for entry in described["params"]:
        (template,) = entry
        listed.add(re.sub(r"\$\{(\w+)\}", lambda match: str(values[match[1]]), template))
    assert "conf/config.yaml" in listed
    assert listed - {"conf/config.yaml"} == used - UNREAD[stage]


SINGLE = {"conf/trainer/single.yaml"}
"""What it is computed on changes no result."""
OF_TRAINING = {
    *SINGLE,
    "conf/source/doodles.yaml",
    "conf/model/small.yaml",
    "conf/recipe/magenta.yaml",
}
UNREAD = {
    "ingest": {*SINGLE, "conf/model/base.yaml", "conf/recipe/magenta.yaml"},
    "prepare": {*SINGLE, "conf/model/small.yaml", "conf/recipe/magenta.yaml"},
    "train": {
        *SINGLE,
        "conf/source/doodles.yaml",
    },  # by way of the manifest, which holds the source
    "evaluate": OF_TRAINING,
    "gallery": OF_TRAINING,
}
"""Files that Hydra composes for a stage, but whose fields cannot change what it makes.

The model, once trained, says itself what it is."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project whose default is small, after one `dvc repro`."""
    folder = tmp_path_factory.mktemp("project")
    for name in (*PACKAGES, "conf", ".dvc/config", "dvc.yaml", ".dvcignore", ".gitignore"):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, target)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    replace(folder / "conf/repro.yaml", r"experiment: \w+", "experiment: smoke")
    replace(folder / "conf/repro.yaml", r"model: \w+", "model: tiny")
    replace(folder / "conf/repro.yaml", r"categories: .*", "categories: [cat, sun]")
    replace(folder / "conf/source/doodles.yaml", r"num_drawings: \d+", "num_drawings: 120")
    replace(folder / "conf/config.yaml", r"enabled: true", "enabled: false")
    assert repro(folder) == EVERYTHING
    return folder


EVERYTHING = ["ingest@cat", "ingest@sun", "prepare", "train", "evaluate", "gallery"]


def replace(path: Path, pattern: str, replacement: str) -> None:
    text, num_replaced = re.subn(pattern, replacement, path.read_text(), count=1)
    assert num_replaced == 1, f"{pattern} is not in {path}"
    path.write_text(text)


def repro(folder: Path) -> list[str]:
    """Runs `dvc repro` and gives the stages that ran, in order."""
    binaries = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the usual case: bytecode beside the modules
    result = subprocess.run(
        ["dvc", "repro"], check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return sorted(re.findall(r"Running stage '([\w@]+)'", result.stdout), key=EVERYTHING.index)


@pytest.mark.timeout(600)
def test_repro_runs_exactly_what_a_change_touches(project: Path) -> None:
    (project / "README.md").write_text("Nothing depends on this.\n")
    assert repro(project) == []

    # A module of the page, and one of the drawings on it.
    append(project / "pipeline/report/page.py", "# a comment\n")
    append(project / "sketch_model/svg.py", "# a comment\n")
    assert repro(project) == ["gallery"]

    # The same shards and metrics come out, so that nothing after the ingest and after the
    # evaluation has to run.
    append(project / "pipeline/ingest/formats/ndjson.py", "# a comment\n")
    append(project / "pipeline/scoring.py", "# a comment\n")
    assert repro(project) == ["ingest@cat", "ingest@sun", "evaluate"]

    # The run of before is kept aside and another trained, to the same weights, bit for bit.
    append(project / "pipeline/training/module.py", "# a comment\n")
    assert repro(project) == ["train"]
    assert len(list((project / "runs").glob("smoke-*.replaced-1"))) == 1

    replace(project / "conf/recipe/magenta.yaml", "w_KL: 0.5", "w_KL: 0.25")
    assert repro(project) == ["train", "evaluate", "gallery"]


def append(path: Path, text: str) -> None:
    assert path.exists()
    path.write_text(path.read_text() + text)
