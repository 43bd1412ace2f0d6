"""Several processes that train one network: each takes its share of every batch, and gradients are
added up.

Started by ``torchrun``, which sets the environment that `joined` reads, or by
`xpscale.runtime.executors.worker_group` on the workers of a Dask cluster, which gives every process
its rank and one address.

The network is so small (70,000 numbers) that all gradients travel as one vector a step.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from xpscale.errors import TryAgainError

__all__ = ["ONE_PROCESS", "Processes", "joined", "own_device"]

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for the others before it takes one of them for hung."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes that train together; every method is called by all of them, in the same order.

    Parameters
    ----------
    rank, n
        Which one this is, of how many.
    """

    rank: int = 0
    n: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and reports."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, element by element; the same bits in each."""
        if self.n > 1:
            with _explained():
                dist.all_reduce(values)
        return values

    def synchronize(self, network: nn.Module) -> None:
        """Make batch normalization that of the whole batch, in place."""
        if self.n > 1:
            for module in list(network.modules()):
                for name, child in module.named_children():
                    if type(child) is nn.BatchNorm1d:
                        setattr(module, name, _BatchNorm(child, self))

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What ``make`` returns in the first process, in all of them."""
        if self.n == 1:
            return make()
        held: list[Any] = [make() if self.is_first else None]
        with _explained():
            dist.broadcast_object_list(held)
        value: Value = held[0]
        return value

    def gather(self, value: Value) -> list[Value]:
        """The value of every process, in all of them, by rank."""
        if self.n == 1:
            return [value]
        values: list[Any] = [None] * self.n
        with _explained():
            dist.all_gather_object(values, value)
        return values


ONE_PROCESS = Processes()
"""This process alone."""


class _Total(torch.autograd.Function):
    """The sum over all processes; backwards, the sum of what all of them send back."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes.total(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.processes.total(gradient.clone()), None


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalization over a batch that is shared among processes (torch's own is for GPUs
    only).
    """

    def __init__(self, norm: nn.BatchNorm1d, processes: Processes) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self.to(norm.weight.device)
        self.processes = processes

    def forward(self, x: Tensor) -> Tensor:
        """Normalized x, with shape (B, features)."""
        if not self.training:
            return super().forward(x)
        sums = torch.cat([x, x.square()], 1).sum(0)
        local = torch.cat([sums, x.new_tensor([len(x)])])
        total: Tensor = _Total.apply(local, self.processes)  # type: ignore[no-untyped-call]
        n_rows = total[-1]  # of the whole batch
        mean, mean_square = (total[:-1] / n_rows).chunk(2)
        variance = (mean_square - mean.square()).clamp(min=0)
        if (
            self.running_mean is not None
            and self.running_var is not None
            and self.num_batches_tracked is not None
        ):
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum or 0.1)
                self.running_var.lerp_(variance * n_rows / (n_rows - 1), self.momentum or 0.1)
        return (x - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


@contextlib.contextmanager
def joined(rank: int | None = None, n: int | None = None, address: str = "") -> Iterator[Processes]:
    """Meet the other processes, if there are any.

    Parameters
    ----------
    rank, n, address
        Which of how many this is, and ``HOST:PORT`` where the first one listens; by default what
        ``torchrun`` has put into the environment, and one process where it has not.

    Raises
    ------
    TryAgainError
        If the others do not come.
    """
    n = int(os.environ.get("WORLD_SIZE", 1)) if n is None else n
    if n == 1 or dist.is_initialized():
        yield (
            Processes(dist.get_rank(), dist.get_world_size())
            if dist.is_initialized()
            else ONE_PROCESS
        )
        return
    rank = int(os.environ["RANK"]) if rank is None else rank
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with _explained():
        where = f"tcp://{address}" if address else "env://"
        dist.init_process_group(
            backend, init_method=where, rank=rank, world_size=n, timeout=TIMEOUT
        )
    try:
        yield Processes(rank, n)
    finally:  # closes the connections, which ends the wait of the others if this one failed
        dist.destroy_process_group()


def own_device(device: str) -> torch.device:
    """The device of this process: where several GPUs are on a machine, ``torchrun`` says whose is
    which.
    """
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device(device)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [""])[0][:200]
        raise TryAgainError(
            f"the processes that train together lost each other ({reason})",
            "The message of the one that failed first says why; repair that and run the same"
            " command again: it goes on from the last checkpoint",
        ) from error
