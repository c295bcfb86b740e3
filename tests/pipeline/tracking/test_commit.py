"""Which code a run was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.tracking import git_tags


def test_tags_name_the_commit_and_whether_files_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        command = ["git", *identity, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    module = tmp_path / "pipeline" / "commit.py"
    module.parent.mkdir()
    module.write_text("1")
    monkeypatch.setattr("pipeline.tracking.commit.__file__", str(module))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_tags() == {}, "outside a repository there is no commit"
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert git_tags() == {"mlflow.source.git.commit": commit, "git.dirty": "false"}
    module.write_text("2")
    assert git_tags() == {"mlflow.source.git.commit": commit, "git.dirty": "true"}
