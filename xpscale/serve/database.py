"""One locked database for all queries of a service: each has a connection, a deadline and a way to
be stopped; memory, threads and the number of queries are bounded for all of them together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import IO

import duckdb
import pyarrow as pa

from xpscale.errors import InvalidInputError, TryAgainError
from xpscale.formatting import first_line
from xpscale.query.engine import locked
from xpscale.query.version import CatalogVersion
from xpscale.schema import Column
from xpscale.serve.formats import write_result
from xpscale.serve.limits import Limits
from xpscale.serve.plan import Plan, plan
from xpscale.serve.requests import TapRequest
from xpscale.serve.served_tables import fill_tap_schema, served
from xpscale.serve.uploads import Upload

__all__ = ["Database", "Stop", "Stopped"]

BATCH_ROWS = 8192
WORDS = ("unit", "ucd", "description", "xtype", "datatype")
"""What is said of a column of a result, where it is a table's."""


class Stopped(InvalidInputError):
    """A query was stopped: it took too long, or nobody wants it any more."""


class Stop:
    """A way to stop one query from another thread."""

    def __init__(self) -> None:
        self.reason = ""
        self._cursors: list[duckdb.DuckDBPyConnection] = []

    def now(self, reason: str) -> None:
        """Stop it.

        Parameters
        ----------
        reason
            Why, for its user.
        """
        self.reason = self.reason or reason
        for cursor in self._cursors:
            cursor.interrupt()

    def check(self) -> None:
        """Raise if it was stopped.

        Raises
        ------
        Stopped
            With the reason.
        """
        if self.reason:
            raise Stopped(self.reason)

    @contextlib.contextmanager
    def watching(self, cursor: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
        """Let a connection be stopped, at the latest after some time.

        Parameters
        ----------
        cursor
            The connection.
        seconds
            Its time.

        Raises
        ------
        Stopped
            In place of the error that the interruption made.
        """
        late = f"the query took longer than {seconds:g} s: ask for less, or run it as a job (async)"
        timer = threading.Timer(seconds, self.now, [late])
        timer.daemon = True
        self._cursors.append(cursor)
        timer.start()
        try:
            self.check()
            yield
        except (duckdb.InterruptException, OSError) as error:  # Arrow makes an OSError of it
            self.check()
            raise error
        finally:
            timer.cancel()
            self._cursors.remove(cursor)


class Database:
    """A catalogue's tables, open for queries.

    Parameters
    ----------
    version
        The catalogue.
    limits
        What queries may take.
    """

    def __init__(self, version: CatalogVersion, limits: Limits) -> None:
        self.version, self.limits = version, limits
        self.tables = served(version)
        self._running: set[Stop] = set()
        self._turns = threading.BoundedSemaphore(limits.queries)
        self._open = contextlib.ExitStack()
        settings = (
            f"SET memory_limit = '{limits.memory_bytes} B'",
            f"SET threads = {limits.threads}",
            "SET temp_directory = ''",  # what does not fit into memory is refused
            "SET parquet_metadata_cache = true",
            "SET GLOBAL integer_division = true",
        )
        parts = (*version.manifest.parts, *version.label_parts)
        self._locked = self._open.enter_context(locked(version, parts, settings))
        fill_tap_schema(self._locked.connection, self.tables)

    def close(self) -> None:
        """Stop what runs, and close it."""
        for stop in list(self._running):
            stop.now("the service ends: try again later")
        for _ in range(self.limits.queries):
            self._turns.acquire(timeout=1)
        self._open.close()

    @contextlib.contextmanager
    def turn(self, stop: Stop, seconds: float) -> Iterator[None]:
        """The right to run one query.

        Parameters
        ----------
        stop
            Stops the query.
        seconds
            How long to wait for it.

        Raises
        ------
        TryAgainError
            Too many others run.
        """
        if not self._turns.acquire(timeout=seconds):
            raise TryAgainError(
                f"{self.limits.queries} queries run already, as many as may", "Try again later"
            )
        self._running.add(stop)
        try:
            stop.check()
            yield
        finally:
            self._running.discard(stop)
            self._turns.release()

    def answer(
        self,
        request: TapRequest,
        uploads: Mapping[str, Upload],
        file: IO[bytes],
        stop: Stop,
        seconds: float,
        queue_s: float,
    ) -> int:
        """Write the result of a query to a file, and return its number of rows.

        Parameters
        ----------
        request
            What is asked.
        uploads
            The user's tables, by name.
        file
            Where the result goes.
        stop
            Stops it.
        seconds, queue_s
            Its time, and that in which its turn must come.

        Raises
        ------
        XpscaleError
            In one line.
        """
        query, most = request.query, request.max_rows
        words = self.version.provenance(query)
        del words["catalog"]  # the server's own address of it
        with self.turn(stop, queue_s):
            made = plan(query, self.version, self.tables, uploads, most)
            columns = tuple(
                replace(column, ucd=request.ucds.get(column.name, column.ucd))
                for column in made.columns
            )
            with self.rows(replace(made, columns=columns), stop, seconds) as (schema, batches):
                return write_result(
                    request.form, file, schema, batches, words, most, self.limits.result_bytes
                )

    @contextlib.contextmanager
    def rows(
        self, plan: Plan, stop: Stop, seconds: float
    ) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """The rows of a planned query: their schema, and some thousands of them at a time.

        Parameters
        ----------
        plan
            What to run.
        stop
            Stops it.
        seconds
            Its time.

        Raises
        ------
        XpscaleError
            An error of the database in one line, or `Stopped`.
        """
        with (
            self._locked.connection.cursor() as cursor,
            self._locked.explaining("in the query"),
            stop.watching(cursor, seconds),
        ):
            for name, table in plan.tables.items():
                cursor.register("_uploaded", table)
                cursor.execute(f'CREATE TEMP TABLE "{name}" AS SELECT * FROM _uploaded')
                cursor.unregister("_uploaded")
            reader = cursor.sql(plan.sql).to_arrow_reader(BATCH_ROWS)
            fields = [
                _field(column, kind)
                for column, kind in zip(plan.columns, reader.schema.types, strict=True)
            ]
            yield pa.schema(fields), _cast(reader, pa.schema(fields), stop)


def _cast(reader: pa.RecordBatchReader, schema: pa.Schema, stop: Stop) -> Iterator[pa.RecordBatch]:
    for batch in reader:
        stop.check()
        try:
            columns = [
                rows.cast(field.type) for rows, field in zip(batch.columns, schema, strict=True)
            ]
        except pa.ArrowInvalid as error:
            raise InvalidInputError(f"in the result: {first_line(error)}") from error
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _field(column: Column, kind: pa.DataType) -> pa.Field:
    """A column of a result: its name and words, and a type that VOTable has."""
    words = {name: getattr(column, name, "") for name in WORDS}
    if not any(words.values()):  # computed
        words = {}
    known = column.type
    same = known == kind or (pa.types.is_list(kind) and pa.types.is_fixed_size_list(known))
    return pa.field(column.name, known if same else _simple(kind), metadata=words)


def _simple(kind: pa.DataType) -> pa.DataType:
    narrow = {pa.int8(): pa.int16(), pa.uint8(): pa.int16(), pa.uint16(): pa.int32()}
    if pa.types.is_list(kind):
        return pa.list_(_simple(kind.value_type))
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 else pa.float64()
    if pa.types.is_integer(kind):
        return narrow.get(kind, pa.int64() if pa.types.is_unsigned_integer(kind) else kind)
    is_plain = pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return kind if is_plain else pa.string()
