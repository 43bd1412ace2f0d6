"""One step of the weights: Muon for the square matrices, AdamW for everything else.

With G the gradient of a square weight matrix W with shape (n, n), eta the learning rate, lambda the
weight decay and mu = 0.95, Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon)
moves W by the nearest orthogonal matrix to the gradient's running mean::

    M <- mu M + (1 - mu) G
    U  = mu M + (1 - mu) G
    O  ~ U (U^T U)^(-1/2)
    W <- (1 - eta lambda) W - 0.2 sqrt(n) muon_rate eta O

so that all directions of a layer's input and output are learnt at one speed.  With 0.2 sqrt(n) the
elements of O have the root mean square of AdamW's steps (Liu et al. 2025, arXiv:2502.16982), so
that one learning rate serves both.  O comes from five Newton-Schulz steps, which need matrix
products only::

    X_0 = U / |U|,     S = X X^T,     X <- a X + (b S + c S^2) X

with a, b, c chosen by Jordan et al. such that every singular value ends between 0.7 and 1.2.

AdamW is that of Loshchilov & Hutter (2019, arXiv:1711.05101) as torch has it.
``design/011-better-model.md`` has what Muon is worth.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from xpscale.training.flat import FlatParameters
    from xpscale.training.settings import TrainingSettings

__all__ = ["Optimizer", "orthogonal"]

MOMENTUM = 0.95
STEP_RMS = 0.2
NEWTON_SCHULZ = 3.4445, -4.7750, 2.0315
N_NEWTON_SCHULZ = 5


class Optimizer:
    """Moves the weights of a network by gradients; it never waits for a GPU.

    Parameters
    ----------
    weights
        The network's, on its device.
    settings
        Learning rate, weight decay, AdamW's beta_2, and ``muon_rate``: with 0 all weights are
        AdamW's.
    """

    def __init__(self, weights: FlatParameters, settings: TrainingSettings) -> None:
        self.settings = settings
        vector = weights.vector.detach()
        self.stacks = weights.square_stacks if settings.muon_rate else []
        n_muon = sum(math.prod(shape) for shape in self.stacks)
        self.muon_weights, self.momentum = vector[:n_muon], torch.zeros_like(vector[:n_muon])
        self.other_weights = nn.Parameter(vector[n_muon:])  # the same memory
        self.adamw = torch.optim.AdamW(
            [self.other_weights],
            lr=settings.learning_rate,
            betas=(0.9, settings.second_moment_decay),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self._fit_device()

    def _fit_device(self) -> None:
        """On a GPU the learning rate must be there, where a recorded step finds it."""
        device = self.other_weights.device
        for group in self.adamw.param_groups:
            rate = float(group["lr"])
            group["capturable"] = device.type == "cuda"
            group["lr"] = torch.tensor(rate, device=device) if group["capturable"] else rate

    def set_learning_rate(self, rate: float) -> None:
        """The eta of the next step."""
        for group in self.adamw.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    @torch.no_grad()
    def step(self, gradient: Tensor, is_finite: Tensor) -> None:
        """Move the weights.

        Parameters
        ----------
        gradient
            Of all weights, as one vector.
        is_finite
            A bool on the device; nothing changes if it is false.
        """
        n_muon = len(self.muon_weights)
        self.other_weights.grad = gradient[n_muon:]
        self.adamw.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
        self.adamw.step()
        if n_muon:
            self._muon_step(gradient[:n_muon], is_finite)

    def _muon_step(self, gradient: Tensor, is_finite: Tensor) -> None:
        (group,) = self.adamw.param_groups
        momentum = torch.lerp(gradient, self.momentum, MOMENTUM)
        ahead = torch.lerp(gradient, momentum, MOMENTUM)
        parts = torch.split(ahead, [math.prod(shape) for shape in self.stacks])
        change = torch.cat(
            [
                STEP_RMS * math.sqrt(shape[-1]) * orthogonal(part.view(shape)).reshape(-1)
                for shape, part in zip(self.stacks, parts, strict=True)
            ]
        )
        kept = (1 - group["lr"] * group["weight_decay"]) * self.muon_weights
        moved = kept - self.settings.muon_rate * group["lr"] * change
        self.muon_weights.copy_(torch.where(is_finite, moved, self.muon_weights))
        self.momentum.copy_(torch.where(is_finite, momentum, self.momentum))

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, apart from weights and learning rate."""
        return {"adamw": self.adamw.state_dict(), "momentum": self.momentum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.adamw.load_state_dict(state["adamw"])
        self.momentum.copy_(state["momentum"])
        self._fit_device()


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearest orthogonal matrices, roughly: singular values between 0.7 and 1.2.

    Parameters
    ----------
    matrices
        With shape (K, n, n); singular values below a thousandth of a matrix's norm end lower.
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrices / matrices.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    for _ in range(N_NEWTON_SCHULZ):
        s: Tensor = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x
