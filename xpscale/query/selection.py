"""Some rows and columns of a catalogue, described first and read when asked for.

A selection is a value: every method that narrows it returns a new one.  Nothing but the manifest
has been read until `Selection.to_table` or one of its siblings is called, and then only the parts
that can hold the rows are opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import InvalidInputError
from xpscale.query.engine import (
    ARRAYS,
    connected,
    known_columns,
    no_rows,
    put_ids,
    scan,
    unknown_column,
)
from xpscale.query.lookup import Location, locate
from xpscale.query.region import Cone, within

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from astropy.table import Table
    from numpy.typing import NDArray

    from xpscale.query.catalog import Catalog
    from xpscale.types import Part

__all__ = ["Selection"]

BATCH_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows of a catalogue that lie in cones, have certain identifiers and satisfy conditions.

    Parameters
    ----------
    catalog
        The catalogue selected from.
    cones
        Cones that hold the rows, all of them.
    source_ids
        Identifiers of the rows, int64, unique, with shape (N,), or ``None`` for any.
    conditions
        SQL conditions that the rows satisfy, all of them.
    names
        Columns, in order; empty for all columns of ``latents``.
    """

    catalog: Catalog
    cones: tuple[Cone, ...] = ()
    source_ids: NDArray[np.int64] | None = None
    conditions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    # -- narrowing

    def cone(self, ra: float, dec: float, radius_deg: float) -> Selection:
        """Only sources within ``radius_deg`` of a point (ICRS, all in degrees)."""
        return replace(self, cones=(*self.cones, Cone(float(ra), float(dec), float(radius_deg))))

    def at(self, source_ids: int | Iterable[int]) -> Selection:
        """Only sources with these Gaia DR3 identifiers; the rows come in the order given, repeats
        once.
        """
        ids = np.atleast_1d(
            np.asarray([*source_ids] if isinstance(source_ids, Iterable) else source_ids)
        )
        if ids.size and (ids.ndim != 1 or ids.dtype.kind not in "iu"):
            raise InvalidInputError(
                f"source_ids are {ids.dtype} with shape {ids.shape}, not whole numbers with shape"
                " (N,)",
                "A float cannot hold a source_id exactly; read the column as int64",
            )
        unique = np.array(list(dict.fromkeys(ids.tolist())), np.int64)
        if self.source_ids is not None:
            unique = self.source_ids[np.isin(self.source_ids, unique)]
        return replace(self, source_ids=unique)

    def where(self, condition: str) -> Selection:
        """Only rows that satisfy a condition in SQL over the columns, such as ``"reduced_chi2 <
        1.5"``.
        """
        import duckdb

        what, remedy = (
            f"in the condition {condition!r}",
            'Write it in SQL, such as "reduced_chi2 < 1.5 AND flags = 0"',
        )
        with connected(self.catalog.storage, (), self._known, what, remedy) as connection:
            parsed = str(duckdb.SQLExpression(condition))  # one expression; comments are gone
            connection.sql(
                f"SELECT 1 FROM {no_rows(self._known.values())} WHERE {parsed}"
            ).fetchall()
        return replace(self, conditions=(*self.conditions, parsed))

    def columns(self, *names: str) -> Selection:
        """Only these columns, in this order, of either product; replaces an earlier choice."""
        self._check(names)
        return replace(self, names=tuple(dict.fromkeys(names)))

    def with_spectra(self) -> Selection:
        """With the arrays ``reconstruction`` and ``scatter`` beside the other columns, or the one
        the catalogue holds.
        """
        self._check(self._arrays or ARRAYS)
        return replace(self, names=tuple(dict.fromkeys((*self.column_names, *self._arrays))))

    # -- asking

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns that `to_table` returns."""
        return self.names or tuple(name for name in self._known if name not in ARRAYS)

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of `to_table`, with units, UCDs and descriptions in the fields' metadata."""
        import pyarrow as pa

        return pa.schema([self._known[name].field for name in self.column_names])

    @property
    def parts(self) -> tuple[Part, ...]:
        """The latents parts that can hold rows of the selection, sorted by position."""
        parts = (
            self.catalog.manifest.of("latents") if self.source_ids is None else self._location.parts
        )
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
        if not self.cones and not self.conditions:
            return (
                self.catalog.n_rows
                if self.source_ids is None
                else len(self.source_ids) - len(self.missing)
            )
        with self._run("count(*)") as rows:
            return int(rows.fetchall()[0][0])

    def to_table(self) -> pa.Table:
        """The rows as an Arrow table, sorted by ``_healpix_29``, or in the order of `at`."""
        import pyarrow as pa

        return pa.Table.from_batches(self.batches(), self.schema)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, some tens of thousands at a time, for results that do not fit into memory."""
        schema = self.schema
        with self._run(", ".join(f'"{name}"' for name in self.column_names), ordered=True) as rows:
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
        with self._run(expressions, f"GROUP BY {by} ORDER BY {by}") as rows:
            return rows.to_arrow_table()

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas frame; arrays as one numpy array a row."""
        frame: pd.DataFrame = self.to_table().to_pandas()
        return frame

    def to_astropy(self) -> Table:
        """The rows as an astropy table with units, descriptions and provenance; arrays with shape
        (N, C).
        """
        from xpscale.query.convert import to_astropy

        return to_astropy(self.to_table(), self.provenance)

    def lsdb(self) -> Any:
        """The cones and columns of the selection as a lazy lsdb catalogue; see `Catalog.lsdb`."""
        if self.source_ids is not None or self.conditions:
            raise InvalidInputError(
                "lsdb takes neither SQL conditions nor source_ids from here",
                "Open cones with .lsdb() and go on with lsdb's own .query(...) and .id_search(...)",
            )
        found = self.catalog.lsdb(columns=list(self.names) or None)
        for cone in self.cones:
            found = found.cone_search(
                ra=cone.ra, dec=cone.dec, radius_arcsec=cone.radius_deg * 3600
            )
        return found

    @property
    def query(self) -> str:
        """The selection in words, as files keep it."""
        ids = self.source_ids
        listed = (
            []
            if ids is None
            else [f"at({', '.join(map(str, ids[:3]))}{', ...' if len(ids) > 3 else ''})"]
        )
        words = [
            *map(str, self.cones),
            *listed,
            *(f"where({condition})" for condition in self.conditions),
        ]
        return ".".join(words) or "all rows"

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from: query, catalogue, snapshot, model, software, credit."""
        return self.catalog.provenance(self.query)

    def __repr__(self) -> str:
        return f"{self.query} · {len(self.column_names)} columns · of {self.catalog!r}"

    # -- running

    @cached_property
    def _known(self) -> dict[str, Any]:
        return known_columns(self.catalog.manifest.identity)

    @property
    def _arrays(self) -> tuple[str, ...]:
        return tuple(name for name in ARRAYS if name in self._known)

    @cached_property
    def _location(self) -> Location:
        ids = np.empty(0, np.int64) if self.source_ids is None else self.source_ids
        return locate(self.catalog, ids)

    @cached_property
    def _ranges(self) -> list[list[tuple[int, int]]]:
        return [cone.index_ranges() for cone in self.cones]

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name in ARRAYS and name not in self._known:
                raise InvalidInputError(
                    f"{self.catalog.storage.url} was made without {name!r}",
                    "Decode them from the latents with xpscale.reconstruct(selection)",
                )
            if name not in self._known:
                raise unknown_column(name, self._known)

    @contextlib.contextmanager
    def _run(self, expressions: str, tail: str = "", *, ordered: bool = False) -> Iterator[Any]:
        """The relation of a SELECT over the selection, on a connection that lives as long as the
        block.
        """
        storage, identity, parts = self.catalog.storage, self.catalog.manifest.identity, self.parts
        conditions = [
            f"({text})"
            for text in (*self._bounds(), *(c.sql() for c in self.cones), *self.conditions)
        ]
        tables = [scan(storage, parts, identity, "latents")]
        joined = any(
            name in text for name in self._arrays for text in (expressions, *self.conditions)
        )
        opened = [*parts]
        if joined:
            pixels = {part.pixel for part in parts}
            spectra = [part for part in self.catalog.manifest.of("spectra") if part.pixel in pixels]
            opened += spectra
            table = scan(storage, spectra, identity, "spectra")
            bounds = " AND ".join(f"({text})" for text in self._bounds()) or "true"
            tables.append(
                f"(SELECT source_id, {', '.join(self._arrays)} FROM {table} WHERE {bounds}) USING"
                " (source_id)"
            )
        if self.source_ids is not None:
            tables.append("_wanted USING (source_id)")
        query = (
            f"SELECT {expressions} FROM {' JOIN '.join(tables)} WHERE"
            f" {' AND '.join(conditions) or 'true'} {tail}"
        )
        if ordered and len(tables) > 1:  # a scan keeps the parts' order, a join does not
            query += " ORDER BY " + (
                "_healpix_29, source_id" if self.source_ids is None else "_rank"
            )
        with connected(storage, opened, self._known, "in the query") as connection:
            if self.source_ids is not None:
                put_ids(connection, self.source_ids)
            yield connection.sql(query)

    def _bounds(self) -> list[str]:
        """Conditions on ``_healpix_29`` implied by the cones: they let whole row groups be
        skipped.
        """
        return [
            " OR ".join(f"_healpix_29 BETWEEN {start} AND {stop - 1}" for start, stop in ranges)
            for ranges in self._ranges
        ]
