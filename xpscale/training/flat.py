"""The parameters of a network as one vector.

The networks are small (70,000 to 300,000 numbers in some 60 tensors), so a step that treats them
one by one spends a tenth of its time on calls.  As one vector they are clipped, sent to other
processes and moved by the optimiser in one call each.
"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor, nn

__all__ = ["FlatParameters"]


class FlatParameters:
    """Makes all parameters of a network views of one vector, square matrices first.

    Parameters
    ----------
    network
        On the device where it stays; its parameters keep their names, shapes and values, and
        loading a state dictionary into it changes the vector.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parameters = sorted(network.parameters(), key=_order)
        self.vector = nn.Parameter(
            torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])
        )
        for parameter, values in zip(
            self.parameters, self.pieces(self.vector.detach()), strict=True
        ):
            parameter.data = values

    @property
    def square_stacks(self) -> list[tuple[int, int, int]]:
        """What the vector begins with: the square weight matrices, of layers as wide as the layer
        before, as stacks of equal size with shape (K, n, n).
        """
        counts = Counter(len(parameter) for parameter in self.parameters if _is_square(parameter))
        return [(k, n, n) for n, k in counts.items()]

    def pieces(self, vector: Tensor) -> list[Tensor]:
        """A vector of the same length as views with the parameters' shapes, in their order."""
        sizes = [parameter.numel() for parameter in self.parameters]
        split = torch.split(vector, sizes)
        return [
            values.view_as(parameter)
            for values, parameter in zip(split, self.parameters, strict=True)
        ]

    def gradient(self, cost: Tensor, *others: Tensor) -> Tensor:
        """The gradient of a cost, as one vector.

        Parameters
        ----------
        cost
            A function of the parameters.
        others
            Vectors to put behind the gradient.
        """
        gradients = torch.autograd.grad(cost, self.parameters)
        return torch.cat([*(gradient.reshape(-1) for gradient in gradients), *others])


def _is_square(parameter: Tensor) -> bool:
    return parameter.ndim == 2 and parameter.shape[0] == parameter.shape[1]


def _order(parameter: Tensor) -> tuple[bool, int]:
    """Square matrices by their size, then all others; equal ones stay in their order."""
    is_square = _is_square(parameter)
    return not is_square, len(parameter) if is_square else 0
