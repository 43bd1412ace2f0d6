"""The training step of the paper's network on a CPU, with its gradient written out.

A network of 67 thousand numbers in 15 layers is so small that autograd's nodes, views and temporary
arrays take half of a step with a thousand spectra.  Here a step is some fifty matrix products and,
between two of them, one compiled pass over activations that are kept feature-major, (width, B)
(`xpscale.training.step_kernels`).  Gradients are written where the optimiser reads them.  With a
layer h -> GELU(gain n + shift), n = normalize(W h + b)::

    d_a   = gradient of GELU and normalization, from that of the layer's output      (`normalized_gelu_gradient`)
    d_W   = d_a h^T          d_b = 0          d_h = W^T d_a

b adds to the mean that is subtracted again: its gradient is zero, here exactly, in torch but for
rounding.  The loss is that of `xpscale.training.loss`; sigmoid's derivative is s (1 - s).

Where there are two cores, a second thread takes the scatter's decoder while the first takes the
mean's, and the encoder's d_W while the first goes on with d_h.  Each number is computed by one
thread (`xpscale.training.train` gives the first one torch thread, too), so its bits do not depend
on how many cores there are. ``design/010-training-at-scale.md`` has the rates.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from xpscale.model.scatter_vae import LATENT_LOG_VAR_BOUNDS, ScatterVAE
from xpscale.runtime.cpus import n_cpus
from xpscale.training.step_kernels import (
    draw,
    draw_gradient,
    likelihood,
    normalized_gelu,
    normalized_gelu_gradient,
)

if TYPE_CHECKING:
    from xpscale.training.flat import FlatParameters

__all__ = ["GradientByHand"]

_LOWER, _UPPER = map(np.float32, LATENT_LOG_VAR_BOUNDS)


class GradientByHand:
    """The loss of batches under a `ScatterVAE` in training, and its gradient, on a CPU and in
    float32.

    Parameters
    ----------
    network
        The network, which is as after a step of torch's: running means of its batch normalization
        go on.
    weights
        Its parameters as one vector.
    """

    def __init__(self, network: ScatterVAE, weights: FlatParameters) -> None:
        self.gradient = torch.zeros_like(weights.vector.detach())
        pieces = weights.pieces(self.gradient)
        self._d = {
            id(parameter): d for parameter, d in zip(weights.parameters, pieces, strict=True)
        }
        self.encoder = self._layers(network.encoder)
        self.latent_mean, self.latent_log_var = (
            self._layer(network.latent_mean),
            self._layer(network.latent_log_var),
        )
        self.mean, self.scatter = self._layers(network.mean), self._layers(network.scatter)
        self.beside: Callable[..., Future[Any]] = at_once
        if n_cpus() > 1:
            self.beside = ThreadPoolExecutor(
                1, initializer=torch.set_num_threads, initargs=(1,)
            ).submit
        self.counts: list[Any] = [
            m.num_batches_tracked for m in network.modules() if isinstance(m, nn.BatchNorm1d)
        ]

    def _layers(self, stack: nn.Sequential) -> list[_Linear]:
        return [self._layer(layer) for layer in stack]

    def _layer(self, layer: nn.Module) -> _Linear:
        if isinstance(layer, nn.Linear):
            return _Linear(layer, self._d)
        return _NormalizedGelu(layer[0], layer[1], self._d)  # type: ignore[index]

    def __call__(
        self, x: Tensor, x_err: Tensor, noise: Tensor, free_nats: float
    ) -> tuple[Tensor, Tensor]:
        """The mean nll and kl, with shape (2,), and the gradient of the cost as one vector, good
        until the next call.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors, with shape (B, C), B > 1.
        noise
            Standard normal numbers to draw latents by, with shape (B, L).
        free_nats
            The kl of a latent that costs nothing.
        """
        torch._foreach_add_(self.counts, 1)
        h = x.T
        for layer in self.encoder:
            h = layer(h)
        latents = self.latent_mean(h), self.latent_log_var(h)  # (L, B) each
        z, width, kl = (
            torch.empty_like(latents[0]),
            torch.empty_like(latents[0]),
            np.empty(len(latents[0]), np.float32),
        )
        drawn = (*_arrays(*latents, noise), _LOWER, _UPPER, width.numpy())
        draw(*drawn, z.numpy(), kl)

        decoded = self.beside(lambda: self._decoded(self.scatter, z).sigmoid_())
        mean, scatter = self._decoded(self.mean, z), decoded.result()
        d_mean, d_logit = torch.empty_like(mean), torch.empty_like(mean)
        nll = likelihood(*_arrays(x, x_err, mean, scatter, d_mean, d_logit))

        d_z_of_scatter = self.beside(self._back_to_z, self.scatter, d_logit)
        d_z = self._back_to_z(self.mean, d_mean) + d_z_of_scatter.result()
        draw_gradient(d_z.numpy(), *drawn, (kl > free_nats).astype(np.float32))
        d_latent_mean, d_latent_log_var = latents  # in their places
        d_h = self.latent_mean.back(d_latent_mean) + self.latent_log_var.back(d_latent_log_var)
        first, *others = self.encoder
        products = []
        for layer in reversed(others):
            d = layer.before(d_h)
            products.append(self.beside(layer.multiply, d))
            d_h = layer.through(d)
        first.multiply(first.before(d_h))
        for product in products:
            product.result()
        return torch.tensor([nll, kl.sum()], dtype=torch.float32), self.gradient

    @staticmethod
    def _decoded(layers: list[_Linear], h: Tensor) -> Tensor:
        """The decoder's output, row by row: (B, C)."""
        *inner, last = layers
        for layer in inner:
            h = layer(h)
        return last.rows(h)

    @staticmethod
    def _back_to_z(layers: list[_Linear], d: Tensor) -> Tensor:
        """The gradient of z, with shape (L, B), given that of the decoder's output, with shape (B,
        C).
        """
        d = d.T
        for layer in reversed(layers):
            d = layer.back(d)
        return d


