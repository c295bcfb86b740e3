"""Whether a peer computes what `SketchRNN` does: the same weights, then losses and gradients."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmarks.contenders import Contender, Loss
from benchmarks.models import PlainSketchRNN, Way
from sketch_model.batch import SketchBatch
from sketch_model.cells import (
    FORGET_BIAS,
    NUM_SCALES,
    HyperLSTMCell,
    LayerNormLSTMCell,
    LSTMCell,
    RecurrentCell,
)
from sketch_model.config import Cell, DataSpec
from sketch_model.model import SketchRNN

TOLERANCE = 1e-4
"""Of losses in nats, and of gradients relative to their largest element, in fp32."""
PERTURBATION = 0.02
"""Standard deviation of what is added to fresh weights, of which many are 0 or 1 or all alike."""
GATES = ("i", "j", "f", "o")


@torch.no_grad()
def copy_weights(source: SketchRNN, peer: PlainSketchRNN) -> None:
    """Gives a peer the weights of a model of the same configuration."""
    assert source.encoder is not None
    assert source.decoder.initial is not None
    cells = source.encoder.forward_cell, source.encoder.backward_cell
    if peer.way is Way.packed:
        for cell, suffix in zip(cells, ("", "_reverse"), strict=True):
            _copy_library(cell, peer.encoder, suffix)
    else:
        for cell, unroller in zip(cells, (peer.ahead, peer.back), strict=True):
            _copy_unroller(cell, unroller)
    _copy_unroller(source.decoder.cell, peer.decoder)
    for name in ("mean", "log_variance"):
        getattr(peer, name).load_state_dict(getattr(source.encoder, name).state_dict())
    peer.output.load_state_dict(source.decoder.output.state_dict())
    initial = source.decoder.initial
    peer.initial.weight.copy_(_reorder_state(initial.weight, source))
    peer.initial.bias.copy_(_reorder_state(initial.bias, source))


def _reorder_state(vector: Tensor, source: SketchRNN) -> Tensor:
    """From the reference's order of a state to h first, which differs for the plain LSTM alone."""
    if source.config.decoder_cell is not Cell.lstm:
        return vector
    return torch.cat(vector.chunk(2)[::-1])


def _copy_unroller(cell: RecurrentCell, unroller: nn.Module) -> None:
    lstm = getattr(unroller, "lstm", None)
    if lstm is not None:
        _copy_library(cell, lstm)
    else:
        _copy_cell(cell, unroller.cell)


def _copy_library(cell: RecurrentCell, lstm: nn.LSTM, suffix: str = "") -> None:
    """`nn.LSTM` has the gates in the order i, f, j, o, two biases, and no extra forget bias."""
    assert isinstance(cell, LSTMCell)
    i, j, f, o = cell.bias.chunk(4)
    getattr(lstm, f"bias_ih_l0{suffix}").copy_(torch.cat([i, f + FORGET_BIAS, j, o]))
    getattr(lstm, f"bias_hh_l0{suffix}").zero_()
    for name, weight in (("ih", cell.input_weight), ("hh", cell.hidden_weight)):
        i, j, f, o = weight.t().chunk(4)
        getattr(lstm, f"weight_{name}_l0{suffix}").copy_(torch.cat([i, f, j, o]))


def _copy_cell(cell: RecurrentCell, plain: nn.Module) -> None:
    plain.from_inputs.weight.copy_(cell.input_weight.t())
    plain.from_hidden.weight.copy_(cell.hidden_weight.t())
    match cell:
        case LSTMCell():
            plain.from_inputs.bias.copy_(cell.bias)
        case LayerNormLSTMCell():
            _copy_norms(cell, plain)
        case HyperLSTMCell():
            _copy_norms(cell, plain)
            _copy_cell(cell.hyper_cell, plain.hyper_cell)
            plain.bias.copy_(cell.bias)
            plain.embed.weight.copy_(cell.embedding_weight.t())
            plain.embed.bias.zero_()
            plain.embed.bias[: NUM_SCALES * cell.hyper_embedding_size] = cell.embedding_bias
            for linear, weight in zip(plain.modulate, cell.modulation_weight, strict=True):
                linear.weight.copy_(weight.t())


def _copy_norms(cell: LayerNormLSTMCell | HyperLSTMCell, plain: nn.Module) -> None:
    gains, shifts = cell.gate_gain.chunk(4), cell.gate_shift.chunk(4)
    for gate, gain, shift in zip(GATES, gains, shifts, strict=True):
        norm = getattr(plain, f"norm_{gate}")
        norm.weight.copy_(gain)
        norm.bias.copy_(shift)
    plain.norm_c.weight.copy_(cell.memory_gain)
    plain.norm_c.bias.copy_(cell.memory_shift)


def differ(contender: Contender, batch: SketchBatch, N_max: int) -> float:
    """How far a peer is from `SketchRNN` with the same weights, in fp32 and without dropout.

    The largest difference of the losses, and of the gradients of each weight (not of each bias:
    some peers have more of them) relative to that gradient's largest element.
    """
    data = DataSpec(offset_scale=1.0, N_max=N_max, categories=("any",), source="benchmark")
    own, own_loss = replace(contender, way=None, bf16=False).build(data)
    peer, peer_loss = replace(contender, bf16=False).build(data)
    assert isinstance(own, SketchRNN)
    assert isinstance(peer, PlainSketchRNN)
    _perturb(own)
    copy_weights(own, peer)
    differences = [abs(_backward(own, own_loss, batch) - _backward(peer, peer_loss, batch))]
    _become_gradient(own)
    copy_weights(own, peer)
    for name, parameter in peer.named_parameters():
        if "bias" not in name:
            assert parameter.grad is not None
            difference = (parameter.detach() - parameter.grad).abs().max()
            differences.append(float(difference / parameter.grad.abs().max()))
    return max(differences)


def _backward(model: nn.Module, loss: Loss, batch: SketchBatch) -> float:
    model.eval()
    value = loss(batch, 0)
    value.backward()
    return value.item()


@torch.no_grad()
def _perturb(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=PERTURBATION)


@torch.no_grad()
def _become_gradient(model: nn.Module) -> None:
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.copy_(parameter.grad)
