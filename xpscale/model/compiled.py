"""How loops of this package's mathematics are compiled."""

from __future__ import annotations

from typing import Any

import numba as nb

__all__ = ["jit"]

jit: Any = nb.njit(
    cache=True, nogil=True, boundscheck=False, error_model="numpy", fastmath={"contract", "reassoc"}
)
"""Decorates a function of arrays: fused multiply-adds and sums in any order; NaN and infinity keep
their meaning."""
