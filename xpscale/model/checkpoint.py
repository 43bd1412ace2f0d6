"""A trained model as one value, saved in a folder (`xpscale.model.folder`)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors
import safetensors.numpy
import torch

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, XpscaleError
from xpscale.model.architectures import build_of
from xpscale.model.card import ModelCard
from xpscale.model.decoder import Decoder, weights_of
from xpscale.model.density import TrainingDensity
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.folder import (
    CARD,
    DECODER,
    WEIGHTS,
    content_hash,
    damaged,
    decoder_bytes,
    read_card,
    read_folder,
)
from xpscale.model.scaling import Scaling
from xpscale.model.scatter_vae import NetworkModule
from xpscale.model.typicality import Typicality
from xpscale.release import Release, release_of
from xpscale.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch

__all__ = ["TrainedModel", "load_model"]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """A network with everything needed to apply it to spectra.

    Parameters
    ----------
    network
        The network, in evaluation mode, on the CPU, float32.
    scaling
        From the archive's units to the network's.
    density
        Where its training objects are.
    card
        What it is.
    typicality
        How odd its training objects are; without it no object is told from another.
    """

    network: NetworkModule
    scaling: Scaling
    density: TrainingDensity
    card: ModelCard
    typicality: Typicality | None = None

    @staticmethod
    def create(
        network: NetworkModule,
        scaling: Scaling,
        density: TrainingDensity,
        card: ModelCard,
        typicality: Typicality | None = None,
    ) -> TrainedModel:
        """A model, with the content hash written into its card.

        Parameters
        ----------
        network, scaling, density, card, typicality
            Those of the class; the card's hash may be empty.

        Raises
        ------
        InvalidInputError
            If they are not of the same bands, or the card describes another network.
        """
        bands = network.architecture.bands
        if {bands} != {scaling.bands, density.bands}:
            raise InvalidInputError(
                f"the network takes {bands} coefficients, the scaling has {scaling.bands}, the"
                f" density {density.bands}",
                "Use a scaling of the network's bands",
            )
        if card.architecture != network.architecture:
            raise InvalidInputError(
                f"the card describes {card.architecture}, the network is {network.architecture}"
            )
        network = network.cpu().eval().requires_grad_(False)
        model = TrainedModel(network, scaling, density, card, typicality)
        tensors = model._tensors()
        model_id = content_hash(network.architecture, tensors)
        decoder = hashlib.sha256(decoder_bytes(tensors)).hexdigest()
        return replace(model, card=replace(card, model_id=model_id, decoder_sha256=decoder))

    @property
    def model_id(self) -> str:
        """Hex sha256 of architecture, weights, scaling and density."""
        return self.card.model_id

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients of a spectrum."""
        return self.network.architecture.bands

    @property
    def release(self) -> Release:
        """The data release whose spectra it takes."""
        return release_of(self.card.release, self.bands)

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a spectrum."""
        return self.network.architecture.n_coefficients

    @property
    def n_latents(self) -> int:
        """L, the number of latents."""
        return self.network.architecture.n_latents

    def require_scaling(self) -> None:
        """Refuse a model that cannot be applied to spectra."""
        self.scaling.require(self.bands)

    def encode(self, batch: SpectraBatch) -> LatentPosterior:
        """The posterior of the latents of spectra in the archive's units; NaN where a row is not
        finite.
        """
        x, x_err = self.scaling.standardize(batch)
        errors = None if x_err is None else torch.from_numpy(x_err)
        with torch.inference_mode():
            return self.network.encode(torch.from_numpy(x), errors)

    def decode(self, z: torch.Tensor, phot_g_mean_flux: NDArray[np.float64]) -> Reconstruction:
        """The distribution of spectra with latents z (B, L), in the archive's coefficient units,
        float64.

        Parameters
        ----------
        z
            Latents, with shape (B, L); the posterior mean for a deterministic reconstruction.
        phot_g_mean_flux
            Mean G flux in electron/s, with shape (B,).
        """
        with torch.inference_mode():
            standardized = self.network.decode(z.to(torch.float32))
        mean = self.scaling.coefficients(standardized.mean.numpy(), phot_g_mean_flux)
        scatter = self.scaling.widths(standardized.scatter.numpy(), phot_g_mean_flux)
        return Reconstruction(torch.from_numpy(mean), torch.from_numpy(scatter))

    @property
    def decoder(self) -> Decoder:
        """The decoder in numpy, which the catalogue's users have."""
        weights = weights_of(self._tensors())
        return Decoder(self.card, weights, self.scaling.mean, self.scaling.std)

    def save(self, destination: str | Storage) -> None:
        """Write the model's folder; the same model again is a no-op.

        Raises
        ------
        ConflictError
            If another model is there.
        """
        storage = destination if isinstance(destination, Storage) else Storage(destination)
        refusal = f"{storage} already holds another model"
        if storage.exists(CARD):
            there = read_card(storage).model_id
            if there != self.model_id:
                raise ConflictError(
                    f"{refusal}, {there[:12]} instead of {self.model_id[:12]}",
                    "Choose another place",
                )
            return
        metadata = {"xpscale": json.dumps(self.network.architecture.to_dict(), sort_keys=True)}
        decoder = decoder_bytes(self._tensors())
        card = replace(self.card, decoder_sha256=hashlib.sha256(decoder).hexdigest())
        files = {
            WEIGHTS: safetensors.numpy.save(self._tensors(), metadata),
            DECODER: decoder,
            CARD: card.to_json().encode(),
        }
        if not all(storage.create(name, content) for name, content in files.items()):
            raise ConflictError(
                refusal, "Choose another place, or remove it if it is the rest of a broken run"
            )

    def _tensors(self) -> dict[str, NDArray[Any]]:
        """All that the hash covers, by name."""
        weights, typical = self.network.state_dict(), self.typicality
        return {
            **{
                f"network.{name}": tensor.detach().cpu().numpy() for name, tensor in weights.items()
            },
            "scaling.mean": self.scaling.mean,
            "scaling.std": self.scaling.std,
            "density.counts": self.density.counts,
            "density.n_rows": np.array(self.density.n_rows, np.int64),
            "density.lower": self.density.lower,
            "density.upper": self.density.upper,
            **(typical.tensors() if typical else {}),
        }


def load_model(source: str | Storage) -> TrainedModel:
    """The model in a folder, checked against the hash on its card.

    Parameters
    ----------
    source
        Where `TrainedModel.save` put it: a local path, ``s3://`` or ``https://``.

    Raises
    ------
    NotFoundError
        If no complete model is there.
    InvalidInputError
        If what is there is broken, or is not what the card says.
    """
    storage = source if isinstance(source, Storage) else Storage(source)
    card, tensors = read_folder(storage)
    bands = card.architecture.bands
    try:
        weights = {name: torch.from_numpy(t) for name, t in weights_of(tensors).items()}
        network = build_of(card.architecture, weights)
        density = TrainingDensity(
            tensors["density.counts"],
            int(tensors["density.n_rows"]),
            tensors["density.lower"],
            tensors["density.upper"],
            bands,
        )
        scaling = Scaling(tensors["scaling.mean"], tensors["scaling.std"], bands)
        typicality = Typicality.from_tensors(tensors)
    except XpscaleError:
        raise
    except (KeyError, RuntimeError, TypeError, ValueError, IndexError) as error:
        raise damaged(storage, error) from error
    return TrainedModel.create(network, scaling, density, card, typicality)
