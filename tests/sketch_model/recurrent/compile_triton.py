"""Compiles the Triton kernels for compute capability 9.0, in the two forms training uses.

Run by `test_triton.py` in a process of its own, since Triton cannot leave interpreter mode. No GPU
is needed. Prints a line for each kernel.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from sketch_model import triton_nll
from sketch_model.recurrent import triton_hyper, triton_layer_norm, triton_lstm
from sketch_model.recurrent.kernels import BackwardBuffers, ForwardBuffers
from sketch_model.recurrent.modulation import ModulationBackward, ModulationForward

TARGET = GPUTarget("cuda", 90, 32)
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64"}
KERNELS = {
    triton_lstm: ("_step_forward", "_step_backward"),
    triton_layer_norm: ("_step_forward", "_step_backward"),
    triton_hyper: ("_modulate", "_demodulate"),
    triton_nll: ("_evaluate", "_differentiate"),
}
NUM_STEPS, BATCH, FEATURES, UNITS = 2, 3, 5, 512

num_compiled: Counter[str] = Counter()


class Compiling:
    """Stands for a kernel; compiles it for the arguments of a launch."""

    def __init__(self, name: str, kernel: Any) -> None:
        self._name, self._kernel = name, kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return self._launch

    def _launch(self, *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
        values = dict(zip(self._kernel.arg_names, arguments, strict=False)) | constants
        signature, constexprs, attributes = {}, {}, {}
        for number, parameter in enumerate(self._kernel.params):
            value = values[parameter.name]
            if isinstance(value, torch.Tensor):
                signature[parameter.name] = TYPES[value.dtype]
                attributes[(number,)] = [["tt.divisibility", 16]]
            elif parameter.is_constexpr or value is None or value == 1:  # as a launch has it
                signature[parameter.name], constexprs[parameter.name] = "constexpr", value
            else:
                signature[parameter.name] = "i32"
        source = ASTSource(self._kernel, signature, constexprs, attributes)
        binary = triton.compile(source, target=TARGET, options={"num_warps": num_warps})
        num_compiled[self._name] += len(binary.asm["cubin"]) > 0


def compile_all(product_dtype: torch.dtype, *, complete: bool) -> None:
    """Every kernel; `complete` is with all buffers that may be missing, and one row per sketch."""

    def state(*shape: int) -> torch.Tensor:
        return torch.empty(shape)

    def product(*shape: int) -> torch.Tensor:
        return torch.empty(shape, dtype=product_dtype)

    gates, rows = 4 * UNITS, BATCH if complete else 1
    gains = state(gates), state(gates), state(UNITS), state(UNITS)
    for kernels, parameters in ((triton_lstm, ()), (triton_layer_norm, gains)):
        forward = ForwardBuffers(
            u=product(NUM_STEPS, BATCH, gates),
            offset=state(rows, gates),
            masks=state(NUM_STEPS, BATCH, UNITS) if complete else None,
            parameters=parameters,
            c=state(NUM_STEPS + 1, BATCH, UNITS),
            statistics=state(NUM_STEPS, BATCH, 5, 2) if parameters else None,
            outputs=state(NUM_STEPS, BATCH, UNITS),
            operands=product(NUM_STEPS + 1, BATCH, UNITS + 16),
        )
        backward = BackwardBuffers(
            *forward[:6],
            grad_outputs=state(NUM_STEPS, BATCH, UNITS) if complete else None,
            grad_h=product(BATCH, UNITS),
            grad_c=state(BATCH, UNITS),
            grad_u=product(BATCH, gates),
            grad_offset=state(BATCH, gates) if complete else None,
            grad_parameters=tuple(state(BATCH, len(each)) for each in parameters),
        )
        kernels.bind_forward(forward)(1, BATCH)
        kernels.bind_backward(backward)(1, BATCH, 0)
    modulation = ModulationForward(
        modulations=product(12, BATCH, UNITS),
        r=product(NUM_STEPS, BATCH, gates),
        inputs=state(NUM_STEPS, BATCH, FEATURES),
        input_weight=state(FEATURES, gates),
        offset=state(rows, gates),
        u=state(1, BATCH, gates),
    )
    triton_hyper.bind_modulate(modulation)(1, BATCH)
    demodulation = ModulationBackward(
        *modulation[:5],
        grad_u=state(BATCH, gates),
        grad_modulations=product(12, BATCH, UNITS),
        grad_r=product(BATCH, gates),
        grad_a=product(BATCH, gates),
        grad_offset=state(BATCH, gates),
    )
    triton_hyper.bind_demodulate(demodulation)(1, BATCH, 0)
    slabs, lengths = product(123, NUM_STEPS, BATCH), torch.ones(BATCH, dtype=torch.int64)
    targets, grad = state(BATCH, NUM_STEPS + 1, 5)[:, 1:], state(NUM_STEPS, BATCH)
    triton_nll.evaluate(slabs, targets, lengths)
    triton_nll.differentiate(slabs, targets, lengths, grad, grad)


def main() -> None:
    """Prints what was compiled."""
    names = []
    for module, kernels in KERNELS.items():
        for kernel in kernels:
            names.append(f"{module.__name__.rpartition('.')[2]}.{kernel}")
            setattr(module, kernel, Compiling(names[-1], getattr(module, kernel)))
    compile_all(torch.bfloat16, complete=True)
    compile_all(torch.float32, complete=False)
    for name in names:
        print(f"{name}: {num_compiled[name]} binaries")


if __name__ == "__main__":
    main()
