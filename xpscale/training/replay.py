"""Steps of training on a GPU, recorded once and replayed.

A step of these small networks is some 300 kernels of three microseconds each; what the host does to
launch one takes eight times as long.  A CUDA graph launches all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Replayed"]


class Replayed:
    """A function of tensors on a GPU that is recorded for every shape of its arguments.

    Its first call with a shape runs as it is, and makes what is made only once; the second is
    recorded, and from then on the record is played.

    Parameters
    ----------
    function
        Of tensors, and of others that stay where they are in memory; it returns tensors and waits
        for none of them.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        self.function = function
        self._records: dict[tuple[torch.Size, ...], _Record | None] = {}

    @property
    def n_records(self) -> int:
        """Shapes whose calls are replayed by now."""
        return sum(record is not None for record in self._records.values())

    def __call__(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """What the function returns; good until the next call."""
        shapes = tuple(values.shape for values in arguments)
        if shapes not in self._records:
            self._records[shapes] = None
            return self.function(*arguments)
        record = self._records[shapes]
        if record is None:
            record = self._records[shapes] = _Record(self.function, arguments)
        return record(arguments)


class _Record:
    """A CUDA graph of one call, and the memory that it reads from and writes to."""

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], arguments: tuple[Tensor, ...]
    ) -> None:
        self.arguments = [torch.empty_like(values) for values in arguments]
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):  # nothing is computed yet
            self.results = function(*self.arguments)

    def __call__(self, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        for ours, values in zip(self.arguments, arguments, strict=True):
            ours.copy_(values)
        self.graph.replay()
        return self.results
