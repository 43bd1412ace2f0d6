"""A sample of training objects, how it was drawn (`xpscale.sampling.draw`), and its file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.errors import InvalidInputError
from xpscale.sampling.held_out import HeldOutSplit
from xpscale.storage import Storage
from xpscale.storage.single_file import put_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.spectra import SpectraBatch, SpectraReader

__all__ = ["Sample", "SamplePlan", "load_sample", "save_sample"]

METADATA = b"xpscale.sample"

FORMAT_VERSION = 2
"""Version of the file; 1 had neither cells nor counts."""

REMEDY = "Draw a sample from this store"


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How a sample was drawn.

    Parameters
    ----------
    rule
        ``"uniform"``, ``"density"``, ``"flattened"`` or ``"cut"``.
    seed
        Which of the possible draws.
    split
        The part of the sky that was left out.
    store_digest
        Content hash of the store it was drawn from.
    n_available
        Objects that could have been drawn.
    cells
        What defines the cells: ``by`` and their size.
    cell, available, drawn
        Numbers of the occupied cells, ascending, the objects in them, and how many of these were
        drawn.
    min_count
        For the rule ``"cut"``: the fewest objects of a cell that was drawn from.
    n_limited
        Cells of which fewer objects had been kept than the rule would have taken; 0 if the rule was
        met.
    """

    rule: str
    seed: int
    split: HeldOutSplit
    store_digest: str
    n_available: int
    cells: dict[str, Any]
    cell: tuple[int, ...] = field(repr=False)
    available: tuple[int, ...] = field(repr=False)
    drawn: tuple[int, ...] = field(repr=False)
    min_count: int = 0
    n_limited: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON can hold it; it travels into the card of a model trained on the
        sample.
        """
        lists = {name: list(getattr(self, name)) for name in ("cell", "available", "drawn")}
        return {**asdict(self), **lists}

    @property
    def name(self) -> str:
        """The rule with its threshold, and what density is counted in, such as
        ``cut (100 or more) by position``.
        """
        threshold = f" ({self.min_count:,} or more)" if self.min_count else ""
        return f"{self.rule}{threshold} by {self.cells['by'].replace('_', ' and ')}"

    def __str__(self) -> str:
        """A table with a line for each decade of density: cells, available and drawn objects."""
        cell, available, drawn = (
            np.array(values) for values in (self.cell, self.available, self.drawn)
        )
        decade = np.floor(np.log10(available)).astype(int) if len(cell) else np.empty(0, int)
        lines = [
            f"{'objects in the cell':>22}{'cells':>10}{'available':>14}{'drawn':>12}{'1 of':>9}"
        ]
        for exponent in np.unique(decade):
            here = decade == exponent
            n, n_drawn = int(available[here].sum()), int(drawn[here].sum())
            words = f"{10**exponent:,} to {10 ** (exponent + 1) - 1:,}"
            share = f"{n / n_drawn:,.1f}" if n_drawn else "-"
            lines.append(f"{words:>22}{here.sum():>10,}{n:>14,}{n_drawn:>12,}{share:>9}")
        return "\n".join(lines)

    @staticmethod
    def from_dict(content: dict[str, Any]) -> SamplePlan:
        """The plan that `to_dict` wrote."""
        tuples = {name: tuple(content[name]) for name in ("cell", "available", "drawn")}
        return SamplePlan(**{**content, **tuples, "split": HeldOutSplit(**content["split"])})


@dataclass(frozen=True, eq=False)
class Sample:
    """Training objects drawn from a store, in the store's order.

    Parameters
    ----------
    plan
        How it was drawn.
    partition_keys
        Keys of the store's partitions.
    source_id
        Gaia identifiers, int64, with shape (n,).
    partition
        Positions in ``partition_keys``, sorted, int32, with shape (n,).
    row
        Rows inside the partition, int32, with shape (n,).
    density
        Available objects in the object's cell, int64, with shape (n,).
    weight
        Available objects that the object stands for, the inverse of the probability with which it
        was drawn, float64, with shape (n,); `xpscale.sampling.rules` has the formula.
    """

    plan: SamplePlan
    partition_keys: tuple[str, ...]
    source_id: NDArray[np.int64]
    partition: NDArray[np.int32]
    row: NDArray[np.int32]
    density: NDArray[np.int64]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.source_id)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the plan and the drawn identifiers."""
        digest = hashlib.sha256(json.dumps(self.plan.to_dict(), sort_keys=True).encode())
        digest.update(np.sort(self.source_id).astype("<i8").tobytes())
        return digest.hexdigest()

    def select(self, partition_key: str, batch: SpectraBatch) -> NDArray[np.bool_]:
        """Which rows of a partition were drawn, with shape (N,).

        Parameters
        ----------
        partition_key
            Key of the partition.
        batch
            All N rows of the partition.

        Raises
        ------
        InvalidInputError
            The partition has other rows than the one that the sample was drawn from.
        """
        chosen = np.zeros(len(batch), bool)
        if partition_key in self._numbers:
            number = self._numbers[partition_key]
            first, last = np.searchsorted(self.partition, [number, number + 1])
            rows = self.row[first:last]
            if rows.size and (
                rows.max() >= len(batch)
                or (batch.source_id[rows] != self.source_id[first:last]).any()
            ):
                raise InvalidInputError(
                    f"partition {partition_key} has other rows than the sample", REMEDY
                )
            chosen[rows] = True
        return chosen

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {key: number for number, key in enumerate(self.partition_keys)}

    def require_store(self, reader: SpectraReader) -> None:
        """Refuse a store from which the sample was not drawn.

        Raises
        ------
        InvalidInputError
            If the digests differ.
        """
        if self.plan.store_digest != reader.digest:
            raise InvalidInputError(
                f"the sample was drawn from another store (digest {self.plan.store_digest[:12]},"
                f" this one has {reader.digest[:12]})",
                REMEDY,
            )


