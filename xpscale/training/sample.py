"""Object-dense samples: a reproducible draw of training objects from a store, by their density.

Objects are drawn without replacement with probability proportional to a weight (Efraimidis & Spirakis 2006,
doi:10.1016/j.ipl.2005.11.003): each gets the key -ln(u) / weight, and the smallest keys win.  u is a hash of source_id and
seed, so the draw does not depend on the order of reading, and needs memory for the drawn rows alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from xpscale.errors import InvalidInputError
from xpscale.model.density import CELL_AREA
from xpscale.model.scaling import trainable_rows
from xpscale.storage import Storage
from xpscale.training.density import object_density
from xpscale.training.split import HeldOutSplit, uniform_hash

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.types import SpectraBatch, SpectraReader

__all__ = ["RULES", "Sample", "SamplePlan", "draw_sample", "load_sample", "save_sample"]

RULES = ("uniform", "density", "flattened")
"""Weights 1, proportional to the density, and to its inverse."""

METADATA = b"xpscale.sample"


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """How a sample was drawn.

    Parameters
    ----------
    rule
        ``"uniform"``, ``"density"`` or ``"flattened"``.
    seed
        Which of the possible draws.
    split
        The part of the sky that was left out.
    store_digest
        Content hash of the store it was drawn from.
    n_available
        Objects that could have been drawn.
    density_digest
        sha256 of the counts of all available objects on the density grid.
    """

    rule: str
    seed: int
    split: HeldOutSplit
    store_digest: str
    n_available: int
    density_digest: str


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
        Gaia DR3 identifiers, int64, with shape (n,).
    partition
        Positions in ``partition_keys``, sorted, int32, with shape (n,).
    row
        Rows inside the partition, int64, with shape (n,).
    density
        Fraction of the available objects per unit area of the grid, float32, with shape (n,).
    weight
        Weight in the draw, relative to the sample's mean, float64, with shape (n,).
    """

    plan: SamplePlan
    partition_keys: tuple[str, ...]
    source_id: NDArray[np.int64]
    partition: NDArray[np.int32]
    row: NDArray[np.int64]
    density: NDArray[np.float32]
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.source_id)

    @cached_property
    def digest(self) -> str:
        """Hex sha256 of the plan and the drawn identifiers."""
        digest = hashlib.sha256(json.dumps(asdict(self.plan), sort_keys=True).encode())
        digest.update(np.sort(self.source_id).astype("<i8").tobytes())
        return digest.hexdigest()

    def select(self, partition_key: str, batch: SpectraBatch) -> NDArray[np.bool_]:
        """Which rows of a partition's batch were drawn, with shape (N,)."""
        chosen = np.zeros(len(batch), bool)
        if partition_key in self.partition_keys:
            number = self.partition_keys.index(partition_key)
            first, last = np.searchsorted(self.partition, [number, number + 1])
            rows = self.row[first:last]
            if rows.size and (rows.max() >= len(batch) or (batch.source_id[rows] != self.source_id[first:last]).any()):
                raise InvalidInputError(f"partition {partition_key} has other rows than the sample", REMEDY)
            chosen[rows] = True
        return chosen

    def require_store(self, reader: SpectraReader) -> None:
        """Refuse a store the sample was not drawn from."""
        if self.plan.store_digest != reader.digest:
            raise InvalidInputError(
                f"the sample was drawn from another store (digest {self.plan.store_digest[:12]}, this one has "
                f"{reader.digest[:12]})",
                REMEDY,
            )


