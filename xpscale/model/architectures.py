"""Networks by the name of their architecture."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from xpscale.errors import InvalidInputError
from xpscale.model.card import Architecture
from xpscale.model.iterative import IterativeVAE
from xpscale.model.noise_aware import NoiseAwareVAE
from xpscale.model.scatter_vae import NetworkModule, ScatterVAE
from xpscale.model.transformer import TransformerVAE

__all__ = ["ARCHITECTURES", "build", "build_of"]

ARCHITECTURES: dict[str, type[NetworkModule]] = {
    "scatter_vae": ScatterVAE,
    "noise_aware": NoiseAwareVAE,
    "iterative": IterativeVAE,
    "transformer": TransformerVAE,
}
"""What `Architecture.name` may be, and the network it stands for."""


def build(architecture: Architecture) -> NetworkModule:
    """A network with random weights, to be trained or filled with saved ones.

    Raises
    ------
    InvalidInputError
        If no architecture has this name.
    """
    if architecture.name not in ARCHITECTURES:
        raise InvalidInputError(
            f"no architecture is called {architecture.name!r}",
            f"This version knows {', '.join(ARCHITECTURES)}",
        )
    return ARCHITECTURES[architecture.name](architecture)


def build_of(architecture: Architecture, weights: Mapping[str, torch.Tensor]) -> NetworkModule:
    """A network with these weights.

    Parameters
    ----------
    architecture
        Of the network; nothing is allocated for it unless the weights have its shapes.
    weights
        By name.

    Raises
    ------
    InvalidInputError
        If no architecture has this name.
    RuntimeError
        If the weights are not those of such a network.
    """
    with torch.device("meta"):
        build(architecture).load_state_dict(weights, assign=True)
    network = build(architecture)
    network.load_state_dict(weights)
    return network
