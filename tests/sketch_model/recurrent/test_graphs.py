"""What surrounds CUDA's graphs: `benchmarks.gpu` checks the graphs, where there is a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from sketch_model.recurrent import graphs
from sketch_model.recurrent.graphs import CapturedStep, GraphedLoss, side_by_side


class FakeStep(CapturedStep):
    """A fixed memory that every replay reads and writes, without a graph."""

    captures: list[tuple[int, ...]] = []  # noqa: RUF012  # a fixture gives each test its own

    def __init__(
        self,
        compute: graphs.Compute,
        parameters: Sequence[Tensor],
        arguments: Sequence[Tensor],
        generators: Sequence[torch.Generator],
        pool: Any,
    ) -> None:
        self._compute, self._parameters = compute, parameters
        self._arguments = [argument.clone() for argument in arguments]
        self.outputs, self.gradients = graphs._differentiate(compute, parameters, self._arguments)
        self.pool = "pool"
        assert pool == ("pool" if self.captures else None)
        self.captures.append(tuple(arguments[0].shape))

    def replay(self, arguments: Sequence[Tensor]) -> None:
        for static, argument in zip(self._arguments, arguments, strict=True):
            static.copy_(argument)
        outputs, gradients = graphs._differentiate(self._compute, self._parameters, self._arguments)
        for static, new in zip(
            (*self.outputs, *self.gradients), (*outputs, *gradients), strict=True
        ):
            if static is not None and new is not None:
                static.copy_(new)


@pytest.fixture(autouse=True)
def _no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeStep, "captures", [])
    monkeypatch.setattr(graphs, "CapturedStep", FakeStep)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


@pytest.fixture
def parameters() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(4, requires_grad=True), torch.randn(1, requires_grad=True)]


def make_compute(parameters: list[Tensor]) -> graphs.Compute:
    """A loss that depends on the first of two parameters; and the mean of what was read."""
    return lambda x, weight: (weight * (x * parameters[0].sin()).square().sum(), x.mean())


def arguments_of(seed: int, num_rows: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(num_rows, 4), torch.rand(())


def test_it_gives_what_is_computed_and_its_gradients(parameters: list[Tensor]) -> None:
    compute = make_compute(parameters)
    graphed = GraphedLoss(compute, parameters)
    for seed in range(3):
        loss, mean = graphed(*arguments_of(seed))
        (3 * loss).backward()
        expected, expected_mean = compute(*arguments_of(seed))
        (gradient,) = torch.autograd.grad(3 * expected, parameters[:1])
        assert torch.equal(loss, expected)
        assert torch.equal(mean, expected_mean)
        assert not mean.requires_grad
        torch.testing.assert_close(parameters[0].grad, gradient)
        assert parameters[1].grad is None
        parameters[0].grad = None
    assert FakeStep.captures == [(3, 4)]


def test_two_losses_of_one_shape_may_be_alive_at_once(parameters: list[Tensor]) -> None:
    compute = make_compute(parameters)
    graphed = GraphedLoss(compute, parameters)
    losses = [graphed(*arguments_of(seed))[0] for seed in (1, 2)]
    for seed, loss in zip((1, 2), losses, strict=True):
        (got,) = torch.autograd.grad(loss, parameters[:1])
        expected = compute(*arguments_of(seed))[0]
        assert torch.equal(loss, expected)
        torch.testing.assert_close(got, torch.autograd.grad(expected, parameters[:1])[0])


def test_the_shape_that_was_unused_for_longest_goes_first(parameters: list[Tensor]) -> None:
    graphed = GraphedLoss(make_compute(parameters), parameters, max_shapes=2)
    for num_rows in (1, 2, 1, 3, 1, 2):
        graphed(*arguments_of(0, num_rows))
    assert FakeStep.captures == [(1, 4), (2, 4), (3, 4), (2, 4)]


def test_parameters_that_have_moved_are_captured_again(parameters: list[Tensor]) -> None:
    graphed = GraphedLoss(make_compute(parameters), parameters)
    graphed(*arguments_of(0))
    old = parameters[0].data
    parameters[0].data = torch.ones(4)
    assert old.data_ptr() != parameters[0].data_ptr()
    loss, _ = graphed(*arguments_of(0))
    assert torch.equal(loss, make_compute(parameters)(*arguments_of(0))[0])
    assert len(FakeStep.captures) == 2


def test_tasks_run_in_order_where_no_graph_is_captured() -> None:
    reads = torch.arange(3.0)
    results = side_by_side([lambda: reads + 1, lambda: reads * 2], reads=[reads])
    assert [result.tolist() for result in results] == [[1, 2, 3], [0, 2, 4]]
