"""The folder that MLflow serves from, and a real server that has nothing of this repository."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
import yaml

from pipeline.serving import pyfunc
from sketch_model.config import Condition, DataSpec, ModelConfig
from sketch_model.magenta import load_google_json
from sketch_model.model import SketchRNN

STARTUP_S = 120
NUM_AT_ONCE = 200
QUEUE = 40
"""Requests that the server takes at once."""
DRAWING = [[30, 0, 0], [0, 20, 1], [-10, -10, 0], [5, 5, 1]]
Answer = tuple[int, Any]


def tiny_model(**options: Any) -> SketchRNN:
    torch.manual_seed(0)
    config = ModelConfig(encoder_size=6, decoder_size=8, N_z=4, M=3, **options)
    data = DataSpec(
        offset_scale=20.0, N_max=30, categories=("cat", "dog's house"), source="quickdraw"
    )
    return SketchRNN(config, data).eval()


@pytest.fixture(scope="module")
def model() -> SketchRNN:
    return tiny_model(condition=Condition.category)


@pytest.fixture(scope="module")
def folder(model: SketchRNN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "model"
    pyfunc.build(model, folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    """Its address. Its environment has the libraries that are installed here, and no more."""
    programs = make_environment(folder.with_name("environment"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(programs / "mlflow"), "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {
        "PATH": f"{programs}:{environment['PATH']}",
        "UVICORN_LIMIT_CONCURRENCY": str(QUEUE),
    }
    log = folder.with_name("server.log")
    with (
        log.open("w") as output,
        subprocess.Popen(
            command,
            env=environment,
            cwd=folder.parent,
            stdout=output,
            stderr=output,
            start_new_session=True,
        ) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            deadline_s = time.monotonic() + STARTUP_S
            while not answers(address):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline_s, log.read_text()
                time.sleep(0.1)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def make_environment(folder: Path) -> Path:
    """Programs of a Python that finds the installed libraries, but not what is being worked on."""
    venv.create(folder, symlinks=True)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # The .pth files of a folder that a .pth file names, one of which leads here, are not read.
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for name, module, main in (("mlflow", "mlflow.cli", "cli"), ("uvicorn", "uvicorn", "main")):
        script = folder / "bin" / name
        script.write_text(f"#!{folder}/bin/python\nfrom {module} import {main}\n{main}()\n")
        script.chmod(0o755)
    missing = [f"{folder}/bin/python", "-c", "import sketch_model"]
    tried = subprocess.run(missing, cwd=folder, capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in tried.stderr
    return folder / "bin"


def answers(address: str) -> bool:
    try:
        urllib.request.urlopen(f"{address}/ping", timeout=1).close()
    except OSError:
        return False
    return True


def post(address: str, content: Any) -> Answer:
    """Status and content of the answer to a request; text is sent as it is."""
    body = content if isinstance(content, str) else json.dumps({"inputs": content})
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{address}/invocations", body.encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def assert_drawn(
    given: list[list[list[float]]], expected: list[np.ndarray], model: SketchRNN
) -> None:
    """The same to a thousandth of the offsets' scale: sums are rounded in another order."""
    atol = 1e-3 * model.data.offset_scale
    assert len(given) == len(expected)
    for drawing, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(np.reshape(drawing, (-1, 3)), other, rtol=0, atol=atol)


def test_the_server_draws_what_the_model_draws(server: str, model: SketchRNN) -> None:
    drawing = np.array(DRAWING, np.float32)
    row = {"category": "dog's house", "temperature": 0.7, "seed": 5}
    options: dict[str, Any] = dict(row)
    status, (sampled, completed, reconstructed) = post(
        server,
        [
            row | {"task": "sample", "num": 3},
            row | {"task": "complete", "drawing": DRAWING, "num": 2},
            row | {"task": "reconstruct", "drawing": DRAWING},
        ],
    )
    assert status == 200
    assert_drawn(sampled["drawings"], model.sample(3, **options), model)
    assert_drawn(completed["drawings"], model.sample(2, prefix=drawing, **options), model)
    assert_drawn(reconstructed["drawings"], model.reconstruct([drawing], **options), model)
    assert [drawing[: len(DRAWING)] for drawing in completed["drawings"]] == [DRAWING, DRAWING]
    for answer in (sampled, completed, reconstructed):
        assert answer["seed"] == 5
        for svg in answer["svgs"]:
            assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert 'class="given"' in completed["svgs"][0]
    assert 'class="given"' not in sampled["svgs"][0]


