"""The first pass over a catalogue: the ranges of the axes, and a sample of sources with latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xpscale.site.bins import Axis
from xpscale.site.row_batches import read_batches

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.query.catalog import Catalog

__all__ = ["SAMPLE_ROWS", "FirstLook", "first_look"]

SAMPLE_ROWS = 50_000
"""Most sources of the sample; a catalogue of no more is in it whole."""

TAIL = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class FirstLook:
    """What the first pass found.

    Parameters
    ----------
    axes
        The axes with their ranges.
    source_id
        Of the sample, int64, with shape (S,).
    values
        Of the sample, float32, with shape (A, S).
    """

    axes: tuple[Axis, ...]
    source_id: NDArray[np.int64]
    values: NDArray[np.float32]


def first_look(catalog: Catalog, names: Sequence[str], on_rows: Callable[[int], None]) -> FirstLook:
    """Read the columns of the axes once.

    Parameters
    ----------
    catalog
        The catalogue.
    names
        The columns of the axes.
    on_rows
        Told how many rows more were read.
    """
    step = -(-catalog.n_rows // SAMPLE_ROWS)
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    ids, values, n = [], [], 0
    for batch in read_batches(catalog, tuple(names), on_rows):
        columns = np.stack([batch.values[name] for name in names]).astype(np.float32)  # (A, N)
        finite = np.where(np.isfinite(columns), columns, np.nan)
        low = np.fmin(low, np.nanmin(finite, 1, initial=np.inf))
        high = np.fmax(high, np.nanmax(finite, 1, initial=-np.inf))
        taken = slice(-n % step, None, step)
        ids.append(batch.source_id[taken])
        values.append(columns[:, taken])
        n += len(batch)
    sample = np.concatenate(values, 1)
    ranges = zip(names, low, high, sample, strict=True)
    axes = tuple(Axis(name, *_range(a, b, some)) for name, a, b, some in ranges)
    return FirstLook(axes, np.concatenate(ids), sample)


def _range(low: float, high: float, sample: NDArray[np.float32]) -> tuple[float, float]:
    """The range of a column that a map shows: all of it, unless a few values lie farther from the
    bulk than the bulk is wide.
    """
    finite = sample[np.isfinite(sample)].astype(np.float64)
    if not len(finite):
        return -1.0, 1.0
    first, last = np.quantile(finite, (TAIL, 1 - TAIL))
    low, high = max(low, 2 * first - last), min(high, 2 * last - first)
    pad = 0.01 * (high - low) or 0.5
    return float(low - pad), float(high + pad)
