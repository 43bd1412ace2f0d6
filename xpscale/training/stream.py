"""Training rows streamed from where they are stored, shuffled, in bounded memory.

An epoch is a sequence of *windows*.  The blocks of the reader, in the order of the sky, are cut
into strata of as many neighbours as there are windows; each window gets one block of every stratum,
at random, so that it is a fair sample of the sky; and its rows are shuffled.  All of this is a
function of (seed, epoch), so that any batch can be found again by reading one window.  While one
window is trained on, the next is read; both together hold at most ``max_rows`` rows.

What is lost against a perfect shuffle: rows of one block come in the same window.  `design_effect`
says how much.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from xpscale.errors import ConflictError, InvalidInputError
from xpscale.training.batches import Batch, Order, Rows, permutation, share, standardized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.scaling import Scaling
    from xpscale.spectra import Block, SpectraBatch, SpectraReader

__all__ = ["READERS", "StreamedRows", "design_effect", "read_ahead", "window_layout"]

READERS = 4
"""Threads that read blocks."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` in `READERS` threads, in order.

    Parameters
    ----------
    function
        What to do with each item.
    items
        As many are in work, or waiting for the caller, as there are threads.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(READERS) as threads:
        try:
            for item in items:
                if len(waiting) == READERS:
                    yield waiting.popleft().result()
                waiting.append(threads.submit(function, item))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@dataclass(frozen=True, slots=True, eq=False)
