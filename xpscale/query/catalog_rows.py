"""Rows of a catalogue: where they lie, which conditions they keep, and how they are read.

Nothing but the manifest has been read until `CatalogRows.to_table` or one of its siblings is
called, and then only the parts that can hold the rows are opened.
"""

from __future__ import annotations

import contextlib
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from xpscale.catalog.layout import LABELS
from xpscale.errors import InvalidInputError
from xpscale.query.engine import ARRAYS, connected, put_ids, scan
from xpscale.query.frames import BATCH_ROWS, SHOWN_ROWS, Rows, column_of, require_names
from xpscale.query.joined import Joined, columns_of
from xpscale.query.lookup import Location, locate
from xpscale.query.named_columns import columns_called
from xpscale.query.region import Ranges, Region, few, within
from xpscale.query.version import PREFIX

if TYPE_CHECKING:
    import duckdb
    from numpy.typing import NDArray

    from xpscale.query.version import CatalogVersion
    from xpscale.types import Part

__all__ = ["CatalogRows"]

JOINING = re.compile(r"\b(IN|SELECT)\b", re.IGNORECASE)

CHEAP_PARTS = 16
"""Parts that a notebook may look into to count the rows it shows."""


@dataclass(frozen=True, eq=False, repr=False)
class CatalogRows(Rows):
    """Rows of a catalogue that lie in regions, have certain identifiers and satisfy conditions.

    Parameters
    ----------
    catalog
        The catalogue.
    regions
        Regions that hold the rows, all of them.
    source_ids
        Identifiers of the rows, int64, unique, with shape (N,), or ``None`` for any.
    conditions
        SQL conditions that the rows satisfy, all of them.
    names
        Columns, in order; empty for all columns of ``latents``.
    most
        How many rows at most: the first ones; ``None`` for all.
    needs_labels
        Whether a condition names a column of the labels.
    """

    catalog: CatalogVersion
    regions: tuple[Region, ...] = ()
    source_ids: NDArray[np.int64] | None = None
    conditions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    most: int | None = None
    needs_labels: bool = False

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns that `to_table` returns."""
        return self.names or tuple(
            name for name in self.catalog.known_columns if name not in ARRAYS
        )

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of `to_table`: units, UCDs and descriptions in the fields' metadata, release
        and bands in its own.
        """
        origin = {f"{PREFIX}{name}": word for name, word in self.catalog.origin.items()}
        known = self.catalog.known_columns
        columns = (known.get(n) or self.catalog.label_columns[n] for n in self.column_names)
        return pa.schema([column.field for column in columns], origin)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The latents parts that can hold the rows, sorted by position."""
        is_any = self.source_ids is None
        parts = self.catalog.manifest.of("latents") if is_any else self._location.parts
        for ranges in self._ranges:
            parts = within(parts, ranges)
        return parts

    @property
    def missing(self) -> NDArray[np.int64]:
        """Identifiers asked for by `at` that are nowhere in the catalogue, int64, in the order
        asked for.
        """
        return np.empty(0, np.int64) if self.source_ids is None else self._location.missing

    def count(self) -> int:
        """Number of rows."""
        if self.regions or self.conditions:
            with replace(self, most=None).run("count(*)") as rows:
                found = int(rows.fetchall()[0][0])
        elif self.source_ids is not None:
            found = len(self.source_ids) - len(self.missing)
        else:
            found = self.catalog.n_rows
        return found if self.most is None else min(found, self.most)

    def limit(self, n: int) -> Self:
        """At most so many rows, the first ones of all that satisfy the other conditions.

        Parameters
        ----------
        n
            How many, 0 or more.

        Raises
        ------
        InvalidInputError
            It is no such number.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise InvalidInputError(f"a limit of {n!r} rows is not possible", "Give 0 or more")
        return replace(self, most=int(n) if self.most is None else min(int(n), self.most))

    def head(self, n: int = SHOWN_ROWS) -> Self:
        """The first rows; see `limit`."""
        return self.limit(n)

    def columns(self, *names: str) -> Self:
        """Only these columns, in this order, of either product and of labels that are published;
        replaces an earlier choice.

        Parameters
        ----------
        names
            Of columns, or patterns such as ``latent_mean_*``.
        """
        found = (column for name in names for column in columns_called(self.catalog, name))
        return replace(self, names=tuple(dict.fromkeys(found)))

    def __getitem__(self, names: str | tuple[str, ...] | list[str]) -> Any:
        require_names(names)
        if isinstance(names, str):
            return column_of(self.columns(names).to_table(), names)
        return self.columns(*names)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, some tens of thousands at a time, for results that do not fit into memory."""
        schema = self.schema
        with self.run(", ".join(f'"{name}"' for name in self.column_names), ordered=True) as rows:
            for batch in rows.to_arrow_reader(BATCH_ROWS):
                yield batch.cast(schema)

    def aggregate(self, expressions: str, by: str) -> pa.Table:
        """SQL aggregates over the rows, one row a group, sorted by the group.

        Parameters
        ----------
        expressions
            Comma-separated, such as ``"flags, count(*) AS n"``.
        by
            What to group by, such as ``"flags"``.
        """
        with self.run(expressions, f"GROUP BY {by} ORDER BY {by}") as rows:
            return rows.to_arrow_table()

    @property
    def query(self) -> str:
        """The selection in words, as files keep it."""
        words = [str(region) for region in self.regions]
        if (ids := self.source_ids) is not None:
            words.append(f"at({', '.join(map(str, ids[:3]))}{', ...' if len(ids) > 3 else ''})")
        words += [f"where({condition})" for condition in self.conditions]
        words = words or ["all rows"]
        return ".".join(words if self.most is None else [*words, f"limit({self.most})"])

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from; see `CatalogVersion.provenance`."""
        return self.catalog.provenance(self.query)

    def __repr__(self) -> str:
        return f"{self.query} · {len(self.column_names)} columns · of {self.catalog!r}"

    def _repr_html_(self) -> str:
        """What is selected, how many rows, and the first ones; it reads little."""
        counted = not (self.regions or self.conditions) or len(self.parts) <= CHEAP_PARTS
        most = sum(part.n_rows for part in self.parts) if not counted else 0
        n_rows = f"{self.count():,} rows" if counted else f"at most {most:,} rows"
        return self._html(html.escape(f"{self.query}: {n_rows} of {self.catalog!r}"))

    # -- running

    @cached_property
    def _location(self) -> Location:
        ids = np.empty(0, np.int64) if self.source_ids is None else self.source_ids
        return locate(self.catalog, ids)

    @cached_property
    def _ranges(self) -> list[Ranges]:
        return [region.index_ranges() for region in self.regions]

    @contextlib.contextmanager
    def run(
        self,
        expressions: str,
        tail: str = "",
        *,
        ordered: bool = False,
        joined: Joined | None = None,
    ) -> Iterator[duckdb.DuckDBPyRelation]:
        """The relation of a SELECT over the rows, on a connection that lives as long as the block.

        Parameters
        ----------
        expressions
            SQL of the columns.
        tail
            What follows the conditions.
        ordered
            Sort by position, or in the order of the identifiers.
        joined
            A table to join with.
        """
        extra = () if joined is None else (joined,)
        bounds = _bounds([*self._ranges, *(each.ranges for each in extra)])
        parts = self.parts if joined is None else within(self.parts, joined.ranges)
        tables, opened = [scan(self.catalog, parts, "latents")], [*parts]
        for table, columns in self._extensions((expressions, *self.conditions)):
            rows, found = columns_of(self.catalog, table, columns, parts, _all(bounds))
            opened += found
            tables.append(f"({rows}) USING (source_id)")
        if self.source_ids is not None:
            tables.append("_wanted USING (source_id)")
        conditions = (*bounds, *(region.sql() for region in self.regions), *self.conditions)
        # a scan keeps the parts' order; a join does not, which DuckDB makes of long lists, too
        is_scan = len(tables) == 1 and not any(JOINING.search(each) for each in conditions)
        order = "_healpix_29, source_id" if self.source_ids is None else "_rank"
        sort = "" if is_scan else f"ORDER BY {order}"
        tables += [each.join for each in extra]
        conditions += tuple(condition for each in extra for condition in each.conditions)
        rows = f"{' JOIN '.join(tables)} WHERE {_all(conditions)}"
        if self.most is not None:
            rows = f"(SELECT * FROM {rows} {sort} LIMIT {self.most})"
        query = f"SELECT {expressions} FROM {rows} {tail} {sort if ordered else ''}"
        with connected(self.catalog, opened, "in the query") as connection:
            if self.source_ids is not None:
                put_ids(connection, self.source_ids)
            for each in extra:
                each.prepare(connection)
            yield connection.sql(query)

    def _extensions(self, wanted: Iterable[str]) -> Iterator[tuple[str, Iterable[str]]]:
        """The other tables than the latents that are needed, and the columns that each adds."""
        known = self.catalog.known_columns
        arrays = [name for name in ARRAYS if name in known]
        if any(name in text for name in arrays for text in wanted):
            yield "spectra", arrays
        if self.needs_labels or any(name not in known for name in self.names):
            yield LABELS, self.catalog.label_columns


def _bounds(regions: Sequence[Ranges]) -> list[str]:
    """Conditions on ``_healpix_29`` that regions imply: they skip whole row groups."""
    return [
        " OR ".join(f"_healpix_29 BETWEEN {start} AND {stop - 1}" for start, stop in few(ranges))
        or "false"
        for ranges in regions
    ]


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(f"({condition})" for condition in conditions) or "true"
