"""Tables of every format that the Gaia archive and people use, with one interface.

CSV and ECSV are read by `xpscale.archive.text_table`.  FITS and VOTable go through astropy, HDF5 (a
dataset a column) through h5py.  What a file is, its first bytes say, not its name; any of them may
be gzipped.  A missing array is empty, null, masked, or all NaN.
"""

from __future__ import annotations

import gzip
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

import numpy as np

from xpscale.archive.hdf5 import open_hdf5
from xpscale.archive.text_table import stack, text_table
from xpscale.errors import InvalidInputError, XpscaleError
from xpscale.expansion import bounded, require_fits, require_parquet, require_votable
from xpscale.gaia_ids import ids_or_zero
from xpscale.nested import field_paths, flattened
from xpscale.packed_files import packed_kind
from xpscale.printed_arrays import printed_numbers
from xpscale.release import DR3, Release

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Table", "explained", "open_tables"]


class Table(Protocol):
    """Columns by name."""

    @property
    def names(self) -> Sequence[str]:
        """All columns."""
        ...

    def identifiers(self, name: str, release: Release = DR3) -> NDArray[np.int64]:
        """The column of identifiers, with shape (N,); 0 where missing.

        Parameters
        ----------
        name
            Of the column.
        release
            The release whose identifiers they are.
        """
        ...

    def floats(self, name: str) -> NDArray[np.float64]:
        """A scalar column, with shape (N,); NaN where missing."""
        ...

    def texts(self, name: str) -> list[str]:
        """A column of text."""
        ...

    def vectors(self, name: str) -> NDArray[np.float32]:
        """An array column, with shape (N, W); NaN where missing, W = 0 if no row has any."""
        ...


