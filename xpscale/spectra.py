"""Spectra as they flow from a reader to whoever uses them.

Letters in shapes: N sources, C coefficients (BP, then RP; see `xpscale.bands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpscale.bands import Bands
from xpscale.batch import SpectraBatch
from xpscale.errors import InvalidInputError, XpscaleError
from xpscale.types import Partition, Stopwatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.release import Release

__all__ = ["Block", "SpectraBatch", "SpectraReader", "require_readable"]


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of a reader that lie together and are read together: some ten thousand.

    A partition is too large a unit to shuffle by.

    Parameters
    ----------
    n_rows
        Number of rows.
    where
        What they are rows of; only the reader that made the block knows what it means.
    start
        The first of them there.
    """

    n_rows: int
    where: Any
    start: int = 0


class SpectraReader(Protocol):
    """Where spectra come from: a spectra store, or a Parquet folder somebody else made.

    A class that inherits from this one and has `partitions`, `bands`, `release`, `digest` and
    `read` has the rest: its blocks are its partitions.
    """

    if TYPE_CHECKING:  # a property here would keep a dataclass from having a field of its name

        @property
        def partitions(self) -> tuple[Partition, ...]:
            """All partitions, sorted by position on the sky."""
            ...

        @property
        def bands(self) -> Bands:
            """The numbers of BP and RP coefficients of a source."""
            ...

        @property
        def release(self) -> Release:
            """The data release that the spectra are of."""
            ...

        @property
        def digest(self) -> str:
            """Content hash of what the reader reads: equal digests mean equal rows."""
            ...

    def read(self, partition: Partition, *, errors: bool = True) -> SpectraBatch:
        """All rows of a partition, sorted by ``_healpix_29``.

        Parameters
        ----------
        partition
            One of `partitions`.
        errors
            Whether to read the coefficient errors, half of the bytes.
        """
        ...

    def read_columns(self, partition: Partition, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Some arrays of a partition, in the row order of `read`; a reader that can, reads no
        others.

        Parameters
        ----------
        partition
            One of `partitions`.
        names
            Arrays of `SpectraBatch`, such as ``phot_g_mean_flux``.

        Returns
        -------
        dict
            The arrays by name, with the shapes they have in `SpectraBatch`.

        Raises
        ------
        InvalidInputError
            Coefficient errors are asked for, and there are none.
        """
        names = tuple(names)
        whole = self.read(partition, errors="coefficient_errors" in names)
        columns = {name: getattr(whole, name) for name in names}
        if any(values is None for values in columns.values()):
            raise InvalidInputError("the spectra have no coefficient errors")
        return columns

    def read_in_order(
        self, partition: Partition
    ) -> tuple[SpectraBatch, Mapping[str, NDArray[np.bool_]]]:
        """All rows of a partition, with errors, in the order of the input; and masks with shape
        (N,) of those that break a rule as only the whole input shows, by reasons of
        `xpscale.row_rules`.
        """
        return self.read(partition), {}

    @property
    def companions(self) -> tuple[str, ...]:
        """The companions that every batch has, by name."""
        return ()

    @property
    def pixel_positions(self) -> bool:
        """Whether positions are the centres of the pixels in the identifiers."""
        return False

    @property
    def left_aside(self) -> Mapping[str, str]:
        """Files that could not be read and have no rows in any partition, with the reasons."""
        return {}

    @property
    def n_rows(self) -> int:
        """Number of sources."""
        return sum(partition.n_rows for partition in self.partitions)

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a source."""
        return self.bands.n_coefficients

    @property
    def is_checked(self) -> bool:
        """Whether every row is known to be usable, as in a spectra store."""
        return False

    @property
    def has_errors(self) -> bool:
        """Whether coefficients come with errors."""
        return True

    @property
    def reads_in_blocks(self) -> bool:
        """Whether `read_in_blocks` holds less than a partition in memory."""
        return False

    def warnings(self) -> tuple[str, ...]:
        """What a user should know before reading all of it, one sentence each."""
        return ()

    def blocks(self) -> tuple[Block, ...]:
        """All rows, each in one block; neighbouring blocks lie close together on the sky."""
        return tuple(Block(partition.n_rows, partition) for partition in self.partitions)

    def read_block(self, block: Block) -> SpectraBatch:
        """The rows of one of `blocks`, with errors, in the order in which they lie there.

        Raises
        ------
        NotFoundError
            An object of the store is lost.
        InvalidInputError
            The block does not have the rows it should have, or a file is damaged.
        """
        return self.read(block.where)

    def read_in_blocks(
        self,
        partition: Partition,
        n_rows: int,
        *,
        errors: bool = True,
        watch: Stopwatch | None = None,
    ) -> Iterator[SpectraBatch]:
        """The rows of a partition as `read` has them, ``n_rows`` at a time; the last block has the
        rest.

        Parameters
        ----------
        partition
            One of `partitions`.
        n_rows
            Rows of a block.
        errors
            Whether to read the coefficient errors.
        watch
            Records the seconds and bytes of reading and decoding.

        Yields
        ------
        SpectraBatch
            Valid until the next one is asked for.
        """
        watch = watch or Stopwatch()
        with watch("read_s"):
            whole = self.read(partition, errors=errors)
        watch.n_bytes += whole.n_bytes
        for start in range(0, len(whole), n_rows):
            yield whole.take(slice(start, start + n_rows))


def require_readable(reader: SpectraReader) -> None:
    """Read a little of some spectra; one partition may be damaged, which is its task's concern.

    Parameters
    ----------
    reader
        The spectra.

    Raises
    ------
    XpscaleError
        Nothing could be read.
    """
    smallest = sorted(reader.partitions, key=lambda partition: partition.n_rows)
    failure: XpscaleError | None = None
    for partition in smallest[:3]:
        try:
            reader.read_columns(partition, ("source_id",))
        except XpscaleError as error:
            failure = error
        else:
            return
    if failure:
        raise failure
