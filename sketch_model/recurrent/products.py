"""Products by a matrix that stays the same from step to step.

On the CPU oneDNN gets the matrix once in the layout that its kernels read. It need not be packed
again at every step, which for the recurrence's flat products (100 rows, or fewer as sketches end)
makes them 1.05 to 1.5 times as fast as `torch.mm`, and for a single row twice. These are the
operators that torch's own compiler puts in the place of a frozen linear layer.

oneDNN makes code for each shape that it meets, in 2 to 15 ms, which is as long as a chunk of steps
takes. Where sketches end at different steps, products are therefore of a few numbers of rows only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from sketch_model.annotations import Tensor

FreshProduct = Callable[[Tensor], Tensor]
"""Takes left, gives left @ matrix."""

Product = Callable[[Tensor, Tensor], None]
"""Takes (left, out): out = left @ matrix, or out += left @ matrix. What `left` has more rows than
`out` does not influence the result; `round_rows` says how many should be there."""

_STEP: Final = 8
"""What numbers of rows are multiples of."""


def round_rows(num: int, limit: int) -> int:
    """At least `num`, at most `limit`, and one of few numbers."""
    return min(-(-num // _STEP) * _STEP, limit)


def bind_fresh_product(matrix: Tensor, num_rows: int) -> FreshProduct:
    """How to multiply by a matrix, with results in memory of their own: oneDNN has them there.

    Args:
        matrix: [K, G], not to be changed afterwards.
        num_rows: of most operands; others may have more or fewer.
    """
    if not _can_be_packed(matrix):
        return lambda left: left @ matrix
    packed = torch.ops.mkldnn._reorder_linear_weight(matrix.t().contiguous(), num_rows)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return lambda left: multiply(left, packed, None, "none", [], "")


def bind_product(matrix: Tensor, num_rows: int, *, adds: bool = False) -> Product:
    """How to multiply by a matrix, with results where they are wanted.

    Args:
        matrix: as of `bind_fresh_product`.
        num_rows: likewise.
        adds: whether to add to what is there.
    """
    if not _can_be_packed(matrix):

        def run_plainly(left: Tensor, out: Tensor) -> None:
            torch.addmm(out, left[: len(out)], matrix, beta=int(adds), out=out)

        return run_plainly
    multiply = bind_fresh_product(matrix, num_rows)
    put = Tensor.add_ if adds else Tensor.copy_

    def run(left: Tensor, out: Tensor) -> None:
        put(out, multiply(left)[: len(out)])

    return run


def _can_be_packed(matrix: Tensor) -> bool:
    if matrix.device.type != "cpu":
        return False
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if matrix.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return matrix.dtype == torch.float32
