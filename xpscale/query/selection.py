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
from xpscale.query.engine import ARRAYS, connected, no_rows, put_ids, scan, unknown_column
from xpscale.query.identifiers import read_ids
from xpscale.query.lookup import Location, locate
from xpscale.query.region import Cone, within
from xpscale.query.version import PREFIX

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from astropy.table import Table
    from numpy.typing import NDArray

    from xpscale.query.version import CatalogVersion
    from xpscale.sky import Pixel
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

    catalog: CatalogVersion
    cones: tuple[Cone, ...] = ()
    source_ids: NDArray[np.int64] | None = None
    conditions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    # -- narrowing

    def cone(self, ra: float, dec: float, radius_deg: float) -> Selection:
        """Only sources within a distance of a point.

        Parameters
        ----------
        ra, dec
            The point, ICRS, in degrees.
        radius_deg
            The largest distance, in degrees, more than 0, at most 180.

        Raises
        ------
        InvalidInputError
            If one is out of its range.
        """
        return replace(self, cones=(*self.cones, Cone(float(ra), float(dec), float(radius_deg))))

    def at(self, source_ids: Any) -> Selection:
        """Only sources with these Gaia identifiers; rows come in the order given, repeats once.

        Parameters
        ----------
        source_ids
            In any form, see `xpscale.query.identifiers.read_ids`.
        """
        unique = read_ids(source_ids, self.catalog.release)
        if self.source_ids is not None:
            unique = self.source_ids[np.isin(self.source_ids, unique)]
        return replace(self, source_ids=unique)

    def where(self, condition: str) -> Selection:
        """Only rows that satisfy a condition in SQL, such as ``"reduced_chi2 < 1.5"``."""
        import duckdb

        what = f"in the condition {condition!r}"
        remedy = 'Write it in SQL, such as "reduced_chi2 < 1.5 AND flags = 0"'
        nothing = no_rows(self.catalog.known_columns.values())
        with connected(self.catalog, (), what, remedy) as connection:
            parsed = str(duckdb.SQLExpression(condition))  # one expression; comments are gone
            connection.sql(f"SELECT 1 FROM {nothing} WHERE {parsed}").fetchall()
        return replace(self, conditions=(*self.conditions, parsed))

    def columns(self, *names: str) -> Selection:
        """Only these columns, in this order, of either product; replaces an earlier choice."""
        self._check(names)
        return replace(self, names=tuple(dict.fromkeys(names)))

    def with_spectra(self) -> Selection:
        """With those of the arrays ``reconstruction`` and ``scatter`` that the catalogue holds."""
        self._check(self._arrays or ARRAYS)
        return replace(self, names=tuple(dict.fromkeys((*self.column_names, *self._arrays))))

    # -- asking

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
        import pyarrow as pa

        origin = {f"{PREFIX}{name}": word for name, word in self.catalog.origin.items()}
        return pa.schema(
            [self.catalog.known_columns[name].field for name in self.column_names], origin
        )

    @property
    def parts(self) -> tuple[Part, ...]:
        """The latents parts that can hold rows of the selection, sorted by position."""
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
        if not self.cones and not self.conditions:
            ids = self.source_ids
            return self.catalog.n_rows if ids is None else len(ids) - len(self.missing)
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
        words = [str(cone) for cone in self.cones]
        if (ids := self.source_ids) is not None:
            words.append(f"at({', '.join(map(str, ids[:3]))}{', ...' if len(ids) > 3 else ''})")
        words += [f"where({condition})" for condition in self.conditions]
        return ".".join(words) or "all rows"

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from; see `CatalogVersion.provenance`."""
        return self.catalog.provenance(self.query)

    def __repr__(self) -> str:
        return f"{self.query} · {len(self.column_names)} columns · of {self.catalog!r}"

    # -- running

    @property
    def _arrays(self) -> tuple[str, ...]:
        return tuple(name for name in ARRAYS if name in self.catalog.known_columns)

    @cached_property
    def _location(self) -> Location:
        ids = np.empty(0, np.int64) if self.source_ids is None else self.source_ids
        return locate(self.catalog, ids)

    @cached_property
    def _ranges(self) -> list[list[tuple[int, int]]]:
        return [cone.index_ranges() for cone in self.cones]

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name in ARRAYS and name not in self.catalog.known_columns:
                raise InvalidInputError(
                    f"{self.catalog.storage.url} was made without {name!r}",
                    "Decode them from the latents with xpscale.reconstruct(selection)",
                )
            if name not in self.catalog.known_columns:
                raise unknown_column(name, self.catalog.known_columns)

    @contextlib.contextmanager
    def _run(self, expressions: str, tail: str = "", *, ordered: bool = False) -> Iterator[Any]:
        """The relation of a SELECT over the selection, on a connection that lives as long as the
        block.
        """
        parts = self.parts
        tables, opened = [scan(self.catalog, parts, "latents")], [*parts]
        wanted = (expressions, *self.conditions)
        if any(name in text for name in self._arrays for text in wanted):
            arrays, spectra = self._spectra({part.pixel for part in parts})
            opened += spectra
            tables.append(f"({arrays}) USING (source_id)")
        if self.source_ids is not None:
            tables.append("_wanted USING (source_id)")
        conditions = (*self._bounds(), *(cone.sql() for cone in self.cones), *self.conditions)
        query = f"SELECT {expressions} FROM {' JOIN '.join(tables)} WHERE {_all(conditions)} {tail}"
        if ordered and len(tables) > 1:  # a scan keeps the parts' order, a join does not
            order = "_healpix_29, source_id" if self.source_ids is None else "_rank"
            query += f" ORDER BY {order}"
        with connected(self.catalog, opened, "in the query") as connection:
            if self.source_ids is not None:
                put_ids(connection, self.source_ids)
            yield connection.sql(query)

    def _spectra(self, pixels: set[Pixel]) -> tuple[str, list[Part]]:
        """A SELECT of the arrays of some pixels, and the parts that it opens."""
        parts = [part for part in self.catalog.manifest.of("spectra") if part.pixel in pixels]
        names, table = ", ".join(self._arrays), scan(self.catalog, parts, "spectra")
        return f"SELECT source_id, {names} FROM {table} WHERE {_all(self._bounds())}", parts

    def _bounds(self) -> list[str]:
        """Conditions on ``_healpix_29`` that the cones imply: they skip whole row groups."""
        return [
            " OR ".join(f"_healpix_29 BETWEEN {start} AND {stop - 1}" for start, stop in ranges)
            for ranges in self._ranges
        ]


def _all(conditions: Iterable[str]) -> str:
    return " AND ".join(f"({condition})" for condition in conditions) or "true"
