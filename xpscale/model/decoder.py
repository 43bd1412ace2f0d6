"""The decoder of a model in numpy alone: latents to spectra, where torch is not installed.

It reads the same folder as `xpscale.model.checkpoint.load_model`, and computes the same
distributions, equal to torch's within the rounding of float32.  Letters in shapes: B spectra,
L latents, C coefficients.  The formulas are those of `xpscale.model.scatter_vae`, `noise_aware` and
`transformer`, whose weights these are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.model.constants import LOG_SCATTER_BOUNDS, MEAN_BOUND, SCATTER_FLOOR
from xpscale.model.folder import read_decoder
from xpscale.model.gelu import gelu
from xpscale.release import Release, release_of
from xpscale.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.bands import Bands
    from xpscale.model.card import ModelCard

__all__ = ["Decoder", "load_decoder", "weights_of"]

Weights: TypeAlias = "Mapping[str, NDArray[np.float32]]"


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """What a model says of spectra, given their latents.

    Parameters
    ----------
    card
        What the model is.
    weights
        Of the network, by the names that torch gives them.
    scaling_mean, scaling_std
        From standardized coefficients to those divided by the G flux, float64, with shape (C,).
    """

    card: ModelCard
    weights: Weights
    scaling_mean: NDArray[np.float64]
    scaling_std: NDArray[np.float64]

    @property
    def model_id(self) -> str:
        """Content hash of the model."""
        return self.card.model_id

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients of a spectrum."""
        return self.card.architecture.bands

    @property
    def n_latents(self) -> int:
        """L, the number of latents."""
        return self.card.architecture.n_latents

    @property
    def release(self) -> Release:
        """The data release whose spectra it describes."""
        return release_of(self.card.release, self.bands)

    def decode(
        self, z: NDArray[np.floating[Any]], phot_g_mean_flux: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and scatter of spectra with latents z, in electron/s, float64, each with shape
        (B, C).

        Parameters
        ----------
        z
            Latents, with shape (B, L).
        phot_g_mean_flux
            Mean G flux in electron/s, with shape (B,).

        Raises
        ------
        InvalidInputError
            This version knows no network of that kind.
        """
        name = self.card.architecture.name
        if name not in DECODERS:
            raise InvalidInputError(
                f"no architecture is called {name!r}",
                f"This version knows {', '.join(DECODERS)}",
            )
        mean, scatter = DECODERS[name](self.weights, np.asarray(z, np.float32))
        flux = np.asarray(phot_g_mean_flux, np.float64)[:, None]
        return (
            (mean * self.scaling_std + self.scaling_mean) * flux,
            scatter * self.scaling_std * flux,
        )


def load_decoder(source: str | Storage) -> Decoder:
    """The decoder of the model in a folder, checked against the hash on its card.

    Parameters
    ----------
    source
        The model's folder: a local path, ``s3://`` or ``https://``.

    Raises
    ------
    NotFoundError
        If no complete model is there.
    InvalidInputError
        If what is there is broken, or is not what the card says.
    """
    card, tensors = read_decoder(source if isinstance(source, Storage) else Storage(source))
    return Decoder(card, weights_of(tensors), tensors["scaling.mean"], tensors["scaling.std"])


def weights_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The network's weights among a model's tensors, by the names that torch gives them."""
    prefix = "network."
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _linear(weights: Weights, name: str, h: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(h @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])


def _layer_norm(weights: Weights, name: str, h: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = h - h.mean(-1, keepdims=True)
    width = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-5))
    return np.asarray(centred / width * weights[f"{name}.weight"] + weights[f"{name}.bias"])


def _batch_norm(weights: Weights, name: str, h: NDArray[np.float32]) -> NDArray[np.float32]:
    mean, variance, gain, shift = (
        weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return np.asarray((h - mean) / np.sqrt(variance + np.float32(1e-5)) * gain + shift)


def _layers(weights: Weights, name: str) -> list[str]:
    """Names of the layers of a stack: ``name.0``, ``name.1``, ..."""
    numbers = itertools.takewhile(
        lambda i: any(key.startswith(f"{name}.{i}.") for key in weights), itertools.count()
    )
    return [f"{name}.{i}" for i in numbers]


def _paper(weights: Weights, z: NDArray[np.float32]) -> tuple[Any, Any]:
    """As `xpscale.model.scatter_vae.ScatterVAE.decode`."""

    def stack(name: str) -> NDArray[np.float32]:
        first, *between, last = _layers(weights, name)
        h = _linear(weights, first, z)
        for layer in between:
            h = gelu(_batch_norm(weights, f"{layer}.1", _linear(weights, f"{layer}.0", h)))
        return _linear(weights, last, h)

    return stack("mean"), 1 / (1 + np.exp(-stack("scatter")))


def _noise_aware(weights: Weights, z: NDArray[np.float32]) -> tuple[Any, Any]:
    """As `xpscale.model.noise_aware.NoiseAwareVAE.decode`, after the turn of `iterative`."""
    h = z @ weights["axes"] if "axes" in weights else z
    for layer in _layers(weights, "decoder"):
        if f"{layer}.norm.weight" in weights:
            inner = gelu(
                _linear(weights, f"{layer}.inner", _layer_norm(weights, f"{layer}.norm", h))
            )
            h = h + _linear(weights, f"{layer}.outer", inner)
        else:
            h = gelu(_linear(weights, f"{layer}.inner", h))
    m, a = np.split(_linear(weights, "spectrum", h), 2, axis=-1)
    m = m.clip(-MEAN_BOUND, MEAN_BOUND)
    return np.sinh(m), SCATTER_FLOOR + np.exp(a.clip(*LOG_SCATTER_BOUNDS)) * np.cosh(m)


def _transformer(weights: Weights, z: NDArray[np.float32]) -> tuple[Any, Any]:
    """As `xpscale.model.transformer.TransformerVAE.decode`."""
    h = gelu(_linear(weights, "decoder.2", gelu(_linear(weights, "decoder.0", z))))
    mean, a = np.split(_linear(weights, "spectrum", h), 2, axis=-1)
    return mean, SCATTER_FLOOR + np.logaddexp(0, a)


DECODERS: dict[str, Callable[[Weights, NDArray[np.float32]], tuple[Any, Any]]] = {
    "scatter_vae": _paper,
    "noise_aware": _noise_aware,
    "iterative": _noise_aware,
    "transformer": _transformer,
}
"""The decoder of each architecture of `xpscale.model.architectures.ARCHITECTURES`."""
