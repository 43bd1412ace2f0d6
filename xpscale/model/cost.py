"""What a network costs: its multiplications, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xpscale.model.scatter_vae import NetworkModule

__all__ = ["Multiplications", "multiplications"]


@dataclass(frozen=True, slots=True)
class Multiplications:
    """Of the linear layers, for one spectrum.

    Parameters
    ----------
    encode, decode
        From spectrum to latents, and from latents to spectrum.
    """

    encode: int
    decode: int


def multiplications(network: NetworkModule) -> Multiplications:
    """Count those of a network of any architecture.

    Parameters
    ----------
    network
        In evaluation mode, on the CPU.
    """
    x = torch.ones(1, network.architecture.n_coefficients)
    z = torch.zeros(1, network.architecture.n_latents)
    return Multiplications(
        _counted(network, lambda: network.encode(x, x if network.needs_errors else None)),
        _counted(network, lambda: network.decode(z)),
    )


def _counted(network: NetworkModule, run: Callable[[], Any]) -> int:
    total = 0

    def count(layer: nn.Linear, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal total
        total += inputs[0].numel() * layer.out_features

    hooks = [
        layer.register_forward_pre_hook(count)
        for layer in network.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        with torch.inference_mode():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return total
