"""What differs between two catalogues, or between two versions of one: which sources, and by how
much.

Parts with equal sha256 are equal and are not read.  The others are compared pixel by pixel, so
memory does not grow with the catalogue.  For the sources that are in both, with B - A the
difference of a column's values::

    rms = sqrt(mean (B - A)^2),     largest = max |B - A|        over the values that differ

For the latent means both are also given in units of A's posterior width, exp(log_var / 2).  A value
that is NaN in both does not differ; one that is NaN in one of them counts, and is in no mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.query.convert import array
from xpscale.query.version import CatalogVersion
from xpscale.schema import IDENTITY_COLUMNS
from xpscale.types import Part

__all__ = ["ColumnChange", "Difference"]

ONLY_A, ONLY_B, CHANGED = "only in A", "only in B", "changed"
MEAN, LOG_VAR = "latent_mean_", "latent_log_var_"


@dataclass(slots=True)
class ColumnChange:
    """How a column differs, over the sources compared so far.

    Parameters
    ----------
    n
        Sources whose values differ.
    n_finite, sum_squares, largest
        Of those with two finite values: how many, the sum of (B - A)^2, and the largest abs(B - A).
    """

    n: int = 0
    n_finite: int = 0
    sum_squares: float = 0.0
    largest: float = 0.0

    @property
    def rms(self) -> float:
        """Root mean square of B - A where they differ; 0 if nowhere."""
        return (self.sum_squares / self.n_finite) ** 0.5 if self.n_finite else 0.0

    def add(self, differs: NDArray[np.bool_], change: NDArray[np.float64]) -> None:
        """Count more sources.

        Parameters
        ----------
        differs, change
            Whether the values differ, and B - A, both with shape (N,).
        """
        finite = np.abs(change[differs & np.isfinite(change)])
        self.n += int(differs.sum())
        self.n_finite += len(finite)
        self.sum_squares += float(np.square(finite).sum())
        self.largest = max(self.largest, float(finite.max(initial=0.0)))


@dataclass
class Difference:
    """The comparison of two versions; iterate over `tables` to make it.

    Parameters
    ----------
    a, b
        The versions.
    n_same, n_changed
        Sources that are in both, with equal and with different values.
    n_moved
        Sources that are in both, but at positions in different pixels: not compared.
    n_only_a, n_only_b
        Sources that the other does not have.
    columns
        How each column differs that both have; ``latent_mean_0 / width`` in units of A's posterior
        width.

    Raises
    ------
    InvalidInputError
        They are of different data releases, whose identifiers mean different sources.
    """

    a: CatalogVersion
    b: CatalogVersion
    n_same: int = 0
    n_changed: int = 0
    n_moved: int = 0
    n_only_a: int = 0
    n_only_b: int = 0
    columns: dict[str, ColumnChange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.a.release != self.b.release:
            raise InvalidInputError(
                f"{self.a.storage} is of {self.a.release}, {self.b.storage} of {self.b.release}",
                "Identifiers are only comparable within a release",
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are compared: of latents, in both."""
        mine, theirs = (
            {c.name: c.type for c in each.product_columns("latents")} for each in (self.a, self.b)
        )
        return tuple(
            name
            for name in mine
            if mine[name] == theirs.get(name) and name not in IDENTITY_COLUMNS[:2]
        )

    @property
    def schema(self) -> pa.Schema:
        """Of `tables`: ``source_id``, ``change``, and B - A of every column."""
        first = [("source_id", pa.int64()), ("change", pa.string())]
        return pa.schema(first + [(name, pa.float64()) for name in self.names])

    def tables(self) -> Iterator[pa.Table]:
        """The sources that differ, pixel by pixel; the numbers are complete when it has ended."""
        left: list[list[NDArray[np.int64]]] = [[], []]
        for pair in _groups(self.a.manifest.of("latents"), self.b.manifest.of("latents")):
            if {part.sha256 for part in pair[0]} == {part.sha256 for part in pair[1]}:
                self.n_same += sum(part.n_rows for part in pair[0])
                continue
            mine, theirs = (
                self._read(version, parts)
                for version, parts in zip((self.a, self.b), pair, strict=True)
            )
            in_a, in_b = array(mine["source_id"]), array(theirs["source_id"])
            _, at_a, at_b = np.intersect1d(in_a, in_b, assume_unique=True, return_indices=True)
            left[0].append(np.delete(in_a, at_a))
            left[1].append(np.delete(in_b, at_b))
            yield self._compare(mine.take(at_a), theirs.take(at_b))
        only_a, only_b = (np.concatenate([np.empty(0, np.int64), *ids]) for ids in left)
        self.n_moved = len(np.intersect1d(only_a, only_b))
        for ids, others, word in ((only_a, only_b, ONLY_A), (only_b, only_a, ONLY_B)):
            ids = ids[~np.isin(ids, others)]
            empty = {name: pa.nulls(len(ids), pa.float64()) for name in self.names}
            yield pa.table(
                {"source_id": ids, "change": [word] * len(ids), **empty}, schema=self.schema
            )
            if word == ONLY_A:
                self.n_only_a = len(ids)
            else:
                self.n_only_b = len(ids)

    def to_dict(self) -> dict[str, Any]:
        """The numbers, as JSON holds them."""
        numbers = ("n_same", "n_changed", "n_moved", "n_only_a", "n_only_b")
        changed = {
            name: {"n": change.n, "rms": change.rms, "largest": change.largest}
            for name, change in self.columns.items()
            if change.n
        }
        return {**{name: getattr(self, name) for name in numbers}, "columns": changed}

    def __str__(self) -> str:
        lines = [f"A: {self.a.storage}: {self.a!r}", f"B: {self.b.storage}: {self.b!r}"]
        if self.a.model_id != self.b.model_id:
            lines.append("of different models: their latents have different meanings")
        lines.append(
            f"{self.n_same:,} sources are equal, {self.n_changed:,} differ, {self.n_only_a:,} are"
            f" only in A, {self.n_only_b:,} only in B"
        )
        if self.n_moved:
            lines.append(f"{self.n_moved:,} are in both, but in different pixels: not compared")
        changed = {name: change for name, change in self.columns.items() if change.n}
        if changed:
            width = max(map(len, changed))
            lines.append(f"{'column':<{width}}  {'sources':>11}  {'rms':>10}  {'largest':>10}")
        lines += [
            f"{name:<{width}}  {change.n:>11,}  {change.rms:>10.4g}  {change.largest:>10.4g}"
            for name, change in changed.items()
        ]
        return "\n".join(lines)

    def _read(self, version: CatalogVersion, parts: list[Part]) -> pa.Table:
        columns = ["source_id", *self.names]
        tables = []
        for part in parts:
            with version.storage.open(part.key) as data, pq.ParquetFile(data) as file:
                tables.append(file.read(columns=columns))
        return (
            pa.concat_tables(tables)
            if tables
            else pa.schema([version.known_columns[name].field for name in columns]).empty_table()
        )

    def _compare(self, mine: pa.Table, theirs: pa.Table) -> pa.Table:
        """The sources of two tables with equal rows that differ, counted."""
        any_differs = np.zeros(len(mine), bool)
        changes: dict[str, NDArray[np.float64]] = {}
        for name in self.names:
            x, y = (array(table[name]).astype(np.float64) for table in (mine, theirs))
            differs = (x != y) & ~(np.isnan(x) & np.isnan(y))
            changes[name] = np.where(differs, y - x, 0.0)
            self.columns.setdefault(name, ColumnChange()).add(differs, changes[name])
            if name.startswith(MEAN) and (width := name.replace(MEAN, LOG_VAR)) in self.names:
                in_widths = changes[name] / np.exp(array(mine[width]).astype(np.float64) / 2)
                self.columns.setdefault(f"{name} / width", ColumnChange()).add(differs, in_widths)
            any_differs |= differs
        n_changed = int(any_differs.sum())
        self.n_changed += n_changed
        self.n_same += len(mine) - n_changed
        changed = {name: values[any_differs] for name, values in changes.items()}
        ids = array(mine["source_id"])[any_differs]
        return pa.table(
            {"source_id": ids, "change": [CHANGED] * n_changed, **changed}, schema=self.schema
        )


def _groups(a: tuple[Part, ...], b: tuple[Part, ...]) -> Iterator[tuple[list[Part], list[Part]]]:
    """Parts of both, sorted by position, in groups that cover the same piece of the sky and as
    little as possible: a large pixel with the small ones inside it.
    """
    every = [(part.pixel.index_range, 0, part) for part in a]
    every += [(part.pixel.index_range, 1, part) for part in b]
    every.sort(key=lambda item: (item[0][0], -item[0][1]))
    group: tuple[list[Part], list[Part]] = ([], [])
    end = -1
    for (start, stop), side, part in every:
        if start >= end and any(group):
            yield group
            group = ([], [])
        group[side].append(part)
        end = max(end, stop)
    if any(group):
        yield group
