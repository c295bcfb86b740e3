"""Mutation testing of losses, feed and splits: which wrong programs do the tests not notice?

mutmut makes small changes to the code, one at a time, and runs the tests that come by the changed
function. It works on a copy of the project, in which properties are written so that mutmut, which
leaves decorated functions alone, changes them too. What numba compiles is left out: it would be
compiled anew for every change.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import ROOT, describe_machine, report

FILES = (
    "sketch_model/losses.py",
    "sketch_model/mixture.py",
    "sketch_model/row_nll.py",
    "pipeline/permutation.py",
    "pipeline/ingest/split.py",
    *(
        f"pipeline/data/{name}.py"
        for name in ("order", "stream", "loader", "dataset", "recordbatch")
    ),
    *(f"pipeline/data/{name}.py" for name in ("local", "remote", "fetcher", "cache")),
    *(f"pipeline/data/{name}.py" for name in ("metadata", "resident")),
)
TESTS = (
    "tests/sketch_model/test_losses.py",
    "tests/sketch_model/test_mixture.py",
    "tests/sketch_model/test_row_nll.py",
    "tests/pipeline/data",
    "tests/pipeline/test_permutation.py",
    "tests/pipeline/ingest/test_split.py",
)
SKIPPED_TESTS = "not triton and not flipped_bit_in_any_shard and not trains_the_same_model"
"""Slow ones, of what is not changed here or of what quicker ones show too."""
COPIED = ("sketch_model", "pipeline", "tests", "conf", "benchmarks", "jobs")
SKIPPED_FOLDERS = {"__pycache__", "node_modules"}
STATUSES = {
    0: "survived",
    1: "killed",
    3: "killed",
    33: "untested",
    5: "untested",
    None: "left out",
}
"""By mutmut's exit codes; others are of mutants that run for ever or crash, which is noticed."""
PROBE = "sketch_model.losses.x_floored_kl__mutmut_1"
"""Any one: mutmut makes the mutants and measures the tests before it runs the first."""


def prepare(folder: Path) -> None:
    """Copies the project, with properties that can be mutated, and writes mutmut's settings."""
    files = [path for name in COPIED for path in (ROOT / name).rglob("*") if path.is_file()]
    for file in [ROOT / "pyproject.toml", *files]:
        name = str(file.relative_to(ROOT))
        if not SKIPPED_FOLDERS.intersection(file.parts):
            content = undecorate(file.read_text()).encode() if name in FILES else file.read_bytes()
            write(folder / name, content)
    settings = {
        "source_paths": ("sketch_model", "pipeline"),
        "only_mutate": FILES,
        # The words of a message, and what is logged.
        "do_not_mutate_patterns": (r'^\s+f?"', r"_LOG\."),
        "also_copy": ("conf", "benchmarks", "jobs"),
        "pytest_add_cli_args_test_selection": (*TESTS, f"-k={SKIPPED_TESTS}"),
        "pytest_add_cli_args": ("-pno:cacheprovider", "-pno:xdist", "-q"),
        "timeout_constant": ("20",),
        "timeout_multiplier": ("5",),
        "track_dependencies": ("false",),
        "use_git_change_detection": ("false",),
    }
    lines = [f"{key}=" + "\n    ".join(values) for key, values in settings.items()]
    write(folder / "setup.cfg", "\n".join(["[mutmut]", *lines, ""]).encode())


def write(path: Path, content: bytes) -> None:
    """Leaves a file alone that is as it should be, and with it what numba compiled of it."""
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def undecorate(source: str) -> str:
    """The same program with `name = property(name)` after a method instead of a decorator."""
    lines = source.splitlines()
    methods = [
        (node, node.decorator_list[0])
        for each in ast.walk(ast.parse(source))
        if isinstance(each, ast.ClassDef)
        for node in each.body
        if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1
    ]
    for node, decorator in reversed(methods):
        if isinstance(decorator, ast.Name) and decorator.id in {"property", "cached_property"}:
            indent = " " * node.col_offset
            lines.insert(node.end_lineno or 0, f"{indent}{node.name} = {decorator.id}({node.name})")
            del lines[decorator.lineno - 1]
    return "\n".join(lines) + "\n"


def run_mutmut(folder: Path, mutants: list[str], mutmut: Path) -> None:
    """Tests mutants, one at a time; what comes of each is in `folder`, also if it ends early."""
    environment = os.environ | {
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "PATH": f"{mutmut.parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    command = [str(mutmut), "run", "--max-children=1", *mutants]
    with (folder / "mutmut.log").open("w") as log:
        subprocess.run(command, cwd=folder, env=environment, stdout=log, check=True)


def read_results(folder: Path) -> dict[str, dict[str, int | None]]:
    """Exit codes by mutant, by file."""
    return {
        name: json.loads((folder / "mutants" / f"{name}.meta").read_text())["exit_code_by_key"]
        for name in FILES
    }


def choose(folder: Path, files: Sequence[str], num: int, seed: int) -> list[str]:
    """At most `num` mutants of each file, drawn at random, that have not been tested."""
    chosen = []
    for name in files:
        codes = read_results(folder)[name]
        drawn = random.Random(f"{seed} {name}").sample(sorted(codes), min(num, len(codes)))
        chosen += [mutant for mutant in drawn if codes[mutant] is None]
    return chosen


def describe(folder: Path, mutmut: Path) -> str:
    """A table of what became of the mutants, and the changes that no test noticed."""
    lines = [
        "| file | mutants | tested | killed | ran for ever or crashed | survived | untested |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    unnoticed, total = [], Counter[str]()
    for name, codes in read_results(folder).items():
        counts = Counter(STATUSES.get(code, "crashed") for code in codes.values())
        counts["mutants"], counts["tested"] = len(codes), len(codes) - counts["left out"]
        total += counts
        lines.append(_row(f"`{name}`", counts))
        unnoticed += [mutant for mutant, code in codes.items() if code in {0, 33, 5}]
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items())
    shown = [_show(folder, mutant, mutmut) for mutant in unnoticed]
    return "\n".join([machine, "", *lines, _row("together", total), "", *shown])


def _row(name: str, counts: Counter[str]) -> str:
    columns = ("mutants", "tested", "killed", "crashed", "survived", "untested")
    return f"| {name} | {' | '.join(str(counts[column]) for column in columns)} |"


def _show(folder: Path, mutant: str, mutmut: Path) -> str:
    command = [str(mutmut), "show", mutant]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    changes = [line for line in done.stdout.splitlines() if line[:1] in "+-" and line[1:2] == " "]
    return "\n".join([f"{mutant}", *changes, ""])


def main() -> None:
    """Entry point; the report is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", default=FILES, help="whose mutants are tested")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache/mutation", help="of the copy")
    parser.add_argument("--num", type=int, default=10_000, help="mutants of each file at most")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among them")
    parser.add_argument("--again", action="store_true", help="test those again that no test killed")
    arguments = parser.parse_args()
    mutmut = ROOT / ".venv-bench-mutation/bin/mutmut"
    if not mutmut.exists():
        sys.exit(f"{mutmut} does not exist; `make mutation` installs it")
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder)
    run_mutmut(folder, [PROBE], mutmut)
    chosen = choose(folder, arguments.files, arguments.num, arguments.seed)
    if arguments.again:
        results = read_results(folder).values()
        chosen += [
            mutant for codes in results for mutant, code in codes.items() if code not in {1, None}
        ]
    report(f"{len(chosen)} mutants, see {folder}/mutmut.log")
    if chosen:
        run_mutmut(folder, chosen, mutmut)
    print(describe(folder, mutmut))


if __name__ == "__main__":
    main()
