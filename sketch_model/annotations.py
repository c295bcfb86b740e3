"""Shape annotations for public tensor signatures.

`Float[Tensor, "batch time 2"]` is jaxtyping's notation. jaxtyping is needed only where the
annotations are checked (the tests); without it they mean nothing and cost nothing, so that this
package runs with torch and numpy alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy import ndarray
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
else:
    try:
        from jaxtyping import Bool, Float, Int, Shaped
    except ImportError:

        class _Unchecked:
            def __class_getitem__(cls, _: Any) -> Any:
                return Any

        Bool = Float = Int = Shaped = _Unchecked

__all__ = ["Bool", "Float", "Int", "Shaped", "Tensor", "ndarray"]
