"""A synthetic sky with known truth: any number of stars, in the archive's units, the same for the
same seed.

    >>> universe = Universe(2_000, seed=1)
    >>> batch = next(universe.batches())
    >>> len(batch), batch.n_coefficients
    (2000, 110)

A universe is a description; its methods make the arrays.  It is made *cell* by cell, a HEALPix
pixel each with a seed of its own, so the rows do not depend on how many are asked for at a time.  A
million sources take about 15 s on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from xpscale.bands import Bands
from xpscale.columns import flux_of_magnitude
from xpscale.errors import InvalidInputError
from xpscale.positions import unit_vectors
from xpscale.sky import INDEX_ORDER, MAX_ORDER, SOURCE_ID_SHIFT
from xpscale.spectra import SpectraBatch
from xpscale.testing import starlight
from xpscale.testing.sky_density import (
    DENSITY_ORDER,
    galactic_deg,
    pixel_centers_deg,
    source_counts,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.testing.starlight import Labels

__all__ = ["Chunk", "Truth", "Universe"]

MOVE_DEG = 0.05  # 3.5 times the size of a pixel of order 12: a mover always leaves its pixel
N_RUNNING = 64  # room for the random step between running numbers
CELL_ROWS = 1_000  # least mean number of rows in a cell: numpy is slow on small arrays
MAX_CELL_ORDER = 5


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The truth about synthetic sources, which no archive contains, row by row.

    Parameters
    ----------
    source_id
        Identifiers, with shape (N,).
    labels
        What the stars are.
    is_mover
        Whether the pixel of ``ra, dec`` at order 12 differs from that of ``source_id``, with shape
        (N,).
    coefficients
        Coefficients without intrinsic scatter and without noise, electron/s, float32, with shape
        (N, C).
    scatter
        Intrinsic scatter of the coefficients, electron/s, float32, with shape (N, C).
    """

    source_id: NDArray[np.int64]
    labels: Labels
    is_mover: NDArray[np.bool_]
    coefficients: NDArray[np.float32]
    scatter: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.source_id)

    @staticmethod
    def concatenate(parts: list[Truth]) -> Truth:
        """One truth of the rows of several, in their order."""
        labels = starlight.Labels(
            *(
                np.concatenate([getattr(p.labels, f.name) for p in parts])
                for f in fields(starlight.Labels)
            )
        )
        return Truth(
            np.concatenate([p.source_id for p in parts]),
            labels,
            np.concatenate([p.is_mover for p in parts]),
            np.concatenate([p.coefficients for p in parts]),
            np.concatenate([p.scatter for p in parts]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The sources of one cell, sorted by ``source_id``: what Gaia would publish, and the truth."""

    batch: SpectraBatch
    truth: Truth


@dataclass(frozen=True)
class Universe:
    """A synthetic sky.

    Parameters
    ----------
    n_sources
        Number of sources with XP spectra, on the whole sky.
    seed
        Equal seeds make equal universes.
    mover_fraction
        Probability that a source is a mover: that it has left the pixel in its ``source_id``.
    bands
        The numbers of BP and RP coefficients, at most those of `starlight.BANDS`; the first ones
        of each band are kept.
    """

    n_sources: int
    seed: int = 0
    mover_fraction: float = 0.005
    bands: Bands = starlight.BANDS

    def __post_init__(self) -> None:
        if self.n_sources < 1 or self.seed < 0 or not 0 <= self.mover_fraction <= 1:
            raise InvalidInputError(
                f"no universe has {self.n_sources} sources, seed {self.seed} and mover_fraction"
                f" {self.mover_fraction}",
                "Use at least one source, a seed of at least 0 and a fraction from 0 to 1",
            )
        if self.bands.n_bp > starlight.BANDS.n_bp or self.bands.n_rp > starlight.BANDS.n_rp:
            raise InvalidInputError(
                f"a universe has at most {starlight.BANDS} coefficients, not {self.bands}"
            )

    @property
    def n_coefficients(self) -> int:
        """C, the number of coefficients a source."""
        return self.bands.n_coefficients

    @property
    def _columns(self) -> NDArray[np.int64]:
        """The columns of `starlight` that the bands keep."""
        whole = starlight.BANDS
        return np.concatenate([np.arange(self.bands.n_bp), whole.n_bp + np.arange(self.bands.n_rp)])

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of sources in every pixel of order 7, by early position, with shape (196608,)."""
        return source_counts(self.n_sources, self.seed)

    @property
    def cell_order(self) -> int:
        """HEALPix order of the cells; more sources have smaller ones."""
        return int(
            np.clip(np.log(self.n_sources / (12 * CELL_ROWS)) // np.log(4), 0, MAX_CELL_ORDER)
        )

    @property
    def cells(self) -> NDArray[np.int64]:
        """Numbers of the cells that hold sources (by early position), ascending."""
        return np.flatnonzero(self.counts.reshape(12 * 4**self.cell_order, -1).sum(axis=1))

    def chunk(self, cell: int) -> Chunk:
        """All sources of one cell, sorted by ``source_id``."""
        rng = np.random.default_rng([self.seed, 3, cell])
        pixel, source_id = self._identifiers(rng, cell, stream=1)
        is_mover = rng.random(len(pixel)) < self.mover_fraction
        ra, dec = _moved(rng, *pixel_centers_deg(pixel, INDEX_ORDER), is_mover)
        labels = starlight.draw_labels(rng, galactic_deg(ra, dec)[1])
        flux = flux_of_magnitude(labels.phot_g_mean_mag)
        scale = flux.astype(np.float32)[:, None]
        truth = Truth(
            source_id,
            labels,
            is_mover,
            starlight.noiseless_coefficients(labels)[:, self._columns] * scale,
            starlight.intrinsic_scatter(labels)[:, self._columns] * scale,
        )
        errors = starlight.coefficient_errors(rng, labels.phot_g_mean_mag)[:, self._columns] * scale
        # Scatter and noise are independent Gaussians: one draw with the sum of the variances stands
        # for both.  It is made for all columns, so that a star does not depend on the bands.
        shape = (len(pixel), starlight.BANDS.n_coefficients)
        coefficients = rng.standard_normal(shape, dtype=np.float32)[:, self._columns]
        coefficients *= np.sqrt(truth.scatter**2 + errors**2)
        coefficients += truth.coefficients
        return Chunk(
            SpectraBatch(source_id, ra, dec, flux, coefficients, errors, self.bands), truth
        )

    def other_sources(
        self, cell: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """As many sources without XP spectra as the cell has with: source_id, ra, dec, G flux, each
        with shape (N,).
        """
        rng = np.random.default_rng([self.seed, 4, cell])
        pixel, source_id = self._identifiers(rng, cell, stream=2)
        ra, dec = pixel_centers_deg(pixel, INDEX_ORDER)
        return source_id, ra, dec, flux_of_magnitude(rng.uniform(17.65, 21, len(pixel)))

    def chunks(self) -> Iterator[Chunk]:
        """The whole universe, cell by cell, sorted by ``source_id``."""
        for cell in self.cells.tolist():
            yield self.chunk(cell)

    def batches(self, rows: int = 65_536) -> Iterator[SpectraBatch]:
        """The whole universe, sorted by ``source_id``, in batches of ``rows`` sources; the last has
        the rest.
        """
        held: list[SpectraBatch] = []
        for chunk in self.chunks():
            held.append(chunk.batch)
            if sum(map(len, held)) >= rows:
                full = SpectraBatch.concatenate(held)
                whole = len(full) // rows * rows
                for start in range(0, whole, rows):
                    yield full.take(slice(start, start + rows))
                held = [full.take(slice(whole, None))]
        if sum(map(len, held)):
            yield SpectraBatch.concatenate(held)

    def spectra(self) -> SpectraBatch:
        """The whole universe as one batch, sorted by ``source_id``."""
        return SpectraBatch.concatenate(chunk.batch for chunk in self.chunks())

    def truth(self) -> Truth:
        """The truth of the whole universe, sorted by ``source_id``: the rows of `spectra`."""
        return Truth.concatenate([chunk.truth for chunk in self.chunks()])

    def _identifiers(
        self, rng: np.random.Generator, cell: int, stream: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Order-29 pixels of early positions, and ``source_id`` made of them, both with shape (N,),
        ascending.

        As in Gaia, ``source_id`` is the order-12 pixel << 35, + a data processing centre << 32
        (here: the stream), + a running number << 7 (Gaia DR3 documentation, section 20.1.1).
        """
        per_cell = 4 ** (DENSITY_ORDER - self.cell_order)
        first = cell * per_cell
        depth = 2 * (INDEX_ORDER - DENSITY_ORDER)
        numbers = np.repeat(
            np.arange(first, first + per_cell), self.counts[first : first + per_cell]
        )
        pixel = np.sort((numbers << depth) + rng.integers(0, 1 << depth, len(numbers)))
        coarse = pixel >> 2 * (INDEX_ORDER - MAX_ORDER)
        rank = np.arange(len(coarse)) - np.searchsorted(coarse, coarse)
        running = rank * N_RUNNING + rng.integers(1, N_RUNNING, len(rank))
        return pixel, (coarse << SOURCE_ID_SHIFT) + (stream << 32) + (running << 7)


def _moved(
    rng: np.random.Generator,
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    is_mover: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions in degrees, the movers' shifted by `MOVE_DEG` in random directions."""
    ra, dec = ra.copy(), dec.copy()
    start = unit_vectors(ra[is_mover], dec[is_mover])
    tangent = np.cross(start, rng.standard_normal(start.shape))
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    x, y, z = (start + np.tan(np.radians(MOVE_DEG)) * tangent).T
    ra[is_mover] = np.degrees(np.arctan2(y, x)) % 360
    dec[is_mover] = np.degrees(np.arctan2(z, np.hypot(x, y)))
    return ra, dec
