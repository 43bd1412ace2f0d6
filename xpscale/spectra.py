"""Spectra as they flow from a reader to whoever uses them.

Letters in shapes: N sources, C coefficients (BP, then RP; see `xpscale.bands`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.types import Partition, Stopwatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.release import Release

__all__ = ["Block", "SpectraBatch", "SpectraReader"]

ALWAYS = ("source_id", "ra", "dec", "phot_g_mean_flux", "coefficients")
"""The arrays of a batch that are there whether or not errors were read."""


@dataclass(frozen=True, slots=True, eq=False)
class SpectraBatch:
    """XP spectra as basis coefficients, in the archive's units.

    Parameters
    ----------
    source_id
        Gaia identifiers, int64, with shape (N,).
    ra, dec
        ICRS position in degrees, at the epoch of the release, float64, with shape (N,).
    phot_g_mean_flux
        Mean G flux in electron/s, float64, with shape (N,); NaN where the archive has none.
    coefficients
        BP then RP coefficients, float32, with shape (N, C); NaN where missing.
    coefficient_errors
        Their standard deviations, float32, with shape (N, C); ``None`` where a reader was not asked
        for them.
    bands
        How many of the C coefficients are BP, and how many RP.
    """

    source_id: NDArray[np.int64]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]
    phot_g_mean_flux: NDArray[np.float64]
    coefficients: NDArray[np.float32]
    coefficient_errors: NDArray[np.float32] | None
    bands: Bands

    def __post_init__(self) -> None:
        n = len(self.source_id)
        for name in ("ra", "dec", "phot_g_mean_flux"):
            if getattr(self, name).shape != (n,):
                raise InvalidInputError(
                    f"{name} has shape {getattr(self, name).shape}, source_id has ({n},)"
                )
        if self.coefficients.shape != (n, self.bands.n_coefficients):
            raise InvalidInputError(
                f"coefficients have shape {self.coefficients.shape}, expected"
                f" ({n}, {self.bands.n_coefficients}) for {self.bands}"
            )
        errors = self.coefficient_errors
        if errors is not None and errors.shape != self.coefficients.shape:
            raise InvalidInputError(
                f"coefficient_errors have shape {errors.shape}, coefficients"
                f" {self.coefficients.shape}"
            )

    def __len__(self) -> int:
        return len(self.source_id)

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients of a source."""
        return self.bands.n_coefficients

    @property
    def n_bytes(self) -> int:
        """Bytes of memory that the arrays take."""
        arrays = (getattr(self, each.name) for each in fields(self))
        return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))

    def missing_bands(self) -> dict[str, NDArray[np.bool_]]:
        """Whether a row has no coefficient of a band, with shape (N,): ``missing_bp``,
        ``missing_rp``.
        """
        is_missing = np.isnan(self.coefficients)
        return {
            "missing_bp": np.asarray(is_missing[:, self.bands.bp].all(1)),
            "missing_rp": np.asarray(is_missing[:, self.bands.rp].all(1)),
        }

    def take(self, rows: NDArray[Any] | slice) -> SpectraBatch:
        """The batch of some rows: an index array, a boolean mask with shape (N,), or a slice."""
        errors = self.coefficient_errors
        taken: dict[str, Any] = {name: getattr(self, name)[rows] for name in ALWAYS}
        its_errors = None if errors is None else errors[rows]
        return SpectraBatch(**taken, coefficient_errors=its_errors, bands=self.bands)

    @staticmethod
    def concatenate(batches: Iterable[SpectraBatch]) -> SpectraBatch:
        """One batch of the rows of several, in their order."""
        parts = list(batches)
        if len({part.bands for part in parts}) > 1:
            widths = " and ".join(sorted({str(part.bands) for part in parts}))
            raise InvalidInputError(f"spectra with {widths} coefficients do not go together")
        errors = [part.coefficient_errors for part in parts]
        present = [e for e in errors if e is not None]
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in ALWAYS
        }
        both = np.concatenate(present) if len(present) == len(parts) else None
        return SpectraBatch(**joined, coefficient_errors=both, bands=parts[0].bands)


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
