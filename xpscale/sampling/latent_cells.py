"""Cells in latent space: cubes of equal size, assigned to a fixed number of bins by a hash.

Six latents have too many cubes to count each, and few are occupied.  A cube goes to one of K = 2^20
bins, so memory is bounded whatever the number of latents.  Two cubes that share a bin count as one
cell: with m occupied cubes this happens to a share 1 - (1 - 1/K)^(m-1) of them, 5 % for m = 50,000.
The draw and its weights are exact for the bins.

The sides of a cube are one standard deviation of the prior, and a cube is centred on 0, so that a
collapsed latent, whose mean is near 0 for every source, splits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from xpscale.catalog.identity import read_identity
from xpscale.catalog.layout import part_key
from xpscale.catalog.snapshots import current
from xpscale.errors import InvalidInputError
from xpscale.release import require_same_release
from xpscale.sampling.cells import Cells
from xpscale.sampling.hashing import hash_64
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from xpscale.bands import Bands
    from xpscale.catalog.manifest import RunIdentity
    from xpscale.model.checkpoint import TrainedModel
    from xpscale.model.scatter_vae import NetworkModule
    from xpscale.spectra import SpectraReader
    from xpscale.types import Partition

__all__ = ["CatalogLatents", "LatentCells", "ModelLatents"]

LOG2_BINS = 20
SPECTRA = (
    "source_id",
    "ra",
    "dec",
    "phot_g_mean_flux",
    "coefficients",
    "coefficient_errors",
)
"""The arrays of a `SpectraBatch`, the errors last."""
BATCH_ROWS = 2_048  # small enough for the network's activations to stay in the cache


class Latents(Protocol):
    """Where latents come from."""

    @property
    def model_id(self) -> str:
        """Content hash of the model that made them."""
        ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The arrays of `SpectraBatch` that `means` needs."""
        ...

    def means(
        self, partition: Partition, columns: Mapping[str, NDArray[Any]], bands: Bands
    ) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN where there is none.

        Parameters
        ----------
        partition, columns, bands
            As of `xpscale.sampling.cells.Cells.numbers`.
        """
        ...


@dataclass(frozen=True)
class LatentCells(Cells):
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
    by = "latents"
    n_cells = 2**LOG2_BINS

    @property
    def columns(self) -> tuple[str, ...]:
        """The arrays that the latents need."""
        return self.latents.columns

    def numbers(
        self, partition: Partition, columns: Mapping[str, NDArray[Any]], bands: Bands
    ) -> NDArray[np.int64]:
        """The bin of every object, with shape (N,)."""
        means = np.nan_to_num(self.latents.means(partition, columns, bands))
        cubes = np.floor(means / self.width + 0.5).astype(np.int64)
        key = np.zeros(len(cubes), np.uint64)
        for i, steps in enumerate(cubes.T):
            key = hash_64(key.view(np.int64) + steps, i)
        return (key >> np.uint64(64 - LOG2_BINS)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """What defines the cells, as JSON can hold it."""
        return {"by": self.by, "model_id": self.latents.model_id, "width": self.width}


@dataclass(frozen=True)
class ModelLatents(Latents):
    """Latents by encoding the spectra as they are read.

    Parameters
    ----------
    model
        The model's folder.
    """

    model: Storage

    @staticmethod
    def open(url: str, reader: SpectraReader) -> ModelLatents:
        """The latents of a model that takes the spectra of a store.

        Parameters
        ----------
        url
            Address of the model's folder.
        reader
            The spectra it will be given.

        Raises
        ------
        NotFoundError
            If there is no model.
        InvalidInputError
            If it takes spectra of other bands, or cannot be applied to spectra.
        ConflictError
            If it was trained on spectra of another release.
        """
        latents = ModelLatents(Storage(url))
        model, _ = _model(latents.model)
        model.scaling.require(reader.bands)
        require_same_release(url, model.release, "the input", reader.release)
        return latents

    @property
    def model_id(self) -> str:
        """Content hash of the model."""
        return _model(self.model)[0].model_id

    @property
    def columns(self) -> tuple[str, ...]:
        """The spectra; their errors only if the network looks at them."""
        return SPECTRA if _model(self.model)[1].needs_errors else SPECTRA[:-1]

    def means(
        self, partition: Partition, columns: Mapping[str, NDArray[Any]], bands: Bands
    ) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN where a spectrum is not usable."""
        import torch

        model, network = _model(self.model)
        arrays: dict[str, Any] = {name: columns.get(name) for name in SPECTRA}
        batch = SpectraBatch(**arrays, bands=bands)
        means = np.full((len(batch), model.n_latents), np.nan, np.float32)
        with torch.inference_mode():
            for start in range(0, len(batch), BATCH_ROWS):
                rows = slice(start, start + BATCH_ROWS)
                x, x_err = model.scaling.standardize(batch, rows)
                errors = None if x_err is None else torch.from_numpy(x_err)
                found = network.latent_columns(torch.from_numpy(x), errors, correlates=False)
                means[rows] = found["latents"][: model.n_latents].T.numpy()
        return means


@dataclass(frozen=True)
class CatalogLatents(Latents):
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
    columns = ("source_id",)

    @staticmethod
    def open(url: str, reader: SpectraReader) -> CatalogLatents:
        """The latents of a published catalogue.

        Parameters
        ----------
        url
            Address of the catalogue.
        reader
            The spectra it must have been made from.

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

    def means(
        self, partition: Partition, columns: Mapping[str, NDArray[Any]], bands: Bands
    ) -> NDArray[np.float32]:
        """Posterior means with shape (N, L); NaN for sources that the catalogue leaves out."""
        import pyarrow.parquet as pq

        names = [f"latent_mean_{i}" for i in range(self.identity.n_latents)]
        with self.catalog.open(part_key("latents", partition.pixel)) as file:
            table = pq.read_table(file, columns=["source_id", *names])
        found, wanted = table["source_id"].to_numpy(), columns["source_id"]
        order = np.argsort(found)
        place = np.searchsorted(found, wanted, sorter=order)
        rows = order[np.minimum(place, len(found) - 1)]
        means = np.stack([table[name].to_numpy() for name in names], axis=1)[rows]
        means[found[rows] != wanted] = np.nan
        return np.asarray(means, np.float32)


@lru_cache(maxsize=1)
def _model(storage: Storage) -> tuple[TrainedModel, NetworkModule]:
    """A model and its network for inference, loaded once in a process."""
    from xpscale.model.checkpoint import load_model
    from xpscale.model.folding import fold

    model = load_model(storage)
    return model, fold(model.network)