def test_a_seed_that_is_not_given_is_drawn_and_told(server: str) -> None:
    row = {"task": "sample", "category": "cat"}
    _, (first, second) = post(server, [row, row])
    assert first["seed"] != second["seed"]
    assert post(server, [row | {"seed": first["seed"]}])[1] == [first]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"task": "paint"}, "task='paint' must be one of reconstruct, complete, sample"),
        ({}, "task"),
        ({"task": "sample", "category": "whale"}, "'whale' is not one that was trained: ('cat',"),
        ({"task": "sample", "category": None}, "give category=, of ('cat',"),
        ({"task": "sample", "drawing": DRAWING}, "task=sample reads no drawing"),
        ({"task": "sample", "temperature": 0}, "temperature=0.0 must be above 0"),
        ({"task": "sample", "temperature": float("inf")}, "temperature=inf must be above 0 and fi"),
        ({"task": "sample", "num": 0}, "num=0 must be at least 1"),
        ({"task": "sample", "num": 1001}, "may ask for 1000 drawings, got 1001"),
        ({"task": "sample", "num": "three"}, "Input should be a valid integer"),
        ({"task": "sample", "seed": -1}, "seed=-1 must lie between 0 and"),
        ({"task": "sample", "nums": 3}, "Extra inputs are not permitted"),
        ({"task": "complete"}, "task=complete needs a drawing"),
        ({"task": "reconstruct", "drawing": []}, "a drawing needs at least one row, got none"),
        ({"task": "complete", "drawing": [[1, 2]]}, "drawing[0] must be (dx, dy, pen_lifted)"),
        ({"task": "complete", "drawing": [[1, 2, 3]]}, "(pen_lifted) must be 0 or 1, got 3.0"),
        ({"task": "complete", "drawing": [[1, "a", 0]]}, "drawing.0.1"),
        ({"task": "complete", "drawing": [[1e300, 0, 0]]}, "must be finite"),
        ({"task": "complete", "drawing": [[float("nan"), 0, 0]]}, "must be finite"),
        ({"task": "complete", "drawing": "<svg/>"}, "Input should be a valid list"),
        ({"task": "reconstruct", "drawing": [[1, 0, 0]] * 31}, "31 points, more than the model's"),
        ({"task": "complete", "drawing": [[1, 0, 0]] * 30}, "30 points leaves nothing to draw"),
    ],
)
def test_a_row_that_cannot_be_drawn_is_refused_with_the_reason(
    server: str, row: dict[str, Any], reason: str
) -> None:
    status, text = post(server, [{"category": "cat"} | row])
    assert status == 400
    assert reason in text
    assert "Traceback" not in text


def test_rows_that_ask_for_less_than_nothing_do_not_make_room(server: str) -> None:
    row = {"task": "sample", "category": "cat"}
    status, text = post(server, [row | {"num": 1001}, row | {"num": -500}])
    assert (status, "may ask for 1000 drawings" in text) == (400, True)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"inputs": [{"task": ', "Ensure that input is a valid JSON"),
        ('{"inputs": {"task": "sample"}}', "Expected list"),
        ('{"rows": []}', "must be a dictionary with 'inputs' key"),
    ],
)
def test_a_request_that_is_none_is_refused(server: str, body: str, reason: str) -> None:
    status, text = post(server, body)
    assert status == 400
    assert reason in text


def test_many_at_once_are_answered_or_turned_away(server: str) -> None:
    """Those whom the queue has room for get what each of them gets alone."""

    def ask(seed: int) -> Answer:
        return post(server, [{"task": "sample", "category": "cat", "seed": seed, "num": 10}])

    with ThreadPoolExecutor(NUM_AT_ONCE) as pool:
        results = list(pool.map(ask, range(NUM_AT_ONCE)))
    statuses = Counter(status for status, _ in results)
    assert set(statuses) <= {200, 503}
    assert statuses[200] > 0
    answered = [seed for seed, (status, _) in enumerate(results) if status == 200]
    for seed in answered[:: len(answered) // 5 + 1]:
        assert ask(seed) == results[seed]


def test_the_folder_says_what_it_is(folder: Path) -> None:
    description = yaml.safe_load((folder / "MLmodel").read_text())
    assert description["metadata"] == {
        "data": "quickdraw",
        "categories": ["cat", "dog's house"],
        "N_max": 30,
        "offset_scale": 20.0,
        "conditional": True,
        "attribution": "Quick, Draw! data by Google, licensed under CC BY 4.0",
    }
    (inputs,) = json.loads(description["signature"]["inputs"])
    required = {name for name, field in inputs["properties"].items() if field["required"]}
    assert required == {"task"}
    requirements = dict(
        line.split("==") for line in (folder / "requirements.txt").read_text().split()
    )
    assert requirements["torch"] == torch.__version__.partition("+")[0]
    assert requirements["numpy"] == np.__version__
    assert not list(folder.rglob("*.pkl")), "code is read, not unpickled"


def test_the_example_is_one_that_the_model_answers(folder: Path, server: str) -> None:
    example = (folder / "serving_input_example.json").read_text()
    status, answers = post(server, example)
    assert status == 200
    assert [len(answer["drawings"]) for answer in answers] == [2, 1, 1]


def test_a_decoder_of_googles_is_a_model_too(google_weights_root: Path, tmp_path: Path) -> None:
    model = load_google_json(google_weights_root / "sheep.gen.json")
    pyfunc.build(model, tmp_path / "model")
    import mlflow

    from pipeline.serving.service import DrawingService

    service = DrawingService()
    service.load_context(SimpleNamespace(artifacts={"model": tmp_path / "model/artifacts/model"}))
    drawing, row = np.array(DRAWING, np.float32), {"seed": 1, "temperature": 0.2}
    sampled, completed = service.predict(
        [{"task": "sample"} | row, {"task": "complete", "drawing": DRAWING} | row]
    )
    assert_drawn(sampled.drawings, model.sample(seed=1, temperature=0.2), model)
    assert_drawn(completed.drawings, model.sample(seed=1, temperature=0.2, prefix=drawing), model)
    assert len(sampled.drawings[0]) > 10
    with pytest.raises(mlflow.MlflowException, match="a decoder-only model has no encoder"):
        service.predict([{"task": "reconstruct", "drawing": DRAWING}])
