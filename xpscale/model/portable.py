"""A model with nothing but torch and safetensors: for other people's code, and for export.

::

    model = open_portable("MODEL")
    mean, log_var, reconstruction, scatter = model(
        coefficients, coefficient_errors, phot_g_mean_flux
    )

It is the same network and the same arithmetic as `xpscale.model.checkpoint.load_model`, as one
torch module from the archive's units to the archive's units; the content hash is checked here, too.
This module, and what it imports, needs no numpy, no other part of xpscale's dependencies, and no
network.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError, NotFoundError, XpscaleError
from xpscale.model.architectures import build_of
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.scatter_vae import NetworkModule

__all__ = ["PortableModel", "open_portable"]

DTYPES = {
    "F32": ("float32", torch.float32),
    "F64": ("float64", torch.float64),
    "I64": ("int64", torch.int64),
}


class PortableModel(nn.Module):
    """A trained network between the archive's units.

    Parameters
    ----------
    network
        The network.
    mean, std
        The scaling, float64, with shape (C,).
    """

    scaling_mean: Tensor
    scaling_std: Tensor

    def __init__(self, network: NetworkModule, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scaling_mean", mean)
        self.register_buffer("scaling_std", std)
        self.eval().requires_grad_(False)

    @property
    def bands(self) -> Bands:
        """How many BP and RP coefficients a spectrum has."""
        return self.network.architecture.bands

    def forward(
        self, coefficients: Tensor, coefficient_errors: Tensor, phot_g_mean_flux: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Posterior mean and log variance (B, L), reconstruction and intrinsic scatter (B, C) at
        the posterior mean.

        Parameters
        ----------
        coefficients, coefficient_errors
            BP then RP coefficients and their errors in electron/s, with shape (B, C).
        phot_g_mean_flux
            Mean G flux in electron/s, with shape (B,).

        Returns
        -------
        tuple
            ``latent_mean, latent_log_var`` float32; ``reconstruction, scatter`` float64,
            electron/s.
        """
        flux = phot_g_mean_flux.double()[:, None]
        x = ((coefficients.double() / flux - self.scaling_mean) / self.scaling_std).float()
        x_err = (coefficient_errors.double() / flux / self.scaling_std).float()
        posterior = self.network.encode(x, x_err if self.network.needs_errors else None)
        decoded = self.network.decode(posterior.mean)
        reconstruction = (decoded.mean.double() * self.scaling_std + self.scaling_mean) * flux
        return (
            posterior.mean,
            posterior.log_var,
            reconstruction,
            decoded.scatter.double() * self.scaling_std * flux,
        )


def open_portable(folder: str | Path) -> PortableModel:
    """The model in a local folder, checked against the hash on its card.

    Raises
    ------
    NotFoundError
        If no complete model is there.
    InvalidInputError
        If what is there is not what the card says, or has no scaling.
    """
    import safetensors

    place = Path(folder)
    try:
        card, data = (
            ModelCard.from_json((place / "card.json").read_bytes(), f"{place}/card.json"),
            (place / "model.safetensors").read_bytes(),
        )
        tensors = {name: _Stored(**content) for name, content in safetensors.deserialize(data)}  # type: ignore[no-untyped-call]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(f"there is no model at {place}", "Check the address") from error
    except XpscaleError:
        raise
    except (ValueError, KeyError, safetensors.SafetensorError) as error:
        raise InvalidInputError(
            f"the model at {place} is damaged: {error}", "Fetch it again"
        ) from error
    found = _content_hash(card.architecture, tensors)
    if found != card.model_id:
        raise InvalidInputError(
            f"{place} is not the model its card names: content {found[:12]}, card"
            f" {card.model_id[:12]}",
            "Fetch it again",
        )
    prefix = "network."
    weights = {n.removeprefix(prefix): t.tensor for n, t in tensors.items() if n.startswith(prefix)}
    try:
        network = build_of(card.architecture, weights)
        mean, std = tensors["scaling.mean"].tensor, tensors["scaling.std"].tensor
    except (KeyError, RuntimeError) as error:
        raise InvalidInputError(
            f"the model at {place} is damaged: {error}", "Fetch it again"
        ) from error
    if bool(std.isnan().any()):
        raise InvalidInputError(
            f"the model at {place} has no scaling, so it cannot be applied to spectra",
            "Import it with one",
        )
    return PortableModel(network, mean, std)


class _Stored:
    """A tensor as its bytes, little endian."""

    def __init__(self, dtype: str, shape: list[int], data: Any) -> None:
        self.name, self.dtype = DTYPES[dtype]
        self.shape, self.data = tuple(shape), bytearray(data)

    @property
    def tensor(self) -> Tensor:
        """The tensor, in memory of its own."""
        return torch.frombuffer(self.data, dtype=self.dtype).view(self.shape).clone()


def _content_hash(architecture: Architecture, tensors: dict[str, _Stored]) -> str:
    """As `xpscale.model.checkpoint.TrainedModel` makes it."""
    digest = hashlib.sha256(json.dumps(architecture.to_dict(), sort_keys=True).encode())
    for name, stored in sorted(tensors.items()):
        digest.update(f"\n{name} {stored.name} {stored.shape}\n".encode())
        digest.update(stored.data)
    return digest.hexdigest()