def open_tables(
    stream: BinaryIO,
    name: str,
    group: str = "",
    *,
    max_rows: int = 0,
    correlations: bool = False,
) -> Iterator[Table]:
    """The tables of one file, in order; only while ``stream`` is open.

    Parameters
    ----------
    stream
        The file, seekable.
    name
        What to call it in errors.
    group
        The group of an HDF5 file to read, if not its root.
    max_rows
        Cut the tables of a FITS file into pieces of so many rows, of which only one is in memory.
    correlations
        Whether columns of correlations will be read; of text they are not kept otherwise.

    Raises
    ------
    InvalidInputError
        The file is damaged or of no known format; also from the tables' own methods where they are
        used in `explained`.
    """
    n_stored, head = stream.seek(0, io.SEEK_END), b""
    stream.seek(0)
    with explained(name):
        head = stream.read(8)
        stream.seek(0)
        if head[:2] == b"\x1f\x8b":
            stream = bounded(cast(BinaryIO, gzip.GzipFile(fileobj=stream)), name, n_stored)
            head = stream.read(8)
            stream.seek(0)
        if kind := packed_kind("", head):
            raise InvalidInputError(f"{name} is a {kind}", "Unpack it, and give what was in it")
        if head == b"\x89HDF\r\n\x1a\n":
            yield from _hdf5_table(stream, name, n_stored, group)
        elif head[:6] == b"SIMPLE":
            yield from _fits_tables(stream, name, n_stored, max_rows)
        elif head.lstrip(b"\xef\xbb\xbf \r\n")[:1] == b"<":
            yield from _votable_tables(stream, name, n_stored)
        elif head[:4] == b"PAR1":
            yield _parquet_table(stream, name, n_stored)
        else:
            yield text_table(stream, name, correlations=correlations)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into an error that names it."""
    try:
        yield
    except (XpscaleError, MemoryError):
        raise
    except ImportError as error:
        raise InvalidInputError(
            f"{name} needs {error.name} to be read", "pip install 'xpscale[hdf5]'"
        ) from error
    except Exception as error:  # each of five libraries has its own ways to fail on damage
        line = (str(error).strip().splitlines() or [""])[0][:200]
        raise InvalidInputError(
            f"{name} is damaged ({type(error).__name__}: {line})",
            "Fetch it again, or take it out of the folder",
        ) from error


@dataclass(frozen=True, slots=True, eq=False)
class _ArrayTable:
    """Anything whose columns ``get`` gives as arrays, masked arrays or arrays of arrays."""

    names: Sequence[str]
    get: Any
    where: str

    def identifiers(self, name: str, release: Release = DR3) -> NDArray[np.int64]:
        return ids_or_zero(self.get(name), f"{self.where}: {name}", release)

    def floats(self, name: str) -> NDArray[np.float64]:
        values = self.get(name)
        try:
            return _real(values)
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{self.where}: {name} holds {values.dtype}, not numbers ({error})",
                "Correct the column",
            ) from None

    def texts(self, name: str) -> list[str]:
        values = np.asarray(self.get(name)).tolist()
        return [v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in values]

    def vectors(self, name: str) -> NDArray[np.float32]:
        values = self.get(name)
        if getattr(values, "dtype", None) != np.dtype(object) and getattr(values, "ndim", 1) == 2:
            with np.errstate(over="ignore"):
                return _real(values).astype(np.float32)
        return stack(
            [_filled(value, f"{self.where}: {name}: row {i}") for i, value in enumerate(values, 1)],
            f"{self.where}: {name}",
        )


def _filled(value: Any, where: str) -> NDArray[np.float64]:
    if value is None or value is np.ma.masked:
        return np.empty(0)
    if isinstance(value, str | bytes):
        return printed_numbers(value.decode() if isinstance(value, bytes) else value, where)
    return _real(value).ravel()


def _real(values: Any) -> NDArray[np.float64]:
    """Numbers, NaN where masked."""
    if np.iscomplexobj(values):
        raise TypeError("complex numbers")
    return np.asarray(np.ma.filled(np.ma.asarray(values, np.float64), np.nan))


def _fits_tables(stream: BinaryIO, name: str, n_stored: int, max_rows: int) -> Iterator[Table]:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", message=".*truncated.*")
        mapped = bool(max_rows) and isinstance(stream, io.BufferedReader)
        with fits.open(stream, memmap=mapped) as hdus:
            for hdu in hdus:
                if not isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
                    continue
                require_fits(hdu, name, n_stored)
                n_rows = len(hdu.data)
                for start in range(0, max(n_rows, 1), max_rows or max(n_rows, 1)):
                    rows = hdu.data[start : start + max_rows] if max_rows else hdu.data
                    yield _ArrayTable(hdu.columns.names, partial(_fits_field, hdu, rows), name)


def _fits_field(hdu: Any, rows: Any, name: str) -> NDArray[Any]:
    """A column of FITS; integers that TNULL calls missing are masked."""
    values, null = rows.field(name), hdu.columns[name].null
    return values if null is None else np.ma.masked_equal(values, null)


def _votable_tables(stream: BinaryIO, name: str, n_stored: int) -> Iterator[Table]:
    from astropy.io import votable

    require_votable(stream, name, n_stored)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for element in votable.parse(stream, verify="ignore").iter_tables():
            table = element.to_table(use_names_over_ids=True)
            yield _ArrayTable(table.colnames, table.__getitem__, name)


def _parquet_table(stream: BinaryIO, name: str, n_stored: int) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(stream)
    require_parquet(file, stream, name, n_stored)
    names = field_paths(file.schema_arrow)

    def column(its: str) -> Any:
        values = flattened(file.read([its]))[its]
        if values.null_count and pa.types.is_integer(values.type):
            mask = values.is_null().to_numpy()
            return np.ma.masked_array(values.fill_null(0).to_numpy(), mask)
        return values.to_numpy()

    return _ArrayTable(names, column, name)


def _hdf5_table(stream: BinaryIO, name: str, n_stored: int, group: str) -> Iterator[Table]:
    """A dataset a column; or, as astropy and PyTables write tables, a dataset of records."""
    with open_hdf5(stream, name, n_stored, group) as file:
        columns: dict[str, tuple[Any, str]] = {}

        def found(path: str, item: Any) -> None:
            of_records = getattr(item, "dtype", None) and item.dtype.names
            for field in of_records or ("",) * hasattr(item, "shape"):
                # vaex keeps a column as NAME/data
                its = ".".join(filter(None, (*path.removesuffix("/data").split("/"), field)))
                columns[its] = item, field

        file.visititems(found)
        yield _ArrayTable([*columns], lambda its: _hdf5_column(*columns[its]), name)


def _hdf5_column(dataset: Any, field: str) -> NDArray[Any]:
    return np.asarray(dataset[field] if field else dataset[...])
