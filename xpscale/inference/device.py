"""The network on one device, fed from the host: micro-batches go over, results come back, and the
host need not wait.

On a GPU a *lane* has three streams, so that rows travel to the device, are computed and travel back
at the same time, and pinned memory for two micro-batches, without which copies are neither quick
nor asynchronous::

    host       standardize k+1      finish k-1
    to device  ............ k+1
    compute    k ..........
    to host    k-1 ........

Two lanes let two tasks of a worker share a GPU.  On a CPU the same code runs with ordinary memory
and no streams, and a result is there as soon as it is asked for; every task has a lane of its own,
and a processor core if there is one.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from xpscale.model.scatter_vae import NetworkModule

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["InFlight", "Lane", "Lanes", "OnDevice"]

GPU_LANES = 2
SLOTS = 2  # micro-batches of a lane that are on their way


@dataclass(frozen=True, slots=True)
class OnDevice:
    """A network for inference, and what of its results is wanted on the host.

    Parameters
    ----------
    network
        From `xpscale.model.folding.fold`, on its device.
    device
        Where it is.
    decodes, correlates
        Whether reconstructions, and correlations of the latents, are wanted.
    """

    network: NetworkModule
    device: torch.device
    decodes: bool
    correlates: bool = False

    def __call__(self, x: torch.Tensor, x_err: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """``latents`` with shape (2L + 2, B): means, log variances, kl, whether a variance is at
        its bound; ``mean`` and ``scatter`` with shape (B, C); ``correlations`` and their
        ``correlation_widths`` with shape (L (L - 1) / 2, B).
        """
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self.results(x, x_err)

    def results(self, x: torch.Tensor, x_err: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """The same, in whatever mode the caller has set.

        Parameters
        ----------
        x, x_err
            Standardized rows and their errors, with shape (B, C).
        """
        results = self.network.latent_columns(x, x_err, correlates=self.correlates)
        if self.decodes:
            decoded = self.network.decode(
                results["latents"][: self.network.architecture.n_latents].T
            )
            results |= {"mean": decoded.mean, "scatter": decoded.scatter}
        return results


@dataclass(frozen=True, slots=True)
class InFlight:
    """The results of one micro-batch, on their way."""

    _results: dict[str, torch.Tensor]
    _arrived: torch.cuda.Event | None

    def result(self) -> dict[str, NDArray[np.float32]]:
        """The results on the host, good until `SLOTS` more micro-batches have been submitted."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return {name: values.numpy() for name, values in self._results.items()}


class Lane:
    """Sends the micro-batches of one task at a time through a network.

    Parameters
    ----------
    on_device
        The network.
    """

    def __init__(self, on_device: OnDevice) -> None:
        self.on_device = on_device
        self._is_cuda = on_device.device.type == "cuda"
        self._streams = (
            [_stream(on_device.device) for _ in range(3)] if self._is_cuda else [None] * 3
        )
        self._pinned: list[dict[str, torch.Tensor]] = [{} for _ in range(SLOTS)]
        self._slot = 0

    @property
    def depth(self) -> int:
        """Micro-batches to leave on their way while the next is prepared."""
        return SLOTS - 1 if self._is_cuda else 0

    def submit(self, x: NDArray[np.float32], x_err: NDArray[np.float32] | None) -> InFlight:
        """Start a micro-batch.

        Parameters
        ----------
        x, x_err
            Standardized rows, with shape (B, C), and their errors if the network takes them.

        Raises
        ------
        torch.OutOfMemoryError
            The device's memory does not hold it.
        """
        upload, compute, download = self._streams
        slot = self._pinned[self._slot]
        with _on(upload):
            inputs = [
                None if v is None else self._to_device(slot, f"to {i}", v)
                for i, v in enumerate((x, x_err))
            ]
        with _after(compute, upload):
            results = self.on_device(inputs[0], inputs[1])  # type: ignore[arg-type]
        with _after(download, compute):
            on_host = {name: self._to_host(slot, name, values) for name, values in results.items()}
            arrived: torch.cuda.Event | None = torch.cuda.Event() if self._is_cuda else None  # type: ignore[no-untyped-call]
            if arrived is not None:
                arrived.record(download)
        self._slot = (self._slot + 1) % SLOTS
        return InFlight(on_host, arrived)

    def _to_device(
        self, slot: dict[str, torch.Tensor], name: str, values: NDArray[np.float32]
    ) -> torch.Tensor:
        host = torch.from_numpy(values)
        if not self._is_cuda:
            return host
        staged = self._staging(slot, name, host).copy_(host)
        return _kept(staged.to(self.on_device.device, non_blocking=True), self._streams[1])

    def _to_host(
        self, slot: dict[str, torch.Tensor], name: str, values: torch.Tensor
    ) -> torch.Tensor:
        if not self._is_cuda:
            return values
        return self._staging(slot, name, values).copy_(
            _kept(values, self._streams[2]), non_blocking=True
        )

    @staticmethod
    def _staging(slot: dict[str, torch.Tensor], name: str, like: torch.Tensor) -> torch.Tensor:
        """Pinned memory of this shape, kept from one micro-batch to the next."""
        held = slot.get(name)
        if held is None or held.numel() < like.numel():
            held = slot[name] = torch.empty(like.numel(), dtype=like.dtype, pin_memory=True)
        return held[: like.numel()].view(like.shape)


@dataclass
class Lanes:
    """The lanes of a network; a task takes one for as long as it computes, and on a GPU waits if
    there is none.
    """

    on_device: OnDevice
    _free: queue.SimpleQueue[Lane] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        if self.on_device.device.type == "cuda":
            for _ in range(GPU_LANES):
                self._free.put(Lane(self.on_device))

    @contextlib.contextmanager
    def take(self) -> Iterator[Lane]:
        """A lane to use alone."""
        if self.on_device.device.type != "cuda":
            yield Lane(self.on_device)
            return
        lane = self._free.get()
        try:
            yield lane
        finally:
            self._free.put(lane)


def _stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _on(stream: torch.cuda.Stream | None) -> Iterator[None]:
    if stream is None:
        yield
        return
    with torch.cuda.stream(stream):
        yield


@contextlib.contextmanager
def _after(stream: torch.cuda.Stream | None, before: torch.cuda.Stream | None) -> Iterator[None]:
    if stream is not None and before is not None:
        stream.wait_stream(before)
    with _on(stream):
        yield


def _kept(tensor: torch.Tensor, stream: torch.cuda.Stream | None) -> torch.Tensor:
    """The tensor, whose memory is not given away before a stream that reads it is done with it."""
    if stream is not None:
        tensor.record_stream(stream)
    return tensor
