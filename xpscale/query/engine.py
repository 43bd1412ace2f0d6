"""DuckDB over exactly the parts of a manifest, and nothing else.

Every connection is locked before it runs a query: it may open the objects it was given and no other
file, folder or address, and its settings cannot be changed back.  Files are named one by one from
the manifest, so an object that lies among the parts without being one is never read.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from xpscale.errors import (
    InvalidInputError,
    NotFoundError,
    PermanentError,
    TryAgainError,
    XpscaleError,
)
from xpscale.storage.object_files import duckdb_name, open_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    from xpscale.query.version import CatalogVersion
    from xpscale.schema import Column
    from xpscale.types import Part

__all__ = [
    "ARRAYS",
    "LockedConnection",
    "connected",
    "locked",
    "no_rows",
    "put_ids",
    "scan",
    "unknown_column",
]

ARRAYS = ("reconstruction", "scatter")
"""Columns that only the product ``spectra`` can have."""


UNCOMPUTED = ("Out of Range Error", "Conversion Error", "Invalid Input Error")
"""How DuckDB's words start where the values of some row are the cause."""


@dataclass(frozen=True, slots=True, eq=False)
class LockedConnection:
    """A connection that can open some parts and nothing else.

    Parameters
    ----------
    connection
        Of DuckDB.
    version
        The catalogue.
    allowed
        What may be opened, by its name there.
    failures
        Errors of reading, as they come.
    """

    connection: duckdb.DuckDBPyConnection
    version: CatalogVersion
    allowed: frozenset[str]
    failures: list[XpscaleError]

    @contextlib.contextmanager
    def explaining(self, what: str, remedy: str = "") -> Iterator[None]:
        """Say errors of DuckDB inside the block in one line.

        Parameters
        ----------
        what, remedy
            Start and end of the message; the remedy is by default the list of columns.

        Raises
        ------
        XpscaleError
            In place of DuckDB's.
        """
        import duckdb

        n_earlier = len(self.failures)
        try:
            yield
        # while rows are read in batches, DuckDB's errors come through Arrow
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            failures = self.failures[n_earlier:]
            if failures and isinstance(failures[0], NotFoundError):
                raise NotFoundError(
                    f"{failures[0].message}, and is in the manifest", "Run 'xpscale catalog check'"
                ) from error
            if failures:
                raise failures[0] from error
            known = self.version.column_names
            raise _explained(error, self.allowed, known, what, remedy) from error


