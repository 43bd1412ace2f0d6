"""Object-dense samples: a reproducible draw of training objects from a store, by their density.

    sketch = one pass over the store: objects in every cell, and of each those with the smallest
    keys plan   = a rule: how many of every cell sample = of every cell so many, those with the
    smallest keys

Another rule or a smaller sample of the same seed is drawn from the same sketch without another
pass.  The draw depends on what the store holds, the cells, the rule and the seed alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.sampling.cells import ColourMagnitudeCells
from xpscale.sampling.rules import RULES, allot, quantile_count, rounded
from xpscale.sampling.sample import Sample, SamplePlan
from xpscale.sampling.sketch_pass import OVERSAMPLING, sketch_store
from xpscale.sampling.split import HeldOutSplit, uniform_hash

if TYPE_CHECKING:
    from xpscale.runtime.events import Callback
    from xpscale.sampling.cells import Cells
    from xpscale.sampling.sketch import Sketch
    from xpscale.types import Executor, SpectraReader

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

    Parameters
    ----------
    reader
        The store.
    n
        How many.
    rule
        ``"uniform"``; ``"density"``: an object is as likely as its cell is dense; ``"flattened"``:
        equally many of every cell; ``"cut"``: of dense cells only.
    seed
        Which draw.
    split
        The held-out part of the sky; by default that of `TrainingSettings`.
    cells
        What density is counted in; colour and magnitude by default.
    min_count, min_quantile
        For the rule ``"cut"``: the fewest objects of a cell that is drawn from, or the share of all
        objects that lies in cells too sparse to be drawn from.
    oversampling
        How much is kept in memory for rules that favour some cells (`xpscale.sampling.sketch`).
    executor, callbacks
        Where partitions are read, in this process if not given, and who listens.

    Raises
    ------
    InvalidInputError
        If the rule is unknown, or the store has fewer than n objects to draw from.
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
    """Draw at most as many objects as the sketch was made for; the arguments are those of
    `draw_sample` and of the sketch.
    """
    _require_rule(rule, min_count, min_quantile)
    counts, at_hand = sketch.counts, sketch.n_kept
    if rule == "cut" and not min_count:
        min_count = quantile_count(counts, min_quantile)
    expected = allot(counts, at_hand, n, rule, min_count)
    drawn = rounded(expected, at_hand, float(uniform_hash(np.array([-1]), seed)[0]))
    chosen = np.sort(sketch.take(drawn), order=["partition", "row"])
    occupied = np.flatnonzero(counts)
    cell, available, taken = (
        tuple(values[occupied].tolist()) for values in (np.arange(len(counts)), counts, drawn)
    )
    n_limited = int(((expected == at_hand) & (at_hand < counts)).sum())
    plan = SamplePlan(
        rule,
        seed,
        split,
        reader.digest,
        sketch.n_available,
        cells.to_dict(),
        cell,
        available,
        taken,
        min_count,
        n_limited,
    )
    return Sample(
        plan,
        tuple(partition.key for partition in reader.partitions),
        source_id=np.ascontiguousarray(chosen["source_id"]),
        partition=np.ascontiguousarray(chosen["partition"]),
        row=np.ascontiguousarray(chosen["row"]),
        density=counts[chosen["cell"]],
        weight=counts[chosen["cell"]] / expected[chosen["cell"]],
    )


def _require_rule(rule: str, min_count: int, min_quantile: float) -> None:
    if rule not in RULES:
        raise InvalidInputError(
            f"no sampling rule is called {rule!r}", f"Rules are {', '.join(RULES)}"
        )
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
