"""Parquet files and HATS catalogues that have positions: see `xpscale.store.parquet`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.errors import InvalidInputError
from xpscale.ingest.parsers.contents import (
    WHOLE_SKY,
    Contents,
    Fragment,
    FragmentRows,
    fragment_key,
)
from xpscale.ingest.parsers.tabular import tables_of_spectra
from xpscale.spectra import SpectraBatch
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.open import open_parquet
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.store.parquet_files import ParquetFile, is_parquet
from xpscale.store.partitions import COUNT_ORDER, DEFAULT_MAX_ROWS

if TYPE_CHECKING:
    from xpscale.ingest.parsers.input import Input

__all__ = ["ParquetParser", "recognise"]


def recognise(given: Input) -> Contents | None:
    """Row groups of Parquet files; ``None`` if there are no such files, or they need a table of
    positions.

    Raises
    ------
    InvalidInputError
        A file is damaged, differs from the others, or has no spectra; or there are other tables.
    """
    tables = tables_of_spectra(given)
    if given.sources or not any(is_parquet(key) for key in tables):
        return None
    given.require_one_kind(tables)
    reader = open_parquet(
        given.url,
        bands=given.bands,
        release=given.release,
        columns=given.columns,
        trust_units=given.trust_units,
        skip_damaged=given.allow_unpaired,
    )
    if not reader.has_errors:
        raise InvalidInputError(
            f"{reader.url} has no coefficient errors", "A spectra store needs them"
        )
    pieces = [(file, *groups) for file in reader.files for groups in _row_groups(file)]
    return Contents(
        kind="parquet",
        description=str(reader),
        origin=f"{reader.n_rows:,} sources · {reader.form}",
        parser=ParquetParser(reader),
        fragments=tuple(
            _fragment(number, file, numbers, n_rows, reader.release.name)
            for number, (file, numbers, n_rows) in enumerate(pieces)
        ),
        digest=reader.digest,
        n_bytes=sum(file.n_bytes for file in reader.files),
    )


def _row_groups(file: ParquetFile) -> Iterator[tuple[tuple[int, ...], int]]:
    """Neighbouring row groups of at most `DEFAULT_MAX_ROWS` rows together, and their rows."""
    held: list[int] = []
    n_rows = 0
    for number, rows in enumerate(file.row_group_rows):
        if held and n_rows + rows > DEFAULT_MAX_ROWS:
            yield tuple(held), n_rows
            held, n_rows = [], 0
        held.append(number)
        n_rows += rows
    if n_rows or file.damage:
        yield tuple(held or [0]), n_rows


def _fragment(
    number: int, file: ParquetFile, numbers: tuple[int, ...], n_rows: int, release: str
) -> Fragment:
    is_whole = len(numbers) >= len(file.row_group_rows)
    name = file.key + ("" if is_whole else f" row groups {numbers[0]}-{numbers[-1]}")
    pixels = WHOLE_SKY
    if pixel := hats_pixel(file.key):
        first, stop = pixel.range_at(COUNT_ORDER)
        pixels = first, max(first, stop - 1)
    return Fragment(
        name,
        fragment_key(number, name, file.footer_sha256),
        n_rows,
        RowGroups(file.key, file.n_bytes, numbers),
        pixels,
        release,
    )


@dataclass(frozen=True)
class ParquetParser:
    """Reads row groups."""

    reader: ParquetSpectra

    def read(self, fragment: Fragment) -> FragmentRows:
        """The rows of some row groups of one file.

        Raises
        ------
        InvalidInputError
            The file is damaged.
        """
        return FragmentRows(SpectraBatch.concatenate(self.reader.read_row_groups(fragment.source)))
