"""The maps of a site, the sky and pairs of latents, filled in a few passes over the catalogue.

A map needs a number a bin for the count and for each column.  As many maps are filled in one pass
as fit into the allowed memory; a map that is finished is on disk, so an interrupted build goes on
with the others.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import NotFoundError, PlanError
from xpscale.formatting import format_bytes
from xpscale.json_files import parse_json
from xpscale.site.bins import Axis, Bins, grid_bins
from xpscale.site.part_index import PartIndex
from xpscale.site.row_batches import Batch, read_batches
from xpscale.site.tiles import Level, write_pyramid
from xpscale.sky import INDEX_ORDER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.query.catalog import Catalog
    from xpscale.storage import Storage

__all__ = ["Map", "fill_maps", "maps_of"]

DONE = "map.json"

SKY_LEVELS = ((0, Level(6, 12 << 12)), (5_000_000, Level(9, 1 << 12)))
GRID_LEVELS = (
    (0, Level(8, 1 << 16)),
    (200_000, Level(9, 1 << 16)),
    (5_000_000, Level(10, 1 << 16)),
)
"""Levels, each with the rows that a catalogue must have to be worth it."""


@dataclass(frozen=True, slots=True)
class Map:
    """One map: the sky if it has no axes.

    Parameters
    ----------
    key
        Where its files lie, below the data of the site.
    levels
        Of its pyramid, the coarsest first.
    axes
        x and y; none for the sky.
    """

    key: str
    levels: tuple[Level, ...]
    axes: tuple[Axis, ...] = ()

    @property
    def n_base(self) -> int:
        """Bins of order 0."""
        return 1 if self.axes else 12

    @property
    def n_bins(self) -> int:
        """Bins of the deepest level."""
        return self.n_base << 2 * self.levels[-1].order

    def bins_of(
        self, batch: Batch
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_] | slice[None, None, None]]:
        """The bins of a batch's rows in the deepest level, and which rows have one: those without a
        value on an axis are left out.

        Parameters
        ----------
        batch
            The rows.
        """
        order = self.levels[-1].order
        if not self.axes:
            return batch.healpix_29 >> 2 * (INDEX_ORDER - order), slice(None)
        places = [batch.values[axis.name] for axis in self.axes]
        finite = np.isfinite(places[0]) & np.isfinite(places[1])
        x, y = (axis.cells(v[finite], order) for axis, v in zip(self.axes, places, strict=True))
        return grid_bins(x, y), slice(None) if finite.all() else finite


def maps_of(n_rows: int, axes: Sequence[Axis]) -> list[Map]:
    """The sky, and a map for each pair of axes.

    Parameters
    ----------
    n_rows
        Sources in the catalogue.
    axes
        Each is paired with all that follow.
    """
    sky, grid = (
        tuple(level for least, level in levels if n_rows >= least)
        for levels in (SKY_LEVELS, GRID_LEVELS)
    )
    pairs = itertools.combinations(enumerate(axes), 2)
    return [Map("sky", sky), *(Map(f"map/{i}-{j}", grid, (x, y)) for (i, x), (j, y) in pairs)]


def fill_maps(
    catalog: Catalog,
    place: Storage,
    maps: Sequence[Map],
    names: tuple[str, ...],
    allowed_bytes: int,
    say: Callable[[str], None],
    on_rows: Callable[[int], None],
) -> dict[str, Any]:
    """Write the maps that are not written yet: what there is of all, by key.

    Parameters
    ----------
    catalog
        Whose rows.
    place
        The data of the site.
    maps
        From `maps_of`.
    names
        The columns to average.
    allowed_bytes
        For the bins of the maps that are filled at one time.
    say
        Takes a line about what comes next.
    on_rows
        Told how many rows more were read.

    Raises
    ------
    PlanError
        One map alone does not fit into the memory.
    """
    n_parts = len(catalog.manifest.of("latents"))
    found = {each.key: _finished(place / each.key) for each in maps}
    passes = _passes([each for each in maps if found[each.key] is None], len(names), allowed_bytes)
    for number, group in enumerate(passes, 1):
        say(f"pass {number} of {len(passes)}: {len(group)} of {len(maps)} maps")
        filled = [_Filled(each, len(names), n_parts) for each in group]
        on_axes = (axis.name for each in group for axis in each.axes)
        for batch in read_batches(catalog, tuple(dict.fromkeys((*names, *on_axes))), on_rows):
            for some in filled:
                some.add(batch, names)
        while filled:
            some = filled.pop()
            found[some.map.key] = some.write(place / some.map.key, names)
    return found


class _Filled:
    """A map while rows come in."""

    def __init__(self, of: Map, n_columns: int, n_parts: int) -> None:
        self.map = of
        self._bins = Bins.zeros(of.n_bins, n_columns)
        self._parts = PartIndex(n_parts, of.levels[-1].order) if of.axes else None

    def add(self, batch: Batch, names: Sequence[str]) -> None:
        bins, rows = self.map.bins_of(batch)
        self._bins.add(bins, [batch.values[name][rows] for name in names])
        if self._parts:
            self._parts.add(batch.part[rows], bins)

    def write(self, place: Storage, names: Sequence[str]) -> dict[str, Any]:
        """Write the map; that it is finished is written last."""
        levels = self.map.levels[::-1]
        written = {
            "blocks": self._parts.write(place) if self._parts else [],
            "cells": self._parts.cells_a_file if self._parts else 0,
            "levels": write_pyramid(place, self._bins, names, levels, self.map.n_base),
        }
        place.replace(DONE, json.dumps(written).encode())
        return written


def _finished(place: Storage) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = parse_json(place.read(DONE))
    except (NotFoundError, ValueError):
        return None
    return found


def _passes(maps: Sequence[Map], n_columns: int, allowed_bytes: int) -> list[list[Map]]:
    passes: list[list[Map]] = []
    room = -1
    for each in maps:
        n_bytes = 4 * each.n_bins * (n_columns + 1)
        if n_bytes > allowed_bytes:
            raise PlanError(
                f"a map of {n_columns} columns takes {format_bytes(n_bytes)} of memory, and"
                f" {format_bytes(allowed_bytes)} are allowed",
                "Allow more with --memory, or give fewer --columns",
            )
        if n_bytes > room:
            passes.append([])
            room = allowed_bytes
        passes[-1].append(each)
        room -= n_bytes
    return passes
