"""The network in the form inference uses: fewer layers, the same function.

BatchNorm goes into the linear layer before it, the first two linear layers of each decoder become
one, and the heads of mu and log_var become one matrix.  Activations are kept feature-major, (width,
B): matrix products of these widths run faster that way round, and each latent comes out as a column
of the catalogue.  On a CPU bias and GELU are one pass, in place
(`xpscale.model.network_kernels.gelu_rows`); what remains are matrix products near the processor's
peak.  Together 1.6 times the spectra a second of the network as it was trained (`python -m
tests.benchmarks inference`).

The scaling is *not* folded in: it would cost a factor two in float32 accuracy, because the standard
deviations are some 1e-5 of the flux.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpscale.model.constants import LATENT_LOG_VAR_BOUNDS
from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.fused import FusedVAE
from xpscale.model.iterative import IterativeVAE
from xpscale.model.network_kernels import gelu_rows
from xpscale.model.nn import folded
from xpscale.model.noise_aware import NoiseAwareVAE
from xpscale.model.scatter_vae import NetworkModule, ScatterVAE

__all__ = ["FoldedScatterVAE", "fold"]

FUSED = (NoiseAwareVAE, IterativeVAE)  # themselves: what derives from them is another function


class FoldedScatterVAE(NetworkModule):
    """A `ScatterVAE` for inference only; made by `fold`.

    Parameters
    ----------
    network
        A trained network in float64, on the device where the folded one shall live.
    """

    needs_errors = False

    def __init__(self, network: ScatterVAE) -> None:
        super().__init__(network.architecture)
        heads = nn.Linear(network.latent_mean.in_features, 2 * network.architecture.n_latents)
        heads.weight = nn.Parameter(
            torch.cat([network.latent_mean.weight, network.latent_log_var.weight])
        )
        heads.bias = nn.Parameter(
            torch.cat([network.latent_mean.bias, network.latent_log_var.bias])
        )
        self.encoder = folded([network.encoder, heads])
        self.mean = folded(network.mean)
        self.scatter = folded([network.scatter, nn.Sigmoid()])

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The posterior of the latents; errors are not looked at."""
        *inner, heads = self.encoder
        mean, log_var = _linear(heads, _through(inner, x.T)).chunk(2)  # (L, B) each
        return LatentPosterior(mean.T, log_var.clamp(*LATENT_LOG_VAR_BOUNDS).T)

    def decode(self, z: Tensor) -> Reconstruction:
        """The distribution of standardized coefficients given latents z, with shape (B, L)."""
        *inner, linear = self.mean
        mean = linear(_through(inner, z.T).T)  # (B, C), row after row
        *inner, linear, sigmoid = self.scatter
        return Reconstruction(mean, sigmoid(linear(_through(inner, z.T).T)))


def _through(layers: Iterable[nn.Module], h: Tensor) -> Tensor:
    """GELU(W h + b), linear layer by linear layer, of h with shape (I, B): (O, B)."""
    compiled = h.device.type == "cpu" and h.dtype == torch.float32 and not torch.is_grad_enabled()
    for layer in layers:
        if not isinstance(layer, nn.Linear):  # the GELU that stands between two of them
            continue
        if compiled:
            h = torch.mm(layer.weight, h)
            gelu_rows(h.numpy(), layer.bias.numpy())
        else:
            h = functional.gelu(_linear(layer, h))
    return h


def _linear(layer: nn.Module, h: Tensor) -> Tensor:
    """W h + b with shape (O, B)."""
    return torch.addmm(layer.bias[:, None], layer.weight, h)  # type: ignore[index, arg-type]


def fold(
    network: NetworkModule,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> NetworkModule:
    """The network for inference: folded, in evaluation mode and without gradients; the network
    itself stays as it is.

    An architecture with nothing to fold is only copied.

    Parameters
    ----------
    network
        A trained network of any architecture.
    dtype
        The precision it will run in; the folding itself is done in float64.
    device
        Where it will run.
    """
    result = copy.deepcopy(network).double().eval().requires_grad_(False)
    is_compiled = torch.device(device).type == "cpu" and dtype == torch.float32
    if isinstance(result, ScatterVAE):
        result = FoldedScatterVAE(result)
    elif is_compiled and isinstance(result, NoiseAwareVAE) and type(result) in FUSED:
        result = FusedVAE(result)
    return result.to(device, dtype).requires_grad_(False).eval()
