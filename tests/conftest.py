"""What all tests share: checked annotations, where real drawings are, and a browser."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Tests run side by side, and threads of several processes wait for each other at every product.
# torch reads this when it is imported, in the processes that tests start too.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# MLflow's servers would start seven processes of their own for jobs that nobody asks for.
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")

import hypothesis
import pytest
import torch
from jaxtyping import install_import_hook

# Triton reads this when it is imported. Its kernels are then interpreted, which needs no GPU.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

import tests.typechecking  # noqa: F401  # the hook looks it up by name

install_import_hook("sketch_model", "tests.typechecking.checked")

# How fast a machine is decides no test.
hypothesis.settings.register_profile(
    "patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("patient")

CHROMIUM = Path("/usr/bin/chromium")


def pytest_collection() -> None:
    """Tests are about to be imported: see pipeline/importing.py."""
    gc.disable()


def pytest_collection_finish() -> None:
    """They are."""
    gc.freeze()
    gc.enable()


def _folder_from_environment(variable: str, what: str) -> Path:
    root = os.environ.get(variable)
    if not root:
        pytest.skip(f"{variable} is not set: it names {what}")
    path = Path(root)
    if not path.is_dir():
        pytest.fail(f"{variable}={root} is not a folder")
    return path


@pytest.fixture(scope="session")
def quickdraw_root() -> Path:
    """Folder of real drawings in the layout of the public bucket."""
    return _folder_from_environment(
        "QUICKDRAW_ROOT", "a folder laid out like gs://quickdraw_dataset"
    )


@pytest.fixture(scope="session")
def google_weights_root() -> Path:
    """Folder of the decoders that Google released for its browser demos."""
    return _folder_from_environment("GOOGLE_WEIGHTS_ROOT", "a folder of *.gen.json decoders")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Tests run side by side; more threads than cores slow all of them down."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _denormals_are_numbers() -> None:
    """Training has the processor flush them to zero, in the tests that follow it too."""
    torch.set_flush_denormal(False)


@pytest.fixture
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright.

    For one test only: while it is open, Playwright keeps an event loop running in this thread, and
    other tests' asynchronous libraries (gcsfs) wait for ever.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with (
        api.sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-background-networking"],
        ) as browser,
    ):
        yield browser
