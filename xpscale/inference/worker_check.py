"""What a process must be able to do before it encodes: hold the tasks in its memory, read the
spectra, see the catalogue, use the device, and compute what the process computes that planned.

The known answer: made-up spectra x = mean + std n / 2, with n ~ N(0, 1) and errors std / 10, in the
model's standardized units, are encoded here and there.  With posterior widths s = exp(log_var / 2)
the two agree if

    max |mean - mean'| / s < 0.02      and      max |log_var - log_var'| < 0.02

float32 on a CPU and on a GPU agree to 1e-4; TF32, bfloat16, another model or scaling do not.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from xpscale.catalog.layout import MODEL, RUN
from xpscale.errors import NotFoundError, PermanentError, PlanError
from xpscale.formatting import format_bytes
from xpscale.model.folder import CARD, WEIGHTS
from xpscale.spectra import SpectraBatch, SpectraReader, require_readable
from xpscale.storage import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel

__all__ = ["WorkerCheck"]

N_SPECTRA = 16
MOST_WIDTHS = 0.02


@dataclass(frozen=True)
class WorkerCheck:
    """Raises where a process cannot do the tasks of a run; travels to workers.

    Parameters
    ----------
    reader
        The spectra.
    place
        The catalogue.
    has_run, has_model
        Whether the planning process sees the catalogue, and the model in it.
    model_id
        The model.
    model_files
        The model's folder, by name.
    answer
        What the planning process makes of the known spectra, with shape (N_SPECTRA, 2, L): mean and
        log variance.
    device
        Where to encode.
    memory
        Bytes that a worker process needs at most.
    """

    reader: SpectraReader
    place: Storage
    has_run: bool
    has_model: bool
    model_id: str
    model_files: dict[str, bytes]
    answer: NDArray[np.float64]
    device: str
    memory: int

    @staticmethod
    def of(
        reader: SpectraReader, place: Storage, model: TrainedModel, device: str, memory: int
    ) -> WorkerCheck:
        """The check of a run.

        Parameters
        ----------
        reader, place, device, memory
            As of the class.
        model
            The model.
        """
        with tempfile.TemporaryDirectory(prefix="xpscale-") as folder:
            model.save(folder)
            files = {name: Storage(folder).read(name) for name in (WEIGHTS, CARD)}
        answer = _posterior(model, "cpu")
        there = (place.exists(RUN), place.exists(f"{MODEL}/{CARD}"))
        return WorkerCheck(reader, place, *there, model.model_id, files, answer, device, memory)

    def __call__(self, memory: int | None) -> None:
        """Try everything, with the bytes that this process may use, ``None`` for any.

        Raises
        ------
        XpscaleError
            The first thing that it cannot do.
        """
        if memory is not None and memory < self.memory:
            raise PlanError(
                f"it may use {format_bytes(memory)} of memory, and a worker needs up to"
                f" {format_bytes(self.memory)}",
                "Start workers with a higher --memory-limit, or ingest with a smaller --max-rows",
            )
        require_readable(self.reader)
        if self.has_run and not self.place.exists(RUN):
            raise NotFoundError(
                f"{self.place} is not there", "Choose a place that all workers reach"
            )
        if self.has_model:
            model_of(self.place, self.model_id)
        found = _posterior_here(tuple(self.model_files.items()), self.device)
        change = np.abs(found - self.answer)
        change[:, 0] /= np.exp(self.answer[:, 1] / 2)
        if not (largest := float(change.max())) < MOST_WIDTHS:
            raise PermanentError(
                f"its latents differ from this machine's by {largest:.2g} posterior widths",
                "Use the same versions of torch, and no reduced precision, on all machines",
            )


def model_of(catalog: Storage, model_id: str) -> TrainedModel:
    """The model in a catalogue.

    Parameters
    ----------
    catalog
        The catalogue.
    model_id
        The model that should be there.

    Raises
    ------
    PermanentError
        It is another one.
    """
    from xpscale.model.checkpoint import load_model

    model = load_model(catalog / MODEL)
    if model.model_id != model_id:
        raise PermanentError(
            f"{catalog / MODEL} is model {model.model_id[:12]} instead of {model_id[:12]}",
            "Choose a place that is the same on all machines",
        )
    return model


@lru_cache(maxsize=1)
def _posterior_here(files: tuple[tuple[str, bytes], ...], device: str) -> NDArray[np.float64]:
    """As `_posterior`, of the model in these files; once in a process."""
    from xpscale.model.checkpoint import load_model

    with tempfile.TemporaryDirectory(prefix="xpscale-") as folder:
        for name, data in files:
            Storage(folder).create(name, data)
        return _posterior(load_model(folder), device)


def _posterior(model: TrainedModel, device: str) -> NDArray[np.float64]:
    """Mean and log variance of the known spectra, with shape (N_SPECTRA, 2, L)."""
    from xpscale.inference.encoder import ScatterVAEEncoder

    n, rng = N_SPECTRA, np.random.default_rng(0)
    flux, zeros = np.full(n, 1e4), np.zeros(n)
    noise = rng.normal(size=(n, model.n_coefficients))
    x = flux[:, None] * (model.scaling.mean + model.scaling.std * noise / 2)
    errors = np.broadcast_to(flux[:, None] * model.scaling.std / 10, x.shape)
    ids, coefficients = np.arange(n), x.astype(np.float32)
    batch = SpectraBatch(
        ids, zeros, zeros, flux, coefficients, errors.astype(np.float32), model.bands
    )
    table: pa.Table = ScatterVAEEncoder(model, ("latents",), device)(batch)
    latents = range(model.n_latents)
    columns = [[f"latent_mean_{i}" for i in latents], [f"latent_log_var_{i}" for i in latents]]
    values = [[table[name].to_numpy() for name in names] for names in columns]
    return np.array(values, np.float64).transpose(2, 0, 1)
