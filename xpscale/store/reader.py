"""Open a spectra store and read its partitions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.json_files import parse_json, read_value
from xpscale.release import Release, release_of
from xpscale.sky import INDEX_ORDER, MAX_ORDER, SOURCE_ID_SHIFT
from xpscale.spectra import Block, SpectraBatch, SpectraReader
from xpscale.storage import Storage
from xpscale.store.layout import (
    ARRAYS,
    CHUNK_ROWS,
    COMPANION_ARRAYS,
    CORRELATIONS,
    REPORT,
    ArraySpec,
)
from xpscale.store.root import listed_partitions, root_attributes
from xpscale.store.shards import Shard
from xpscale.types import Partition, Stopwatch

__all__ = ["SpectraStore", "open_store"]

SPECS = {**{spec.name: spec for spec in ARRAYS}, **COMPANION_ARRAYS}


@dataclass(frozen=True)
class SpectraStore(SpectraReader):
    """A finished spectra store.  Pickles as its address.

    Parameters
    ----------
    storage
        Where it is.
    attributes
        The root group's attributes: format, counts, digest, provenance.
    partitions
        All partitions, sorted by position.
    """

    storage: Storage
    attributes: Mapping[str, Any] = field(repr=False)
    partitions: tuple[Partition, ...] = field(repr=False)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.storage.url

    @property
    def bands(self) -> Bands:
        """The numbers of BP and RP coefficients of a source."""
        n_bp = int(self.attributes["n_bp"])
        return Bands(n_bp, int(self.attributes["n_coefficients"]) - n_bp)

    @property
    def release(self) -> Release:
        """The data release that the spectra are of."""
        name = str(self.attributes.get("release", ""))
        # stores of tables and Parquet said so before they told releases apart
        return release_of("" if name == "Gaia" else name, self.bands)

    is_checked = True
    reads_in_blocks = True

    @property
    def digest(self) -> str:
        """Content hash over every object of every partition."""
        return str(self.attributes["digest"])

    @property
    def report(self) -> dict[str, Any]:
        """Rows read, written and rejected by reason, in total and by file, as ingest left them."""
        return read_value(
            lambda text: dict(parse_json(text)),
            self.storage.read(REPORT),
            f"{self.url}/{REPORT}",
            "report of an ingest",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # a worker opens the store once, and gets no list of partitions with every task
        return _reopen, (self.storage, self.digest)

    def read(self, partition: Partition, *, errors: bool = True) -> SpectraBatch:
        """All rows of a partition, sorted by position, as `SpectraReader.read` says."""
        return self.read_rows(partition, 0, partition.n_rows, errors=errors)

    def read_rows(
        self, partition: Partition, start: int, n_rows: int, *, errors: bool = True
    ) -> SpectraBatch:
        """Some rows of a partition, as `read` has them; only the chunks they are in are fetched.

        Parameters
        ----------
        partition
            One of `partitions`.
        start, n_rows
            The first of the rows, and how many.
        errors
            Whether to read the coefficient errors.
        """
        shards = self._shards(partition, errors, whole=n_rows == partition.n_rows)
        buffers = [shard.empty(n_rows) for shard in shards]
        return _filled(self.bands, shards, buffers, start, Stopwatch())

    def blocks(self) -> tuple[Block, ...]:
        """All rows, chunk by chunk; neighbouring blocks lie close together on the sky."""
        return tuple(
            Block(min(CHUNK_ROWS, partition.n_rows - start), partition, start)
            for partition in self.partitions
            for start in range(0, partition.n_rows, CHUNK_ROWS)
        )

    def read_block(self, block: Block) -> SpectraBatch:
        """The rows of one of `blocks`, with errors."""
        return self.read_rows(block.where, block.start, block.n_rows)

    def read_in_blocks(
        self,
        partition: Partition,
        n_rows: int,
        *,
        errors: bool = True,
        watch: Stopwatch | None = None,
    ) -> Iterator[SpectraBatch]:
        """The rows of a partition, as `SpectraReader.read_in_blocks` says.

        Every block is decoded into the same memory: it is valid until the next one is asked for.
        Blocks of a multiple of `CHUNK_ROWS` rows are read fastest.
        """
        watch = watch or Stopwatch()
        shards, most = self._shards(partition, errors, whole=False), min(n_rows, partition.n_rows)
        with watch("read_s"):
            buffers = [shard.empty(most) for shard in shards]
        for start in range(0, partition.n_rows, n_rows):
            n = min(n_rows, partition.n_rows - start)
            yield _filled(self.bands, shards, [buffer[:n] for buffer in buffers], start, watch)

    def read_columns(self, partition: Partition, names: Iterable[str]) -> dict[str, NDArray[Any]]:
        """Some arrays of a partition, see `SpectraReader`; no others are fetched."""
        return {name: self._array(partition, SPECS[name]) for name in names}

    @property
    def companions(self) -> tuple[str, ...]:
        """What came along from ``gaia_source``, by name."""
        return tuple(self.attributes.get("companions", ()))

    @property
    def pixel_positions(self) -> bool:
        """Whether positions are the centres of the pixels in the identifiers."""
        return bool(self.attributes.get("pixel_positions", False))

    @property
    def has_correlations(self) -> bool:
        """Whether the ingest kept the correlations of coefficients."""
        return bool(self.attributes.get("correlations", False))

    def read_correlations(
        self, partition: Partition
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """BP and RP correlations of a partition's rows, each with shape (N, n (n - 1) / 2).

        n is the number of coefficients of the band.  The strict lower triangle by rows, as in the
        archive: (1,0), (2,0), (2,1), (3,0), ...

        Raises
        ------
        InvalidInputError
            The store was made without them.
        """
        if not self.has_correlations:
            raise InvalidInputError(
                f"{self.url} was made without correlations",
                "Ingest into a new store with --correlations",
            )
        bp, rp = (self._array(partition, spec) for spec in CORRELATIONS)
        return bp, rp

    def _shards(self, partition: Partition, errors: bool, whole: bool) -> list[Shard]:
        """The arrays of a partition; small ones are fetched whole in any case."""
        return [
            self._shard(partition, spec, whole or not spec.is_vector)
            for spec in (*ARRAYS, *(COMPANION_ARRAYS[name] for name in self.companions))
            if errors or spec.name != "coefficient_errors"
        ]

    def _shard(self, partition: Partition, spec: ArraySpec, whole: bool) -> Shard:
        return Shard(self.storage / partition.key / spec.name, spec, partition.n_rows, whole)

    def _array(self, partition: Partition, spec: ArraySpec) -> NDArray[Any]:
        shard = self._shard(partition, spec, whole=True)
        return shard.read(0, shard.empty(partition.n_rows), Stopwatch())

    def find(self, source_ids: Iterable[int]) -> SpectraBatch:
        """The spectra of some sources, in no particular order; sources that are not here are left
        out.

        Looks first where their identifiers point, then, for those that moved out of that partition,
        everywhere.
        """
        wanted = np.unique(np.fromiter(source_ids, np.int64))
        low = wanted >> SOURCE_ID_SHIFT << 2 * (INDEX_ORDER - MAX_ORDER)
        starts = np.array([partition.pixel.index_range[0] for partition in self.partitions])
        likely = set(np.maximum(np.searchsorted(starts, low, "right") - 1, 0).tolist())
        order = sorted(range(len(self.partitions)), key=lambda i: (i not in likely, i))
        found = []
        for i in order:
            ids = self._array(self.partitions[i], SPECS["source_id"])
            rows = np.flatnonzero(np.isin(ids, wanted))
            if len(rows):
                found.append(self.read(self.partitions[i]).take(rows))
                wanted = np.setdiff1d(wanted, ids[rows])
            if not len(wanted):
                break
        if not found:
            return self.read(self.partitions[0]).take(slice(0))
        return SpectraBatch.concatenate(found)

    def __str__(self) -> str:
        return (
            f"{self.n_rows:,} sources of {self.release}, {self.bands} coefficients ·"
            f" {len(self.partitions):,} partitions · {self.url}"
        )


def _filled(
    bands: Bands,
    shards: list[Shard],
    arrays: list[NDArray[Any]],
    start: int,
    watch: Stopwatch,
) -> SpectraBatch:
    """The batch of the rows from ``start`` on, read into these arrays."""
    read = {s.spec.name: s.read(start, out, watch) for s, out in zip(shards, arrays, strict=True)}
    return SpectraBatch.of(read, bands)


@lru_cache(maxsize=4)
def _reopen(storage: Storage, digest: str) -> SpectraStore:
    store = open_store(storage)
    if store.digest != digest:
        raise ConflictError(
            f"{store.url} was replaced by another store while it was in use", "Start the run again"
        )
    return store


def open_store(url: str | Storage) -> SpectraStore:
    """Open a finished spectra store.

    Parameters
    ----------
    url
        Where it is: a folder, ``s3://`` or ``https://``.

    Raises
    ------
    NotFoundError
        Nothing is there.
    InvalidInputError
        Something else is there, the ingest has not finished, or another version of xpscale made it.
    """
    storage = url if isinstance(url, Storage) else Storage(url)
    attributes = root_attributes(storage)
    return SpectraStore(storage, attributes, listed_partitions(storage))