class StreamedRows:
    """The training rows of a reader, read anew every epoch.

    Parameters
    ----------
    reader
        Where they are.
    blocks
        Blocks that have training rows, in the order of the reader.
    n_rows
        Training rows of each, int64, with shape (n_blocks,).
    choose
        The training rows of a block's batch.
    scaling
        How they are standardized.
    max_rows
        Most rows in memory.
    device
        Where batches go; a window is sent there whole, from pinned memory if it is a GPU.
    """

    reader: SpectraReader
    blocks: tuple[Block, ...]
    n_rows: NDArray[np.int64]
    choose: Callable[[SpectraBatch], SpectraBatch]
    scaling: Scaling
    max_rows: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return int(self.n_rows.sum())

    def to(self, device: torch.device) -> StreamedRows:
        """The same rows, whose batches will be on a device."""
        return replace(self, device=device)

    def n_windows(self, order: Order) -> int:
        """Windows of an epoch."""
        return number_of_windows(self.n_rows[order.rank :: order.n_processes], self.max_rows // 2)

    def batches(self, order: Order, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch.  Every process reads its own blocks, and has its share of every
        batch from them.

        Parameters
        ----------
        order
            Which row comes when.
        epoch
            Counted from 0.
        first
            Number of the batch to begin with.
        """
        n_batches = order.n_batches(len(self))
        n_rows = [
            int(self.n_rows[rank :: order.n_processes].sum()) for rank in range(order.n_processes)
        ]
        shares = [
            [share(n, number, n_batches) for n in n_rows] for number in range(first, n_batches)
        ]
        if not shares:
            return
        rows = _Feed(self._windows(order, epoch, shares[0][order.rank][0]))
        for number, bounds in enumerate(shares, first):
            sizes = [stop - start for start, stop in bounds]
            start = sum(sizes[: order.rank])
            yield Batch(
                number, rows.take(sizes[order.rank]), sum(sizes), (start, start + sizes[order.rank])
            )

    def _windows(
        self, order: Order, epoch: int, skip: int
    ) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
        """The windows of an epoch with the order of their rows, without the first ``skip`` rows."""
        mine = np.arange(order.rank, len(self.blocks), order.n_processes)
        layout = window_layout(len(mine), self.n_windows(order), order.seed, epoch)
        buffers = [
            self._buffer(max(int(self.n_rows[mine[window]].sum()) for window in layout))
            for _ in range(2)
        ]
        waiting: Future[Rows] | None = None
        with ThreadPoolExecutor(1) as ahead:
            for number, window in enumerate(layout):
                n = int(self.n_rows[mine[window]].sum())
                if skip >= n:
                    skip -= n
                    continue
                loaded = (
                    waiting.result() if waiting else self._load(mine[window], buffers[number % 2])
                )
                if number + 1 < len(layout):
                    waiting = ahead.submit(
                        self._load, mine[layout[number + 1]], buffers[(number + 1) % 2]
                    )
                rows = loaded.to(self.device)
                if self.device.type == "cuda":
                    torch.cuda.synchronize(self.device)  # the buffer is filled again two windows on
                yield rows, permutation(n, order.seed, epoch, number)[skip:]
                skip = 0

    def _buffer(self, n_rows: int) -> Rows:
        pinned = self.device.type == "cuda"
        x, x_err = (
            torch.empty(n_rows, len(self.scaling.mean), pin_memory=pinned) for _ in range(2)
        )
        return Rows(x, x_err, np.empty(n_rows, np.int64))

    def _load(self, window: NDArray[np.int64], buffer: Rows) -> Rows:
        """The rows of some blocks, in the front of a buffer, in the order of the blocks."""
        ends = np.cumsum(self.n_rows[window])

        def fill(place: tuple[int, int]) -> None:
            number, end = place
            batch = self.choose(self.reader.read_block(self.blocks[number]))
            if len(batch) != self.n_rows[number]:
                raise ConflictError(
                    f"block {number} has {len(batch):,} training rows, and had"
                    f" {self.n_rows[number]:,}: the spectra have changed while they were in use",
                    "Start the run again, into another folder",
                )
            rows = slice(end - len(batch), end)
            x, x_err = standardized(batch, self.scaling)
            buffer.x[rows], buffer.x_err[rows], buffer.source_id[rows] = x, x_err, batch.source_id

        for _ in read_ahead(fill, zip(window.tolist(), ends.tolist(), strict=True)):
            pass
        n = int(ends[-1])
        return Rows(buffer.x[:n], buffer.x_err[:n], buffer.source_id[:n])


class _Feed:
    """Takes any number of rows at a time from windows, across their borders."""

    def __init__(self, windows: Iterator[tuple[Rows, NDArray[np.int64]]]) -> None:
        self.windows = windows
        self.rows, self.left = next(windows)

    def take(self, n: int) -> Rows:
        """The next n rows."""
        parts = []
        while n > len(self.left):
            parts.append(self.rows.take(self.left))
            n -= len(self.left)
            self.rows, self.left = next(self.windows)
        parts.append(self.rows.take(self.left[:n]))
        self.left = self.left[n:]
        return Rows.concatenate(parts)


def number_of_windows(n_rows: NDArray[np.int64], window_rows: int) -> int:
    """The fewest windows of which none can have more than ``window_rows`` rows, whatever the draw.

    Parameters
    ----------
    n_rows
        Training rows of each block, with shape (n_blocks,).
    window_rows
        Most rows of a window.

    Raises
    ------
    InvalidInputError
        If a single block has more.
    """
    if n_rows.max() > window_rows:
        raise InvalidInputError(
            f"{n_rows.max():,} training rows lie in one block, and max_rows = {2 * window_rows:,}"
            f" leaves {window_rows:,} for a window",
            f"Raise max_rows to {2 * n_rows.max():,} or more",
        )
    n_windows = max(1, -(-int(n_rows.sum()) // window_rows))
    while (
        sum(n_rows[start : start + n_windows].max() for start in range(0, len(n_rows), n_windows))
        > window_rows
    ):
        n_windows += 1
    return n_windows


def window_layout(n_blocks: int, n_windows: int, *seeds: int) -> list[NDArray[np.int64]]:
    """The blocks of each window: one of every ``n_windows`` neighbours, at random.

    Parameters
    ----------
    n_blocks, n_windows
        How many there are.
    seeds
        What the draw depends on.
    """
    n_strata = -(-n_blocks // n_windows)
    strata = np.arange(n_strata * n_windows).reshape(n_strata, n_windows)
    drawn = np.random.default_rng(seeds).permuted(strata, axis=1)
    return [window[window < n_blocks] for window in drawn.T]


def design_effect(
    means: NDArray[np.float64],
    n_rows: NDArray[np.int64],
    n_windows: int,
    batch_size: int,
    seed: int = 0,
) -> NDArray[np.float64]:
    """How much more the means of batches vary than those of a perfect shuffle: a ratio of
    variances, with shape (C,).

    A batch of B rows comes from one window, so its mean varies by the rows, 1/B, and by the
    windows' own means, of variance V around 0.  By chance alone V would be (n_windows - 1) / N.
    The ratio is 1 + B (V - (n_windows - 1) / N), the design effect of cluster sampling (Kish 1965,
    Survey Sampling, section 5.4); 1 is a perfect shuffle.

    Parameters
    ----------
    means
        Mean standardized coefficients of every block's training rows, with shape (n_blocks, C).
    n_rows
        Training rows of every block, with shape (n_blocks,).
    n_windows, batch_size, seed
        Of the stream.
    """
    totals = means * n_rows[:, None]
    squares = np.zeros(means.shape[1])
    for window in window_layout(len(means), n_windows, seed, 0):
        squares += totals[window].sum(0) ** 2 / n_rows[window].sum()
    excess = squares / n_rows.sum() - (n_windows - 1) / n_rows.sum()
    return np.asarray(1 + batch_size * np.maximum(excess, 0))
