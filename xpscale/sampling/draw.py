"""Object-dense samples: a reproducible draw of training objects from a store, by their density.

1. A *sketch*, one pass over the store: the number of objects in every cell, and of each cell the
   objects with the smallest keys (`xpscale.sampling.sketch`).
2. A *plan*: how many objects a rule takes of every cell (`xpscale.sampling.rules`).
3. The *sample*: of every cell that many objects, those with the smallest keys.

Another rule or a smaller sample of the same seed is drawn from the same sketch without another
pass.  The draw depends only on what the store holds, the cells, the rule and the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.sampling.cells import ColourMagnitudeCells
from xpscale.sampling.hashing import uniform_hash
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.sampling.rules import allot, quantile_count, require_known, rounded
from xpscale.sampling.sample import Sample, SamplePlan
from xpscale.sampling.sketch_pass import OVERSAMPLING, sketch_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from xpscale.runtime.events import Callback
    from xpscale.sampling.cells import Cells
    from xpscale.sampling.sketch import Sketch
    from xpscale.spectra import SpectraReader
    from xpscale.types import Executor

__all__ = ["draw_from_sketch", "draw_sample"]


def draw_sample(
    reader: SpectraReader,
    n: int,
    rule: str = "uniform",
    seed: int = 0,
    split: HeldOutSplit | None = None,
    *,
    cells: Cells | None = None,
    min_count: int = 0,
    min_quantile: float = 0.0,
    oversampling: float = OVERSAMPLING,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> Sample:
    """Draw n training objects from a store in one pass, never from its held-out part.

    `xpscale.sampling.sample.save_sample` writes the sample to a file.

    Parameters
    ----------
    reader
        The store.
    n
        Number of objects to draw.
    rule
        ``"uniform"``; ``"density"``: an object is as likely as its cell is dense; ``"flattened"``:
        equally many of every cell; ``"cut"``: of dense cells only.
    seed
        Which of the possible draws.
    split
        The held-out part of the sky; by default that of `TrainingSettings`.
    cells
        What density is counted in; colour and magnitude by default.
    min_count, min_quantile
        For the rule ``"cut"``: the fewest objects of a cell that is drawn from, or the share of all
        objects that lies in cells too sparse to be drawn from.
    oversampling
        How much is kept in memory for rules that favour some cells (`xpscale.sampling.sketch`).
    executor
        Where partitions are read; in this process if not given.
    callbacks
        Listeners for progress, such as `xpscale.TerminalProgress`.

    Raises
    ------
    InvalidInputError
        If the rule is unknown, or the store has fewer than n objects to draw from.
    IncompleteError
        If a partition cannot be read; the message names the first and its cause.
    TryAgainError
        If passing faults, and nothing else, have kept partitions from being read.
    """
    cells, split = cells or ColourMagnitudeCells(), split or HeldOutSplit()
    _require_rule(rule, min_count, min_quantile)
    sketch = sketch_store(
        reader,
        cells,
        split,
        n,
        seed,
        oversampling=oversampling,
        executor=executor,
        callbacks=callbacks,
    )
    return draw_from_sketch(
        sketch, reader, n, rule, seed, split, cells, min_count=min_count, min_quantile=min_quantile
    )


def draw_from_sketch(
    sketch: Sketch,
    reader: SpectraReader,
    n: int,
    rule: str,
    seed: int,
    split: HeldOutSplit,
    cells: Cells,
    *,
    min_count: int = 0,
    min_quantile: float = 0.0,
) -> Sample:
    """Draw a sample from a sketch of the store, without reading the store again.

    Parameters
    ----------
    sketch
        From `xpscale.sampling.sketch_pass.sketch_store`.
    reader, seed, split, cells
        Those that the sketch was made with.
    n
        Number of objects to draw, at most that which the sketch was made for.
    rule, min_count, min_quantile
        As of `draw_sample`.

    Raises
    ------
    InvalidInputError
        If the rule is unknown, or the sketch has fewer than n objects to draw from.
    """
    _require_rule(rule, min_count, min_quantile)
    counts, kept = sketch.counts, sketch.n_kept
    if rule == "cut" and not min_count:
        min_count = quantile_count(counts, min_quantile)
    expected = allot(counts, kept, n, rule, min_count)
    drawn = rounded(expected, kept, float(uniform_hash(np.array([-1]), seed)[0]))
    occupied = np.flatnonzero(counts)
    plan = SamplePlan(
        rule=rule,
        seed=seed,
        split=split,
        store_digest=reader.digest,
        n_available=sketch.n_available,
        cells=cells.to_dict(),
        cell=tuple(occupied.tolist()),
        available=tuple(counts[occupied].tolist()),
        drawn=tuple(drawn[occupied].tolist()),
        min_count=min_count,
        n_limited=int(((expected == kept) & (kept < counts)).sum()),
    )
    chosen = np.sort(sketch.take(drawn), order=["partition", "row"])
    keys = tuple(partition.key for partition in reader.partitions)
    return _sample(plan, keys, chosen, counts, expected)


def _sample(
    plan: SamplePlan,
    partition_keys: tuple[str, ...],
    chosen: NDArray[Any],
    counts: NDArray[np.int64],
    expected: NDArray[np.float64],
) -> Sample:
    """The sample of chosen objects (as `xpscale.sampling.sketch.KEPT`), given N_c and e_c."""
    cell = chosen["cell"]
    return Sample(
        plan,
        partition_keys,
        source_id=np.ascontiguousarray(chosen["source_id"]),
        partition=np.ascontiguousarray(chosen["partition"]),
        row=np.ascontiguousarray(chosen["row"]),
        density=counts[cell],
        weight=counts[cell] / expected[cell],
    )


def _require_rule(rule: str, min_count: int, min_quantile: float) -> None:
    require_known(rule)
    if (rule == "cut") != bool(min_count or min_quantile) or (min_count and min_quantile):
        raise InvalidInputError(
            f"rule {rule}, min_count {min_count} and min_quantile {min_quantile} do not go"
            " together",
            "The rule cut needs one of the two, the others take none",
        )
    if min_count < 0 or not 0 <= min_quantile < 1:
        raise InvalidInputError(
            f"min_count is {min_count}, min_quantile {min_quantile}",
            "Use a positive count, a quantile below 1",
        )
