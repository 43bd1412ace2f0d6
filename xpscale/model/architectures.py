"""Networks by the name of their architecture."""

from __future__ import annotations

from xpscale.errors import InvalidInputError
from xpscale.model.card import Architecture
from xpscale.model.iterative import IterativeVAE
from xpscale.model.noise_aware import NoiseAwareVAE
from xpscale.model.scatter_vae import NetworkModule, ScatterVAE
from xpscale.model.transformer import TransformerVAE

__all__ = ["ARCHITECTURES", "build"]

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
