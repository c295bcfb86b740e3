"""Training steps as CUDA graphs: forward, loss and backward of a batch in one launch.

A step of a recurrence takes a GPU a few microseconds, and Python several times as long to launch.
A graph is captured once for each shape of a batch and replayed from then on.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import torch
from torch.autograd.function import once_differentiable

from sketch_model.annotations import Tensor

_NUM_WARM_UP: Final = 2
"""Runs before a capture, in which libraries start up and kernels are compiled."""

Compute = Callable[..., tuple[Tensor, ...]]
"""Takes tensors; gives the loss, and other tensors to be told of."""


class GraphedLoss:
    """A loss whose gradients are computed with it, by a graph for each shape of the arguments.

    It gives what `compute` gives, in tensors of its own, of which the first has gradients with
    respect to `parameters`. They are right whatever has been called between it and its backward.
    `compute` is called at the first use of a shape only, so:

    - what changes from step to step, such as w_KL, has to be a tensor among the arguments, a
      parameter that is changed in place, or drawn from a generator that is named here;
    - it must not wait for the device (`item`, `cpu`, indexing with a mask);
    - an unknown shape costs a capture of a second or more, so there should be few: pad batches to
      widths that are multiples of 16. Graphs share their memory, which is about that of the largest
      if that one is captured first, since a large block can be divided and small ones not joined.

    Autocast goes inside of `compute`, with `cache_enabled=False`. Call it from one stream.
    """

    def __init__(
        self,
        compute: Compute,
        parameters: Iterable[Tensor],
        *,
        generators: Sequence[torch.Generator] = (),
        max_shapes: int = 32,
    ) -> None:
        """Captures nothing yet.

        Args:
            compute: from a batch to the loss.
            parameters: all on one CUDA device.
            generators: that `compute` draws from, beside the device's default one.
            max_shapes: graphs that are kept; the one unused for longest goes first.
        """
        self._compute = compute
        self._parameters = list(parameters)
        self._generators = list(generators)
        self._max_shapes = max_shapes
        self._steps: OrderedDict[Any, CapturedStep] = OrderedDict()
        self._pool: Any = None

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Loss and other results for these arguments, which get no gradients."""
        key = (
            *((each.shape, each.dtype) for each in arguments),
            *(parameter.data_ptr() for parameter in self._parameters),
        )
        if key not in self._steps:
            self._steps[key] = CapturedStep(
                self._compute, self._parameters, arguments, self._generators, self._pool
            )
            self._pool = self._steps[key].pool
            self._forget_oldest()
        self._steps.move_to_end(key)
        outputs: tuple[Tensor, ...] = _Replay.apply(  # type: ignore[no-untyped-call]
            self._steps[key], arguments, *self._parameters
        )
        return outputs

    def _forget_oldest(self) -> None:
        """After a capture, so that the pool is never without a graph."""
        while len(self._steps) > self._max_shapes:
            torch.cuda.synchronize()
            self._steps.popitem(last=False)


class CapturedStep:
    """The graph of one shape, and the memory that it reads and writes.

    Attributes:
        outputs: written by every replay.
        gradients: of the first output; None for a parameter that it does not depend on.
        pool: of the graph's memory.
    """

    def __init__(
        self,
        compute: Compute,
        parameters: Sequence[Tensor],
        arguments: Sequence[Tensor],
        generators: Sequence[torch.Generator],
        pool: Any,
    ) -> None:
        device = parameters[0].device
        self._arguments = [argument.clone() for argument in arguments]
        drawn_from = [torch.cuda.default_generators[device.index], *generators]
        states = [generator.get_state() for generator in drawn_from]
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(_NUM_WARM_UP):
                _differentiate(compute, parameters, self._arguments)
        torch.cuda.current_stream(device).wait_stream(stream)
        for generator, state in zip(drawn_from, states, strict=True):
            generator.set_state(state)
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self.outputs, self.gradients = _differentiate(compute, parameters, self._arguments)
        self.pool = self._graph.pool()

    def replay(self, arguments: Sequence[Tensor]) -> None:
        """Computes outputs and gradients anew."""
        for static, argument in zip(self._arguments, arguments, strict=True):
            static.copy_(argument, non_blocking=True)
        self._graph.replay()


def _differentiate(
    compute: Compute, parameters: Sequence[Tensor], arguments: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
    """Outputs, without the history that would keep its memory alive, and gradients."""
    with torch.enable_grad():
        outputs = compute(*arguments)
        gradients = torch.autograd.grad(outputs[0], list(parameters), allow_unused=True)
    return tuple(output.detach() for output in outputs), gradients


class _Replay(torch.autograd.Function):
    """One replay. Its results are copied, because the next replay writes to the same memory."""

    @staticmethod
    def forward(
        ctx: Any, step: CapturedStep, arguments: Sequence[Tensor], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        step.replay(arguments)
        outputs = tuple(output.clone() for output in step.outputs)
        ctx.gradients = [None if grad is None else grad.clone() for grad in step.gradients]
        ctx.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (None if grad is None else grad * grad_loss for grad in ctx.gradients)
        return None, None, *gradients


def side_by_side(tasks: Sequence[Callable[[], Tensor]], reads: Sequence[Tensor]) -> list[Tensor]:
    """Results of tasks that do not depend on each other.

    While a graph is captured each task gets a stream of its own, so that a replay runs them at the
    same time, and their ways back too. Otherwise they run one after another.

    Args:
        tasks: of which none writes to what another one reads.
        reads: all tensors, but for parameters, that tasks read and have not made themselves.
    """
    if reads[0].device.type != "cuda" or not torch.cuda.is_current_stream_capturing():
        return [task() for task in tasks]
    device = reads[0].device
    current = torch.cuda.current_stream(device)
    streams = [_side_stream(device, number) for number in range(len(tasks))]
    results = []
    for task, stream in zip(tasks, streams, strict=True):
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            results.append(task())
        for tensor in reads:  # not to be used again before the stream is done with it
            tensor.record_stream(stream)
    for result, stream in zip(results, streams, strict=True):
        current.wait_stream(stream)
        result.record_stream(current)
    return results


@functools.cache
def _side_stream(device: torch.device, number: int) -> torch.cuda.Stream:
    """The same in every capture, so that graphs can share their memory."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
