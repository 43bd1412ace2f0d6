"""The gradient of a batch, added up over the shares of it that threads and processes take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xpscale.model.distributions import LatentPosterior, Reconstruction
from xpscale.model.scatter_vae import NetworkModule
from xpscale.runtime.machine import n_cpus
from xpscale.training.batches import share
from xpscale.training.loss import BatchLoss, Objective

if TYPE_CHECKING:
    from xpscale.training.flat import FlatParameters
    from xpscale.training.parallel import Processes
    from xpscale.training.settings import TrainingSettings

__all__ = ["SHARE_ROWS", "BatchGradient", "map_in_threads"]

SHARE_ROWS = 128
"""On a CPU a batch goes through the network in shares of about as many rows, one thread each.

The shares of a batch do not depend on the number of cores, so that neither do the sums' last bits.
"""


class _HalfPrecision(NetworkModule):
    """A network whose matrix products are in bfloat16, and whose results are float32."""

    def __init__(self, network: NetworkModule) -> None:
        super().__init__(network.architecture)
        self.network = network

    def encode(self, x: Tensor, x_err: Tensor | None = None) -> LatentPosterior:
        """The same as that of the network."""
        # every weight is used once, so that nothing is gained by keeping it converted
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            found = self.network.encode(x, x_err)
        factor = None if found.factor is None else found.factor.float()
        return LatentPosterior(found.mean.float(), found.log_var.float(), factor)

    def decode(self, z: Tensor) -> Reconstruction:
        """The same as that of the network."""
        with torch.autocast(z.device.type, torch.bfloat16, cache_enabled=False):
            found = self.network.decode(z)
        return Reconstruction(found.mean.float(), found.scatter.float())


class BatchGradient:
    """Computes the loss of batches, and its gradient.

    Parameters
    ----------
    settings
        How to train.
    network
        The network, on its device.
    weights
        Its parameters as one vector.
    processes
        Who trains together.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        network: NetworkModule,
        weights: FlatParameters,
        processes: Processes,
    ) -> None:
        self.weights, self.processes = weights, processes
        self.network = _HalfPrecision(network) if settings.precision == "bf16" else network
        self.objective = Objective(settings, network.architecture.bands)
        self.loss: Callable[..., BatchLoss] = self.objective
        if settings.compile:
            self.loss = torch.compile(self.objective.__call__, dynamic=True)
        is_on_cpu = weights.vector.device.type == "cpu"
        is_whole = not is_on_cpu or settings.compile or _mixes_rows(network)
        self.share_rows = settings.batch_size if is_whole else SHARE_ROWS
        self.map_shares = map_in_threads(1 if processes.n > 1 or is_whole else n_cpus())

    def __call__(
        self,
        x: Tensor,
        x_err: Tensor,
        draws: tuple[Tensor, ...],
        n_rows: int,
        free_nats: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The batch's mean nll and kl, with shape (2,), and the gradient of its cost.

        Parameters
        ----------
        x, x_err
            Standardized spectra and errors: this process's rows of the batch, with shape (B, C).
        draws
            What `Objective.draw` made for them.
        n_rows
            Rows of the batch, over all processes.
        free_nats
            The kl of a latent that costs nothing, a number.
        """
        n_shares = max(1, round(len(x) / self.share_rows))

        def part(number: int) -> Tensor:
            """What a share adds to the gradient, then to the terms, as one vector."""
            rows = slice(*share(len(x), number, n_shares))
            data = x[rows], x_err[rows], tuple(values[rows] for values in draws)
            cost, terms = self.loss(self.network, *data, free_nats)
            weight = len(data[0]) / n_rows
            return self.weights.gradient(weight * cost, weight * terms)

        first, *others = self.map_shares(part, range(n_shares))
        for each in others:
            first += each
        total = self.processes.total(first)
        return total[-2:], total[:-2]


def map_in_threads(n: int) -> Callable[..., Iterable[Any]]:
    """``map`` in n threads, each with one thread of torch's; results in order.

    The layers are too small for several threads of torch's own: these gain a quarter on an idle
    machine and wait for each other many times as long on a busy one.  Shares of a batch are
    independent, so a thread can take one through the whole network, and waits twice a step.  torch
    releases the interpreter's lock while it computes.
    """
    if n == 1:
        return map
    return ThreadPoolExecutor(n, initializer=torch.set_num_threads, initargs=(1,)).map


def _mixes_rows(network: nn.Module) -> bool:
    """Whether what it makes of a row in training depends on the others of its batch."""
    return any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
