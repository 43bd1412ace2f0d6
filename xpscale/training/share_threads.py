"""Work on the shares of a batch, in threads.

The layers are too small for several threads of torch's own: these gain a quarter on an idle machine
and wait for each other many times as long on a busy one.  Shares of a batch are independent, so a
thread can take one through the whole network, and waits twice a step.  torch releases the
interpreter's lock while it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from xpscale.training.batches import share

__all__ = ["Threads"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Threads:
    """The calling thread and others that help it, each with one thread of torch's.

    Parameters
    ----------
    n
        How many, the calling one included.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.others = ThreadPoolExecutor(
            max(1, n - 1), initializer=torch.set_num_threads, initargs=(1,)
        )

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """The results of a function for several items, in their order.

        Parameters
        ----------
        function
            What to do; its operations on tensors are torch's own, or release the lock.
        items
            What it is called with.
        """

        def results(thread: int) -> list[Result]:
            return [function(item) for item in items[slice(*share(len(items), thread, n))]]

        n = min(self.n, len(items))
        coming = [self.others.submit(results, thread) for thread in range(1, n)]
        found = results(0)
        for each in coming:
            found += each.result()
        return found