class _Linear:
    """h -> W h + b, with shape (O, B)."""

    def __init__(self, linear: nn.Linear, gradients: dict[int, Tensor]) -> None:
        self.weight, self.bias = linear.weight.detach(), linear.bias.detach()
        self.weight_t, self.bias_column = self.weight.T, self.bias[:, None]
        self.d_weight, self.d_bias = gradients[id(linear.weight)], gradients[id(linear.bias)]
        self.h = self.weight  # what went in last

    def __call__(self, h: Tensor) -> Tensor:
        self.h = h
        return torch.addmm(self.bias_column, self.weight, h)

    def rows(self, h: Tensor) -> Tensor:
        """The same, as (B, O) in memory."""
        self.h = h
        return torch.addmm(self.bias, h.T, self.weight_t)

    def back(self, d: Tensor) -> Tensor:
        """Set the gradients of the parameters, given that of the result, and return that of h."""
        d = self.before(d)
        self.multiply(d)
        return self.through(d)

    def before(self, d: Tensor) -> Tensor:
        """The gradient of W h + b, given that of the result; sets those of all parameters but W."""
        torch.sum(d, 1, out=self.d_bias)
        return d

    def multiply(self, d: Tensor) -> None:
        """Set the gradient of W, given that of W h + b."""
        torch.mm(d, self.h.T, out=self.d_weight)

    def through(self, d: Tensor) -> Tensor:
        """The gradient of h, given that of W h + b."""
        return torch.mm(self.weight_t, d)


class _NormalizedGelu(_Linear):
    """h -> GELU(BatchNorm(W h + b))."""

    def __init__(
        self, linear: nn.Linear, norm: nn.BatchNorm1d, gradients: dict[int, Tensor]
    ) -> None:
        super().__init__(linear, gradients)
        self.eps, momentum = np.float32(norm.eps), np.float32(norm.momentum)
        self.gain, self.shift = _arrays(norm.weight.detach(), norm.bias.detach())
        self.fixed = self.bias.numpy(), self.gain, self.shift, self.eps, momentum
        self.running = _arrays(norm.running_mean, norm.running_var)  # type: ignore[arg-type]
        self.d_gain, self.d_shift = _arrays(gradients[id(norm.weight)], gradients[id(norm.bias)])

    def __call__(self, h: Tensor) -> Tensor:
        self.h, normal = h, torch.mm(self.weight, h)
        out, slope, variance = (
            torch.empty_like(normal),
            torch.empty_like(normal),
            torch.empty(len(normal)),
        )
        self.normal, self.slope, self.variance = _arrays(normal, slope, variance)
        normalized_gelu(
            self.normal, *self.fixed, *self.running, self.variance, out.numpy(), self.slope
        )
        return out

    def before(self, d: Tensor) -> Tensor:
        d = d.contiguous()
        given = d.numpy(), self.normal, self.slope, self.gain, self.variance
        normalized_gelu_gradient(*given, self.eps, self.d_gain, self.d_shift)
        return d


def at_once(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Do work where it would be handed to another thread."""
    done: Future[Any] = Future()
    done.set_result(work(*arguments))
    return done


def _arrays(*tensors: Tensor) -> list[Any]:
    return [tensor.numpy() for tensor in tensors]
