"""The device that a network runs on."""

from __future__ import annotations

import torch

from xpscale.errors import InvalidInputError

__all__ = ["pick_device"]


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of a name.

    Parameters
    ----------
    name
        ``"auto"`` is the GPU if there is one.

    Raises
    ------
    InvalidInputError
        torch has no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(
            f"torch has no device {name!r} here", "Use 'cpu', 'cuda' or 'auto'"
        ) from error
    return device