def draw_sample(
    reader: SpectraReader, n: int, rule: str = "uniform", seed: int = 0, split: HeldOutSplit | None = None
) -> Sample:
    """Draw n training objects from a store, never from its held-out part.

    Parameters
    ----------
    reader
        The store.
    n
        How many.
    rule
        ``"uniform"``; ``"density"``: dense regions of the grid are favoured, in proportion to their density;
        ``"flattened"``: sparse regions are, in inverse proportion.
    seed
        Which draw.
    split
        The held-out part of the sky; by default that of `TrainingSettings`.

    Raises
    ------
    InvalidInputError
        If the rule is unknown, or the store has fewer than n objects to draw from.
    """
    if rule not in RULES:
        raise InvalidInputError(f"no sampling rule is called {rule!r}", f"Rules are {', '.join(RULES)}")
    split = split or HeldOutSplit()
    scaling, density = object_density(reader, split)
    if not 1 <= n <= density.n_rows:
        raise InvalidInputError(
            f"cannot draw {n:,} objects of {density.n_rows:,}",
            "Ask for fewer: only usable objects outside the held-out pixels count",
        )
    floor = 1 / (density.n_rows * CELL_AREA)  # objects off the grid count as alone in a cell
    drawn = np.empty(0, ROW)
    for number, partition in enumerate(reader.partitions):
        batch = reader.read(partition)
        rows = np.flatnonzero(trainable_rows(batch) & ~split.held_out(batch))
        at = density.at(scaling.standardize(batch, rows)[0])
        here = np.empty(len(rows), ROW)
        here["source_id"], here["partition"], here["row"] = batch.source_id[rows], number, rows
        here["density"], here["weight"] = at, _weight(np.maximum(at, floor), rule)
        here["key"] = -np.log(uniform_hash(here["source_id"], seed)) / here["weight"]
        drawn = np.concatenate([drawn, here])
        if len(drawn) > n:
            drawn = drawn[np.argpartition(drawn["key"], n - 1)[:n]]
    drawn = np.sort(drawn, order=["partition", "row"])
    counts = hashlib.sha256(density.counts.astype("<i8").tobytes()).hexdigest()
    return Sample(
        SamplePlan(rule, seed, split, reader.digest, density.n_rows, counts),
        tuple(partition.key for partition in reader.partitions),
        source_id=np.ascontiguousarray(drawn["source_id"]),
        partition=np.ascontiguousarray(drawn["partition"]),
        row=np.ascontiguousarray(drawn["row"]),
        density=np.ascontiguousarray(drawn["density"]),
        weight=drawn["weight"] / drawn["weight"].mean(),
    )


def save_sample(sample: Sample, destination: str) -> None:
    """Write a sample as one Parquet file; its plan and digest are in the file's metadata."""
    plan = {**asdict(sample.plan), "digest": sample.digest, "n_rows": len(sample)}
    keys = pa.array(sample.partition_keys, pa.string())
    table = pa.table(
        {
            "source_id": sample.source_id,
            "partition": pa.DictionaryArray.from_arrays(pa.array(sample.partition), keys),
            "row": sample.row,
            "density": sample.density,
            "weight": sample.weight,
        }
    ).replace_schema_metadata({METADATA: json.dumps(plan, sort_keys=True)})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    folder, name = _folder_and_name(destination)
    folder.replace(name, buffer.getvalue())


def load_sample(source: str) -> Sample:
    """The sample that `save_sample` wrote; refuses a file that is something else or was changed."""
    folder, name = _folder_and_name(source)
    try:
        table = pq.read_table(pa.BufferReader(folder.read(name)))
        plan = json.loads(table.schema.metadata[METADATA])
        digest, _ = plan.pop("digest"), plan.pop("n_rows")
        partition = table["partition"].combine_chunks()
        columns = {name: table[name].to_numpy() for name in ("source_id", "row", "density", "weight")}
        sample = Sample(
            SamplePlan(**{**plan, "split": HeldOutSplit(**plan["split"])}),
            tuple(partition.dictionary.to_pylist()),
            partition=partition.indices.to_numpy(),
            **columns,
        )
    except (pa.ArrowInvalid, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise InvalidInputError(f"{source} is not a sample", "Give a file that `xpscale sample` wrote") from error
    if sample.digest != digest:
        raise InvalidInputError(f"{source} was changed after it was drawn", "Draw it again")
    return sample


REMEDY = "Draw a sample from this store"

ROW = np.dtype(
    [("source_id", "i8"), ("partition", "i4"), ("row", "i8"), ("density", "f4"), ("weight", "f8"), ("key", "f8")]
)


def _weight(density: NDArray[Any], rule: str) -> NDArray[np.float64]:
    exponent = {"uniform": 0, "density": 1, "flattened": -1}[rule]
    return np.asarray(density, np.float64) ** exponent


def _folder_and_name(url: str) -> tuple[Storage, str]:
    location = Storage(url)
    folder, _, name = location.url.rpartition("/")
    return Storage(folder or "/"), name
