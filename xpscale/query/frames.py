"""Rows with a schema and an origin, as the libraries of users hold them."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from xpscale.errors import InvalidInputError
from xpscale.extras import naming_extras
from xpscale.nested import is_list
from xpscale.query.convert import array
from xpscale.query.engine import unknown_column

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from astropy.table import Table
    from numpy.typing import NDArray

__all__ = ["BATCH_ROWS", "ExtendedRows", "Result", "Rows", "column_of", "require_names"]

BATCH_ROWS = 65_536
SHOWN_ROWS, SHOWN_COLUMNS = 5, 12


class Rows(ABC):
    """Rows that are read when asked for."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Arrow schema of `to_table`: units, UCDs and descriptions in the fields' metadata."""

    @property
    @abstractmethod
    def provenance(self) -> dict[str, str]:
        """Where the rows come from, as files keep it."""

    @abstractmethod
    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, some tens of thousands at a time, for results that do not fit into memory."""

    @abstractmethod
    def count(self) -> int:
        """Number of rows."""

    @abstractmethod
    def head(self, n: int = SHOWN_ROWS) -> Rows:
        """The first rows.

        Parameters
        ----------
        n
            How many at most.
        """

    def __getitem__(self, names: str | tuple[str, ...] | list[str]) -> Any:
        """A column as an array with shape (N,), or some columns as rows of their own."""
        require_names(names)
        table = self.to_table()
        if isinstance(names, str):
            return column_of(table, names)
        return Result(table.select([*names]), self.provenance)

    def __len__(self) -> int:
        return self.count()

    def __bool__(self) -> bool:  # asking for the length may read
        return True

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("rows are not iterated over one by one: use .batches() or .to_table()")

    def to_table(self) -> pa.Table:
        """The rows as an Arrow table."""
        return pa.Table.from_batches(self.batches(), self.schema)

    def to_pandas(self) -> pd.DataFrame:
        """The rows as a pandas frame; arrays as one numpy array a row."""
        frame: pd.DataFrame = self.to_table().to_pandas()
        return frame

    def to_polars(self) -> pl.DataFrame:
        """The rows as a polars frame.

        Raises
        ------
        PermanentError
            polars is not installed.
        """
        with naming_extras():
            import polars as pl
        frame = pl.from_arrow(self.to_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def to_astropy(self) -> Table:
        """The rows as an astropy table with units, descriptions and provenance; arrays with shape
        (N, C).
        """
        from xpscale.query.convert import to_astropy

        return to_astropy(self.to_table(), self.provenance)

    def _html(self, caption: str) -> str:
        """The first rows as a table of HTML, below a caption in HTML."""
        table = self.head(SHOWN_ROWS).to_table()
        names = table.column_names[:SHOWN_COLUMNS]
        fields = [table.schema.field(name) for name in names]
        units = [(field.metadata or {}).get(b"unit", b"").decode() for field in fields]
        shown = [
            [f"[{len(v)} values]" if isinstance(v, list) else _short(v) for v in column.to_pylist()]
            for column in (table[name] for name in names)
        ]
        heads = (_cell(name, "th") for name in names)
        lines = ["".join(heads), "".join(_cell(unit, "td") for unit in units)]
        lines += ["".join(_cell(text, "td") for text in row) for row in zip(*shown, strict=True)]
        n_more = len(table.column_names) - len(names)
        more = f"<p>{n_more} more columns: .schema names them</p>" if n_more else ""
        body = "".join(f"<tr>{line}</tr>" for line in lines)
        return f"<div><p>{caption}</p><table>{body}</table>{more}</div>"


def _cell(text: str, tag: str) -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>"


def _short(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Result(Rows):
    """Rows that a question was answered with, in memory.

    Parameters
    ----------
    table
        The rows.
    provenance
        Where they come from.
    """

    def __init__(self, table: pa.Table, provenance: Mapping[str, str]) -> None:
        self._table, self._provenance = table, dict(provenance)

    @property
    def schema(self) -> pa.Schema:
        """Of the table."""
        return self._table.schema

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from."""
        return self._provenance

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, piece by piece."""
        return iter(self._table.to_batches(BATCH_ROWS))

    def to_table(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table

    def count(self) -> int:
        """Number of rows."""
        return int(self._table.num_rows)

    def head(self, n: int = SHOWN_ROWS) -> Result:
        """The first rows."""
        return Result(self._table.slice(0, n), self.provenance)

    def __repr__(self) -> str:
        return f"{self.provenance.get('query', 'rows')} · {self.count():,} rows"

    def _repr_html_(self) -> str:
        return self._html(html.escape(repr(self)))


class ExtendedRows(Rows):
    """Rows with more columns, which are computed batch by batch as the rows are read.

    Parameters
    ----------
    rows
        The rows.
    fields
        Of the new columns, which come last.
    compute
        The new columns of a batch.
    needed
        The rows with the columns that ``compute`` needs behind their own; themselves if not given.
    describe
        Makes the query in words of that of the rows.
    """

    def __init__(
        self,
        rows: Rows,
        fields: Sequence[pa.Field],
        compute: Callable[[pa.RecordBatch], list[pa.Array]],
        needed: Rows | None = None,
        describe: Callable[[str], str] = str,
    ) -> None:
        self._rows, self._needed = rows, needed or rows
        self._fields, self._compute, self._describe = fields, compute, describe

    @property
    def schema(self) -> pa.Schema:
        """That of the rows, with the new columns behind."""
        schema = self._rows.schema
        return pa.schema([*schema, *self._fields], schema.metadata)

    @property
    def provenance(self) -> dict[str, str]:
        """Where the rows come from."""
        words = self._rows.provenance
        return {**words, "query": self._describe(words.get("query", "rows"))}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, piece by piece."""
        schema, n_own = self.schema, len(self._rows.schema)
        for batch in self._needed.batches():
            columns = [*batch.columns[:n_own], *self._compute(batch)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def count(self) -> int:
        """Number of rows."""
        return self._rows.count()

    def head(self, n: int = SHOWN_ROWS) -> ExtendedRows:
        """The first rows."""
        rows, needed = self._rows.head(n), self._needed.head(n)
        return ExtendedRows(rows, self._fields, self._compute, needed, self._describe)


def column_of(table: pa.Table, name: str) -> NDArray[Any]:
    """A column as numpy holds it: with shape (N,), or (N, C) of arrays; masked where it is NULL.

    Parameters
    ----------
    table
        The rows.
    name
        Of the column.

    Raises
    ------
    InvalidInputError
        There is none of that name.
    """
    from xpscale.query.convert import masked

    if name not in table.column_names:
        raise unknown_column(name, table.column_names)
    column = table[name]
    return array(column) if is_list(column.type) else masked(column.combine_chunks())


def require_names(names: Any) -> None:
    """Refuse to take rows by number, with a word on what does that.

    Raises
    ------
    InvalidInputError
        It is no name and no list of names.
    """
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, (list, tuple)) or not all(isinstance(name, str) for name in listed):
        raise InvalidInputError(
            f"[{names!r}] is no name of a column", 'Give a name, as in ["ra"]; .head(n) gives rows'
        )
