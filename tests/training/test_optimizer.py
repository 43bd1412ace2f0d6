"""Muon and AdamW as `xpscale.training.optimizer` joins them."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from xpscale.bands import Bands
from xpscale.model.architectures import build
from xpscale.training.flat import FlatParameters
from xpscale.training.optimizer import Optimizer, orthogonal
from xpscale.training.settings import PRESETS, TrainingSettings

FINITE = torch.tensor(True)


SETTINGS = TrainingSettings(hidden=(12, 12, 8, 8))


def weights(settings=SETTINGS):
    torch.manual_seed(1)
    network = build(settings.architecture(Bands(6, 6)))
    return network, FlatParameters(network)


def test_square_matrices_come_first_as_stacks():
    network, flat = weights()
    squares = [p for p in network.parameters() if p.ndim == 2 and len(set(p.shape)) == 1]
    # two in each residual block: encoder and decoder have one of either width, second_look three
    assert flat.square_stacks == [(10, 8, 8), (4, 12, 12)]
    begin = 0
    for shape in flat.square_stacks:
        size = torch.Size(shape).numel()
        stack = flat.vector[begin : begin + size].view(shape)
        assert all(any(torch.equal(matrix, p) for p in squares) for matrix in stack)
        begin += size


def test_orthogonal_keeps_directions_and_evens_out_their_sizes():
    left, right = (torch.linalg.qr(torch.randn(3, 20, 20)).Q for _ in range(2))
    sizes = torch.logspace(0, -1.5, 20)
    found = left.mT @ orthogonal(left @ (sizes[:, None] * right)) @ right.mT
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3
    assert (found - torch.diag_embed(diagonal)).abs().max() < 1e-4


def test_a_step_is_adamw_on_vectors_and_muon_on_square_matrices():
    """The first step: U is the gradient times a number, and AdamW moves by its sign."""
    settings = replace(SETTINGS, weight_decay=0.1, muon_rate=3.0)
    _, flat = weights(settings)
    before, gradient = flat.vector.detach().clone(), torch.randn(len(flat.vector))
    optimizer = Optimizer(flat, settings)
    optimizer.set_learning_rate(1e-3)
    optimizer.step(gradient, FINITE)
    moved = flat.vector.detach() - (1 - 1e-3 * 0.1) * before
    begin = 0
    for shape in flat.square_stacks:
        rows = slice(begin, begin := begin + torch.Size(shape).numel())
        expected = -1e-3 * 3.0 * 0.2 * shape[-1] ** 0.5 * orthogonal(gradient[rows].view(shape))
        torch.testing.assert_close(moved[rows].view(shape), expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(moved[begin:], -1e-3 * gradient[begin:].sign(), rtol=1e-2, atol=1e-6)


def test_without_muon_all_weights_are_adamws():
    """The preset of the paper: the same steps as torch's AdamW takes on every parameter."""
    settings = PRESETS["laroche2024"]
    network, flat = weights(settings)
    other, _ = weights(settings)
    reference = torch.optim.AdamW(
        other.parameters(), lr=1e-2, betas=(0.9, 0.999), weight_decay=settings.weight_decay
    )
    optimizer = Optimizer(flat, settings)
    for _ in range(3):
        gradients = {name: torch.randn_like(p) for name, p in network.named_parameters()}
        for name, p in other.named_parameters():
            p.grad = gradients[name].clone()
        reference.step()
        by_place = {id(p): name for name, p in network.named_parameters()}
        optimizer.set_learning_rate(1e-2)
        optimizer.step(
            torch.cat([gradients[by_place[id(p)]].reshape(-1) for p in flat.parameters]), FINITE
        )
    for name, p in other.named_parameters():
        torch.testing.assert_close(network.get_parameter(name), p, msg=name)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad):
    optimizers = []
    for spoilt in (True, False):
        _, flat = weights()
        optimizer = Optimizer(flat, SETTINGS)
        torch.manual_seed(2)
        first, second = torch.randn(2, len(flat.vector))
        optimizer.step(first, FINITE)
        if spoilt:
            kept = flat.vector.detach().clone()
            optimizer.step(torch.full_like(first, bad), ~FINITE)
            assert torch.equal(flat.vector, kept)
        optimizer.step(second, FINITE)
        optimizers.append(flat.vector.detach())
    assert torch.equal(*optimizers)


def test_a_state_is_gone_on_from():
    (_, one), (_, two) = weights(), weights()
    first, second = torch.randn(2, len(one.vector))
    optimizer, resumed = Optimizer(one, SETTINGS), Optimizer(two, SETTINGS)
    optimizer.step(first, FINITE)
    two.vector.data.copy_(one.vector.data)
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    for each in (optimizer, resumed):
        each.step(second, FINITE)
    assert torch.equal(one.vector, two.vector)
