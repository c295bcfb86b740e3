"""Files and folders are whole or not there, whatever goes wrong and whenever."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pipeline.atomic import replacing_file, replacing_folder
from pipeline.config import UserError

ROOT = Path(__file__).parents[2]
Replacing = Callable[[Path], AbstractContextManager[Path]]


def write_file(path: Path, text: str) -> None:
    path.write_text(text)


def write_folder(path: Path, text: str) -> None:
    (path / "inner").mkdir()
    (path / "inner" / "file").write_text(text)


def read(path: Path) -> str:
    return (path / "inner" / "file" if path.is_dir() else path).read_text()


KINDS = [
    pytest.param(replacing_file, write_file, id="file"),
    pytest.param(replacing_folder, write_folder, id="folder"),
]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "target"


def listing(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir()) if target.parent.exists() else []


@pytest.mark.parametrize(("replacing", "write"), KINDS)
def test_content_appears_at_the_end_and_replaces_what_was_there(
    target: Path, replacing: Replacing, write: Callable[[Path, str], None]
) -> None:
    for text in ("first", "second"):
        before = read(target) if target.exists() else None
        with replacing(target) as writing:
            write(writing, text)
            assert (read(target) if target.exists() else None) == before
        assert read(target) == text
        assert listing(target) == ["target"]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt()], ids=["bug", "ctrl-c"])
@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize(("replacing", "write"), KINDS)
def test_an_exception_leaves_everything_as_it_was(
    target: Path,
    replacing: Replacing,
    write: Callable[[Path, str], None],
    existed: bool,
    error: BaseException,
) -> None:
    if existed:
        with replacing(target) as writing:
            write(writing, "before")

    def interrupted() -> None:
        with replacing(target) as writing:
            write(writing, "half")
            raise error

    with pytest.raises(type(error)):
        interrupted()
    assert listing(target) == (["target"] if existed else [])
    assert not existed or read(target) == "before"


@pytest.mark.parametrize("call", ["fsync", "rename", "write"])
@pytest.mark.parametrize(("replacing", "write"), KINDS)
def test_a_full_disk_is_one_clear_error_and_leaves_everything_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
    target: Path,
    replacing: Replacing,
    write: Callable[[Path, str], None],
    call: str,
) -> None:
    with replacing(target) as writing:
        write(writing, "before")

    def no_space(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def only_into_place(source: Path, destination: Path) -> Path:
        """As Path.rename, but nothing new fits under the final name."""
        if Path(destination) == target and ".partial" in source.name:
            no_space()
        os.rename(source, destination)
        return destination

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", no_space)
        elif call == "rename":
            patch.setattr(Path, "replace", only_into_place)
            patch.setattr(Path, "rename", only_into_place)
        with pytest.raises(UserError) as caught, replacing(target) as writing:
            (no_space if call == "write" else write)(writing, "after")
    message = str(caught.value)
    assert str(target) in message
    assert "free some space" in message
    assert read(target) == "before"
    assert listing(target) == ["target"]


@pytest.mark.parametrize(("replacing", "write"), KINDS)
def test_a_place_that_cannot_be_written_is_one_clear_error(
    tmp_path: Path, replacing: Replacing, write: Callable[[Path, str], None]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match="check the folder"),
        replacing(tmp_path / "file" / "target") as writing,
    ):
        write(writing, "x")
    assert (tmp_path / "file").read_text() == "in the way"


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from pipeline.atomic import {replacing} as replacing
from test_atomic import {write} as write
with replacing(Path(sys.argv[1])) as writing:
    write(writing, "half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(("replacing", "write"), KINDS)
def test_what_a_killed_process_left_is_removed_by_the_next(
    target: Path, replacing: Replacing, write: Callable[[Path, str], None]
) -> None:
    with replacing(target) as writing:
        write(writing, "before")
    code = KILLED_WHILE_WRITING.format(
        replacing=replacing.__name__,  # type: ignore[attr-defined]
        write=write.__name__,
    )
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    killed = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        env=os.environ | {"PYTHONPATH": path},
        check=False,
    )
    assert killed.returncode < 0
    assert read(target) == "before"
    assert len(listing(target)) == 2, "it was killed too late to leave anything"
    with replacing(target) as writing:
        write(writing, "after")
    assert read(target) == "after"
    assert listing(target) == ["target"]


def test_a_folder_killed_between_its_two_renames_comes_back(target: Path) -> None:
    """The old folder is aside and the new one not yet in place: the old one is what there is."""
    with replacing_folder(target) as writing:
        write_folder(writing, "before")
    target.rename(target.with_name(".target.old"))
    with pytest.raises(RuntimeError), replacing_folder(target) as writing:
        raise RuntimeError
    assert read(target) == "before"
    assert listing(target) == ["target"]