@contextlib.contextmanager
def locked(
    version: CatalogVersion, parts: Iterable[Part], settings: Sequence[str] = ()
) -> Iterator[LockedConnection]:
    """A connection for several queries that can open these parts and nothing else.

    Parameters
    ----------
    version
        The catalogue.
    parts
        What may be opened.
    settings
        Statements to run before it is locked.
    """
    import duckdb

    storage = version.storage
    allowed = frozenset(duckdb_name(storage, part.key) for part in parts)
    with duckdb.connect(":memory:") as connection:
        failures = open_to(storage, version.files, connection)
        # on in notebooks; where it is off, DuckDB refuses to set it unless ipywidgets is installed
        if connection.sql("SELECT current_setting('enable_progress_bar')").fetchall()[0][0]:
            connection.execute("SET enable_progress_bar = false")
        # so many identifiers still tell which row groups to read; more take longer than they save
        connection.execute("SET dynamic_or_filter_threshold = 2000")
        for statement in settings:
            connection.execute(statement)
        connection.execute(f"SET allowed_paths = [{', '.join(map(_literal, sorted(allowed)))}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield LockedConnection(connection, version, allowed, failures)


@contextlib.contextmanager
def connected(
    version: CatalogVersion, parts: Iterable[Part], what: str, remedy: str = ""
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that can open these parts and nothing else.

    Parameters
    ----------
    version
        The catalogue.
    parts
        What may be opened.
    what, remedy
        Start and end of the message of an error; the remedy is by default the list of columns.

    Raises
    ------
    XpscaleError
        An error of DuckDB inside the block, in one line.
    """
    with locked(version, parts) as opened, opened.explaining(what, remedy):
        yield opened.connection


def scan(
    version: CatalogVersion, parts: Sequence[Part], product: str, *, filename: bool = False
) -> str:
    """A table expression over the rows of some parts; of no rows if there are no parts.

    Parameters
    ----------
    version
        The catalogue.
    parts
        Some of its parts, all of one product.
    product
        Which product.
    filename
        Add the column ``filename``, the address of a row's part.
    """
    if not parts:
        return no_rows(version.product_columns(product), filename=filename)
    urls = ", ".join(_literal(duckdb_name(version.storage, part.key)) for part in parts)
    return f"read_parquet([{urls}], hive_partitioning = false, filename = {str(filename).lower()})"


def no_rows(known: Iterable[Column], *, filename: bool = False) -> str:
    """A table expression with some columns and no rows.

    Parameters
    ----------
    known
        The columns.
    filename
        Add the column ``filename``.
    """
    nulls = [f'NULL::{_duckdb_type(column)} AS "{column.name}"' for column in known]
    return f"(SELECT {', '.join(nulls + ['NULL::VARCHAR AS filename'] * filename)} WHERE false)"


def _explained(
    error: Exception, allowed: frozenset[str], known: Iterable[str], what: str, remedy: str
) -> XpscaleError:
    import duckdb

    message = (str(error).strip().splitlines() or [""])[0].rstrip(".!")
    name = re.search(r'"([^"]+)"', message)
    if name and "Referenced column" in message:
        return unknown_column(name[1], known)
    # a file that may be opened and is not there is taken for a folder, which may not be opened
    file = name[1].removesuffix("/**/*.parquet") if name else ""
    if file in allowed and isinstance(error, (duckdb.IOException, duckdb.PermissionException)):
        return NotFoundError(
            f"{file} is in the manifest, but not there", "Run 'xpscale catalog check'"
        )
    if isinstance(error, duckdb.IOException):
        return TryAgainError(
            f"{what}: {message}", "Try again; if it stays, run 'xpscale catalog check'"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return PermanentError(f"{what}: {message}", "Ask for fewer rows or columns")
    if message.startswith(UNCOMPUTED):
        return InvalidInputError(
            f"{what}: {message.split(' Use TRY')[0].rstrip('.')}",
            "Correct it, or leave out with a condition the rows of which it cannot be computed",
        )
    return InvalidInputError(f"{what}: {message}", remedy or f"The columns are {_listed(known)}")


def put_ids(connection: duckdb.DuckDBPyConnection, source_ids: NDArray[np.int64]) -> None:
    """Make the table ``_wanted`` of identifiers and their places ``_rank`` in the list.

    Registering an Arrow table would be shorter, but imports pandas, which takes longer than the
    query.

    Parameters
    ----------
    connection
        Where to make the table.
    source_ids
        Unique Gaia identifiers with shape (N,).
    """
    columns = "unnest($1::BIGINT[]) AS source_id, unnest(range(len($1))) AS _rank"
    connection.execute(
        f"CREATE TEMP TABLE _wanted AS SELECT {columns}", [source_ids.tolist()]
    ).fetchall()


def unknown_column(name: str, known: Iterable[str]) -> InvalidInputError:
    """The error for a column that is not there, with the nearest name that is.

    Parameters
    ----------
    name
        What was asked for.
    known
        Names of the columns that are there.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, 1, cutoff=0.6)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return InvalidInputError(
        f"no column is called {name!r}", f"{guess}The columns are {_listed(names)}"
    )


def _listed(names: Iterable[str]) -> str:
    """The names, of numbered ones only the first and the last: ``ra, dec, latent_mean_0 to
    latent_mean_5, kl``.
    """
    groups = [
        list(group) for _, group in itertools.groupby(names, lambda name: name.rstrip("0123456789"))
    ]
    return ", ".join(
        group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in groups
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _duckdb_type(column: Column) -> str:
    names = {
        "int64": "BIGINT",
        "int32": "INTEGER",
        "int16": "SMALLINT",
        "double": "DOUBLE",
        "float": "FLOAT",
    }
    return names.get(str(column.type), "FLOAT[]")
