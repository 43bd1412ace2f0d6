"""Cells in latent space: cubes of equal size, thrown into a fixed number of bins by a hash.

Six latents have too many cubes to count each, and few are occupied.  A cube goes to one of K = 2^20
bins, so memory is bounded whatever the number of latents.  Two cubes that share a bin count as one
cell: with m occupied cubes this happens to a share 1 - (1 - 1/K)^(m-1) of them, 5 % for m = 50,000.
The draw and its weights are exact for the bins.

A cube's sides are a prior standard deviation wide and centred on 0, so that a collapsed latent,
whose mean is near 0 for every source, splits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import part_key
from xpscale.catalog.snapshots import current
from xpscale.errors import InvalidInputError
from xpscale.sampling.split import hash_64
from xpscale.storage import Storage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.catalog.manifest import RunIdentity
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.types import Partition, SpectraBatch, SpectraReader

__all__ = ["CatalogLatents", "LatentCells", "ModelLatents"]

LOG2_BINS = 20
ROWS_AT_ONCE = 2_048  # the network's activations stay in the cache


class Latents(Protocol):
    """Where latents come from."""

    @property
    def model_id(self) -> str:
        """Of the model that made them."""
        ...

    def of(self, partition: Partition, batch: SpectraBatch) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN where there is none."""
        ...


@dataclass(frozen=True)
class LatentCells:
    """Cubes in the space of posterior means.

    Parameters
    ----------
    latents
        Where they come from.
    width
        Side of a cube in standard deviations of the prior.
    """

    latents: Latents
    width: float = 1.0
    by: ClassVar[str] = "latents"
    n_cells: ClassVar[int] = 2**LOG2_BINS

    def of(self, partition: Partition, batch: SpectraBatch) -> NDArray[np.int64]:
        """The bin of every object, with shape (N,)."""
        cubes = np.floor(
            np.nan_to_num(self.latents.of(partition, batch)) / self.width + 0.5
        ).astype(np.int64)
        key = np.zeros(len(batch), np.uint64)
        for i, steps in enumerate(cubes.T):
            key = hash_64(key.view(np.int64) + steps, i)
        return (key >> np.uint64(64 - LOG2_BINS)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """The model and the width."""
        return {"by": self.by, "model_id": self.latents.model_id, "width": self.width}


@dataclass(frozen=True)
class ModelLatents:
    """Latents by encoding the spectra as they are read.

    Parameters
    ----------
    model
        The model's folder.
    """

    model: Storage

    @property
    def model_id(self) -> str:
        """Content hash of the model."""
        return _model(self.model)[0].model_id

    def of(self, partition: Partition, batch: SpectraBatch) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN where a spectrum is not usable."""
        import torch

        model, network = _model(self.model)
        means = np.full((len(batch), model.n_latents), np.nan, np.float32)
        with torch.inference_mode():
            for start in range(0, len(batch), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                x, x_err = model.scaling.standardize(batch, rows)
                errors = (
                    torch.from_numpy(x_err) if x_err is not None and network.needs_errors else None
                )
                means[rows] = network.encode(torch.from_numpy(x), errors).mean.numpy()
        return means


@dataclass(frozen=True)
class CatalogLatents:
    """Latents out of the derived catalogue of the same store.

    Parameters
    ----------
    catalog
        The catalogue.
    identity
        What it was made of, from `xpscale.catalog.identity.read_identity`.
    """

    catalog: Storage
    identity: RunIdentity

    @staticmethod
    def open(url: str, reader: SpectraReader) -> CatalogLatents:
        """The latents of a published catalogue.

        Raises
        ------
        NotFoundError
            If there is no catalogue, or none of its versions is published.
        InvalidInputError
            If it was made from another store.
        """
        catalog = Storage(url)
        current(catalog)
        identity = read_identity(catalog)
        if identity.input_digest != reader.digest:
            raise InvalidInputError(
                f"{catalog} was made from another store", "Give the catalogue of this store"
            )
        return CatalogLatents(catalog, identity)

    @property
    def model_id(self) -> str:
        """Content hash of the model that made the catalogue."""
        return self.identity.model_id

    def of(self, partition: Partition, batch: SpectraBatch) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN for sources that the catalogue leaves out."""
        import pyarrow.parquet as pq

        names = [f"latent_mean_{i}" for i in range(self.identity.n_latents)]
        with self.catalog.open(part_key("latents", partition.pixel)) as file:
            table = pq.read_table(file, columns=["source_id", *names])
        there = table["source_id"].to_numpy()
        order = np.argsort(there)
        place = np.minimum(np.searchsorted(there, batch.source_id, sorter=order), len(there) - 1)
        row = order[place]
        means = np.stack([table[name].to_numpy() for name in names], axis=1)[row]
        means[there[row] != batch.source_id] = np.nan
        return np.asarray(means, np.float32)


@lru_cache(maxsize=1)
def _model(storage: Storage) -> tuple[TrainedModel, NetworkModule]:
    """A model and its network for inference, loaded once in a process."""
    from xpscale.model.checkpoint import load_model
    from xpscale.model.folding import fold

    model = load_model(storage)
    return model, fold(model.network)
