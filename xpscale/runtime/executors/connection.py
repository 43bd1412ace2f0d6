"""Talking to a scheduler that may go away meanwhile."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from xpscale.errors import TryAgainError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["LOST", "connected"]

LOST = (asyncio.CancelledError, concurrent.futures.CancelledError, OSError, TimeoutError)
"""What a result raises that the cluster has lost.  What a task raises is in its report."""


@contextlib.contextmanager
def connected(client: Client) -> Iterator[None]:
    """Talk to a scheduler that may go away meanwhile.

    Raises
    ------
    TryAgainError
        It is gone, or goes.
    """
    gone = TryAgainError(
        "the connection to the Dask scheduler is lost; finished tasks are kept",
        "Start it again if it is gone, and run the same command to go on",
    )
    if client.status != "running":
        raise gone
    try:
        yield
    except LOST as error:
        raise gone from error
