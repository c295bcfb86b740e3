"""Small models that never end a drawing before N_max, one told cat or sun and one a decoder."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sketch_model.config import Condition
from sketch_model.model import SketchRNN
from tests.sketch_model.sketches import small_model

_END = 2


@pytest.fixture(scope="session")
def told() -> SketchRNN:
    return endless(condition=Condition.category, categories=("cat", "sun"))


@pytest.fixture(scope="session")
def plain() -> SketchRNN:
    return endless(conditional=False)


def endless(**changes: Any) -> SketchRNN:
    model = small_model(**changes)
    with torch.no_grad():
        model.decoder.output.bias[_END] = -1e4
    return model
