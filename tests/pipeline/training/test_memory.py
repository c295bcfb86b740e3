from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from pipeline.training.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
num_bytes = 16 << 20
b"x" * num_bytes  # freed at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    b"x" * num_bytes
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(keep: str) -> int:
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, keep], capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_not_faulted_in_again() -> None:
    assert count_page_faults("keep") < count_page_faults("return") / 100
