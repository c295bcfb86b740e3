"""The server: what it answers, what it refuses and why, and what it does under load."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from pipeline.studio.app import make_app
from pipeline.studio.questions import MAX_BODY_BYTES, MAX_POINTS
from sketch_model.geometry import fit_to_canvas
from sketch_model.model import SketchRNN
from sketch_model.strokes import polylines_to_stroke3
from tests.sketch_model.sketches import N_MAX

URL = "http://127.0.0.1"
LINE = [[100, 100], [600, 200]]
HOOK = [[400, 500], [400, 700], [600, 700]]
TOLD = {"visitor": "v", "model": "told", "category": "sun"}
PLAIN = {"visitor": "v", "model": "plain"}


@pytest.fixture(scope="module")
def app(told: SketchRNN, plain: SketchRNN) -> ASGIApp:
    return make_app({"told": told, "plain": plain}, hosts=["127.0.0.1", "[::1]"], max_waiting=4)


@pytest.fixture(scope="module")
def client(app: ASGIApp) -> Iterator[TestClient]:
    with TestClient(app, base_url=URL) as client:
        yield client


def ask(client: TestClient, path: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    question = {key: value for part in (*parts, more) for key, value in part.items()}
    response = client.post(path, json=question)
    assert response.status_code == 200, response.text
    assert float(response.headers["Server-Timing"].removeprefix("draw;dur=")) > 0
    return dict(response.json())


def test_the_page_has_all_it_needs_and_may_do_no_more(client: TestClient) -> None:
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    addresses = set(re.findall(r"https?://[^\s\"'`]*", response.text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\son\w+=| style=",
                         response.text)  # fmt: skip
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert policy.count("'sha256-") == 2


def test_models_say_what_they_can_do(client: TestClient) -> None:
    told, plain = client.get("/models").json()
    assert told["name"] == "told"
    assert told["categories"] == ["cat", "sun"]
    assert (told["is_told"], told["has_encoder"]) == (True, True)
    assert (plain["is_told"], plain["has_encoder"]) == (False, False)


@pytest.mark.parametrize("model", [TOLD, PLAIN])
def test_a_drawing_is_completed_in_variants(client: TestClient, model: dict[str, Any]) -> None:
    options = {"strokes": [LINE, HOOK], "seed": 3, "temperature": 0.4}
    one = ask(client, "/complete", model, options)
    three = ask(client, "/complete", model, options, num=3)
    np.testing.assert_allclose(np.concatenate(one["given"]), [*LINE, *HOOK], atol=7)
    assert three["drawings"][0] == one["drawings"][0]
    assert one["drawings"][0] not in three["drawings"][1:]
    num_given = len(LINE) + len(HOOK) - 1
    assert all(sum(map(len, d)) == N_MAX - num_given for d in three["drawings"])


def test_chance_gives_other_endings_than_the_drawing(client: TestClient) -> None:
    options = {"strokes": [LINE], "seed": 3}
    given = ask(client, "/complete", TOLD, options)
    assert ask(client, "/complete", TOLD, options, z="given") == given
    assert ask(client, "/complete", TOLD, options, z="prior") != given


def test_the_model_goes_on_with_the_stroke_that_is_being_drawn(client: TestClient) -> None:
    answer = ask(client, "/complete", TOLD, strokes=[LINE, HOOK], is_pen_down=True)
    assert answer["drawings"][0][0][0] == answer["given"][-1][-1]


def test_a_long_drawing_is_thinned_and_that_is_said(client: TestClient) -> None:
    random = np.random.default_rng(0)
    answer = ask(client, "/complete", TOLD, strokes=[random.integers(0, 1000, (300, 2)).tolist()])
    assert "points, none farther than" in answer["remarks"][0]


def test_the_model_draws_by_itself(client: TestClient) -> None:
    answer = ask(client, "/sample", PLAIN, num=2, seed=5)
    points = np.concatenate([np.concatenate(drawing) for drawing in answer["drawings"]])
    assert (points.min(), points.max()) == (70, 930)
    assert answer["given"] == []


@pytest.mark.parametrize("share", [0, 1])
def test_the_ends_of_the_way_are_the_drawings(
    client: TestClient, told: SketchRNN, share: int
) -> None:
    """Both drawings are simplified already, so that what the model reads is known."""
    ends = [[[0, 0], [255, 0]]], [[[0, 0], [0, 255], [255, 255]]]
    answer = ask(
        client, "/between", TOLD, first=ends[0], second=ends[1], share=share, temperature=0.1
    )
    z = told.encode(polylines_to_stroke3([np.array(stroke) for stroke in ends[share]]))
    (expected,) = told.sample(z=z, category="sun", temperature=0.1, seed=0)
    for drawn, line in zip(answer["drawings"][0], fit_to_canvas(expected), strict=True):
        np.testing.assert_allclose(drawn, line, atol=1)


DASHES = [[[0, y], [9, y]] for y in range(0, 260, 20)]


@pytest.mark.parametrize(
    ("path", "question", "reason"),
    [
        ("/complete", TOLD | {"strokes": []}, "strokes: the paper is empty: draw"),
        ("/complete", TOLD | {"strokes": [[]]}, "strokes.0: List should have at least 1 item"),
        ("/complete", TOLD, "strokes: Field required"),
        ("/complete", TOLD | {"strokes": DASHES}, "13 strokes, which take 25 points at least"),
        ("/complete", TOLD | {"strokes": [LINE * 5001]}, f"is longer than {MAX_POINTS:,}: undo"),
        ("/complete", TOLD | {"strokes": [[[0, 2001]]]}, "should be less than or equal to 2000"),
        ("/complete", TOLD | {"strokes": [[[0]]]}, "strokes.0.0.1: Field required"),
        ("/complete", TOLD | {"strokes": [LINE], "z": "any"}, "should be 'given' or 'prior'"),
        ("/complete", TOLD | {"strokes": [LINE], "colour": 1}, "colour: Extra inputs are not"),
        ("/complete", PLAIN | {"strokes": [LINE], "z": "prior"}, "has a decoder only"),
        ("/between", PLAIN | {"first": [LINE], "second": [LINE], "share": 0}, "a decoder only"),
        ("/between", TOLD | {"first": [LINE], "second": [], "share": 0}, "the paper is empty"),
        ("/between", TOLD | {"first": [LINE], "second": [LINE], "share": 2}, "equal to 1"),
        ("/sample", TOLD | {"category": "pig"}, "category='pig' is not one that was trained"),
        ("/sample", TOLD | {"category": None}, "this model draws what it is told to"),
        ("/sample", PLAIN | {"category": "cat"}, "this model is not told what it draws"),
        ("/sample", TOLD | {"model": "x"}, "model 'x' is not here: there are told, plain"),
        ("/sample", TOLD | {"temperature": 0}, "temperature: Input should be greater than"),
        ("/sample", TOLD | {"num": 13}, "num: Input should be less than or equal to 12"),
        ("/sample", TOLD | {"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ("/sample", TOLD | {"visitor": ""}, "visitor: String should have at least 1 character"),
    ],
)
def test_bad_questions_are_refused_with_the_reason(
    client: TestClient, path: str, question: dict[str, Any], reason: str
) -> None:
    response = client.post(path, json=question)
    assert response.status_code == 400
    assert reason in response.json()["reason"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "Invalid JSON: EOF"),
        ('{"visitor"', "Invalid JSON: EOF"),
        ("[1]", "Input should be an object"),
        ("\x00", "Invalid JSON"),
        ("[" * 100_000, "Invalid JSON: recursion limit"),
        (json.dumps(PLAIN | {"temperature": float("nan")}), "temperature: Input should be"),
    ],
)
def test_what_is_no_json_is_refused(client: TestClient, body: str, reason: str) -> None:
    response = client.post("/sample", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert reason in response.json()["reason"]


def test_other_pages_cannot_ask(client: TestClient) -> None:
    """A browser lets any page send text, but JSON only to who agrees; and a name is no proof."""
    sample = json.dumps(PLAIN)
    assert client.post("/sample", content=sample).status_code == 415
    text = {"content-type": "text/plain"}
    assert client.post("/sample", content=sample, headers=text).status_code == 415
    foreign = client.get("/models", headers={"host": "evil.example:80"})
    assert foreign.status_code == 400
    assert "told" not in foreign.text
    assert client.get("/models", headers={"host": "[::1]:5001"}).status_code == 200
    assert "access-control-allow-origin" not in client.options("/sample").headers


def test_other_addresses_and_methods_are_refused_in_json(client: TestClient) -> None:
    assert client.get("/../../etc/passwd").status_code == 404
    response = client.get("/sample")
    assert (response.status_code, response.json()) == (405, {"reason": "Method Not Allowed"})
    assert "default-src 'self'" in response.headers["content-security-policy"]


def test_bodies_are_bounded(client: TestClient) -> None:
    kind = {"content-type": "application/json"}
    chunks = iter([b" " * (1 << 16)] * 9)
    for body in (b" " * (MAX_BODY_BYTES + 1), chunks):
        assert client.post("/sample", content=body, headers=kind).status_code == 413  # type: ignore[arg-type]
    longest = TOLD | {"strokes": [[[1000, 1000]] * MAX_POINTS]}
    assert len(json.dumps(longest)) < MAX_BODY_BYTES / 2
    assert client.post("/complete", json=longest).status_code == 200


def test_two_hundred_at_once_are_answered_or_sent_away(app: ASGIApp) -> None:
    async def storm() -> list[httpx2.Response]:
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=URL, timeout=60) as client:
            questions = [PLAIN | {"visitor": f"v{n}", "num": 12} for n in range(200)]
            asked = [client.post("/sample", json=question) for question in questions]
            return [*await asyncio.gather(*asked), await client.post("/sample", json=PLAIN)]

    *responses, after = asyncio.run(storm())
    counts = Counter(response.status_code for response in responses)
    assert set(counts) == {200, 503}
    assert counts[200] >= 4  # who may wait
    away = [response for response in responses if response.status_code == 503]
    assert {response.headers["retry-after"] for response in away} == {"1"}
    assert "too many others" in away[0].json()["reason"]
    assert after.status_code == 200
