from __future__ import annotations

import numpy as np
import pytest
import torch

from sketch_model import compiled_math
from sketch_model.compiled_math import compiled


@compiled
def _apply(values, out):  # type: ignore[no-untyped-def]
    for n in range(values.size):
        out[0, n] = compiled_math.tanh(values[n])
        out[1, n] = compiled_math.sigmoid(values[n])
        out[2, n] = compiled_math.exp(values[n])


@compiled
def _round_trip(values, bits, out):  # type: ignore[no-untyped-def]
    for n in range(values.size):
        bits[n] = compiled_math.store_bfloat16(values[n])
        out[n] = compiled_math.load_bfloat16(bits[n])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 4e-7), (np.float64, 1e-15)])
def test_functions_equal_numpys_in_float64(dtype: type, tolerance: float) -> None:
    values = np.concatenate([np.linspace(-80, 80, 10_001), [0.0]]).astype(dtype)
    out = np.empty((3, len(values)), dtype)
    _apply(values, out)
    x = values.astype(np.float64)
    np.testing.assert_allclose(out[0], np.tanh(x), rtol=tolerance, atol=0)
    np.testing.assert_allclose(out[1], 1 / (1 + np.exp(-x)), rtol=0, atol=tolerance)
    np.testing.assert_allclose(out[2], np.exp(x), rtol=tolerance, atol=0)


def test_nan_stays_nan_and_infinity_saturates() -> None:
    values = np.array([np.nan, -np.inf, np.inf], np.float32)
    out = np.empty((3, 3), np.float32)
    _apply(values, out)
    assert np.isnan(out[:, 0]).all()
    np.testing.assert_allclose(out[:2, 1:], [[-1, 1], [0, 1]], atol=1e-6)
    assert out[2, 1] < 1e-37
    assert out[2, 2] > 1e38


def test_bfloat16_is_rounded_as_torch_rounds_it() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    values = np.append(values, np.float32([np.nan, np.inf, -np.inf, 0, 1.00390625, 3.0e38]))
    values = values.astype(np.float32)
    bits, out = np.empty(len(values), np.uint16), np.empty(len(values), np.float32)
    _round_trip(values, bits, out)
    expected = torch.from_numpy(values).bfloat16().float().numpy()
    np.testing.assert_array_equal(out, expected)