def save_sample(sample: Sample, destination: str, *, overwrite: bool = False) -> None:
    """Write a sample as one Parquet file, with its plan and digest in the file's metadata.

    Parameters
    ----------
    sample
        The sample.
    destination
        Path or URL of the file.
    overwrite
        Replace what is there.

    Raises
    ------
    ConflictError
        Another file is there, and ``overwrite`` is false.
    """
    head = {
        "format_version": FORMAT_VERSION,
        "digest": sample.digest,
        "plan": sample.plan.to_dict(),
    }
    keys = pa.array(sample.partition_keys, pa.string())
    table = pa.table(
        {
            "source_id": sample.source_id,
            "partition": pa.DictionaryArray.from_arrays(pa.array(sample.partition), keys),
            "row": sample.row,
            "density": sample.density,
            "weight": sample.weight,
        }
    ).replace_schema_metadata({METADATA: json.dumps(head, sort_keys=True)})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    put_file(destination, buffer.getvalue(), overwrite=overwrite)


def load_sample(source: str) -> Sample:
    """The sample that `save_sample` wrote.

    Parameters
    ----------
    source
        Path or URL of the file.

    Raises
    ------
    NotFoundError
        If there is no such file.
    InvalidInputError
        If it is something else, of another format version, or was changed.
    """
    place = Storage(source)
    content = place.parent.read(place.name)
    try:
        table = pq.read_table(pa.BufferReader(content))
        head = json.loads(table.schema.metadata[METADATA])
        version = head.get("format_version", 1)
        if version != FORMAT_VERSION:
            raise InvalidInputError(
                f"{source} is a sample of format version {version}, this version reads"
                f" {FORMAT_VERSION}",
                "Draw it again with this version",
            )
        partition = table["partition"].combine_chunks()
        columns = {
            name: table[name].to_numpy() for name in ("source_id", "row", "density", "weight")
        }
        sample = Sample(
            SamplePlan.from_dict(head["plan"]),
            tuple(partition.dictionary.to_pylist()),
            partition=partition.indices.to_numpy(),
            **columns,
        )
    except (pa.ArrowInvalid, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InvalidInputError(
            f"{source} is not a sample", "Give a file that `xpscale sample` wrote"
        ) from error
    if sample.digest != head["digest"]:
        raise InvalidInputError(f"{source} was changed after it was drawn", "Draw it again")
    return sample
