"""A trained scatter VAE as an `Encoder`: spectra in, the catalogue's columns out.

For each micro-batch, in float32 with exact GELU (TF32 and bfloat16 were measured and move latents by whole posterior
standard deviations)::

    x     = (c / G - m) / d             standardized in float64, rounded once
    z     = E[q(z | x)]                 latent_mean: the posterior mean, no sampling
    x^, s = decoder(z)                  reconstruction and intrinsic scatter, standardized
    c^    = (x^ d + m) G                in the archive's units
    s_c   = s d G

The same rows give the same bytes whichever process encodes them: one torch thread, micro-batches cut at fixed rows.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from xpscale.errors import InvalidInputError
from xpscale.inference.rounding import round_within
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.folding import fold
from xpscale.model.scaling import errors_usable
from xpscale.model.scatter_vae import Reconstruction
from xpscale.schema import FULL_PRECISION, Flag
from xpscale.sky import healpix_29
from xpscale.types import SpectraBatch

__all__ = ["ScatterVAEEncoder", "pick_device"]

CPU_MICRO_BATCH = 2_048
"""Rows through the network at once on a CPU: the activations stay in the cache."""

GPU_MICRO_BATCH = 65_536

POOR_FIT = 10.0  # reduced chi squared above which Flag.POOR_FIT is set
SCATTER_BOUND = 0.99  # of the sigmoid's ceiling


def pick_device(name: str = "auto") -> torch.device:
    """The torch device of a name; ``"auto"`` is the GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(f"torch has no device {name!r} here", "Use 'cpu', 'cuda' or 'auto'") from error
    return device


class ScatterVAEEncoder:
    """Encodes batches with one model on one device.

    Parameters
    ----------
    model
        The model.
    outputs
        What to compute, of `xpscale.schema.OUTPUTS`; for latents alone nothing is decoded.
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"auto"``.
    precision
        Of reconstruction and scatter; from `xpscale.schema.checked_precision`.
    """

    def __init__(
        self, model: TrainedModel, outputs: tuple[str, ...], device: str = "auto", precision: str = FULL_PRECISION
    ) -> None:
        self.model = model
        self.outputs = outputs
        self.precision = precision
        self.has_fit = len(outputs) > 1
        self.device = pick_device(device)
        self.network = fold(model.network).to(self.device)
        self.needs_errors = model.network.needs_errors
        self.micro_batch = CPU_MICRO_BATCH if self.device.type == "cpu" else GPU_MICRO_BATCH
        self.seconds: dict[str, float] = {}
        """Wall time of the last call, by ``to_device_s``, ``forward_s`` and ``encode_s``."""
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        torch.set_float32_matmul_precision("highest")  # no TF32, whatever was set before (design/007)
        self._warm_up()

    def _warm_up(self) -> None:
        """Encode one made-up row: what is imported and set up at the first use is not counted with the first task."""
        one, row = np.ones(1), np.ones((1, self.model.n_coefficients), np.float32)
        self(SpectraBatch(np.ones(1, np.int64), one, one, one, row, row))

    def __call__(self, batch: SpectraBatch) -> pa.Table:
        """The catalogue's columns for a batch of usable rows (finite coefficients, positive G flux), in its order."""
        self.seconds = {"to_device_s": 0.0, "forward_s": 0.0, "encode_s": 0.0}
        columns = self._empty_columns(len(batch))
        for start in range(0, len(batch), self.micro_batch):
            self._encode_rows(batch, slice(start, min(start + self.micro_batch, len(batch))), columns)
        clock = time.perf_counter()
        table = pa.table(
            {
                "_healpix_29": healpix_29(batch.ra, batch.dec),
                "source_id": batch.source_id,
                "ra": batch.ra,
                "dec": batch.dec,
                "phot_g_mean_flux": batch.phot_g_mean_flux,
                **{name: _arrow(values) for name, values in columns.items()},
            }
        )
        self.seconds["encode_s"] += time.perf_counter() - clock
        return table

    def _empty_columns(self, n: int) -> dict[str, np.ndarray[Any, Any]]:
        n_latents, n_coefficients = self.model.n_latents, self.model.n_coefficients
        latents = [f"latent_{what}_{i}" for what in ("mean", "log_var") for i in range(n_latents)]
        columns: dict[str, np.ndarray[Any, Any]] = {name: np.empty(n, np.float32) for name in latents}
        for name in (*(("reduced_chi2", "nll") if self.has_fit else ()), "kl", "training_density"):
            columns[name] = np.empty(n, np.float32)
        columns["n_coefficients"] = np.full(n, n_coefficients, np.int16)
        columns["flags"] = np.zeros(n, np.int32)
        for name in self.outputs[1:]:
            columns[name] = np.empty((n, n_coefficients), np.float32)
        return columns

    def _encode_rows(self, batch: SpectraBatch, rows: slice, columns: dict[str, np.ndarray[Any, Any]]) -> None:
        clock = time.perf_counter()
        density = self.model.density
        x, x_err = self.model.scaling.standardize(batch, rows)
        on_device = torch.from_numpy(x).to(self.device, non_blocking=True)
        errors = None
        if x_err is not None and (self.has_fit or self.needs_errors):
            errors = torch.from_numpy(x_err).to(self.device, non_blocking=True)
        clock = self._lap("to_device_s", clock)

        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            posterior = self.network.encode(on_device, errors if self.needs_errors else None)
            kl, clamped = posterior.kl().cpu().numpy(), posterior.clamped.cpu().numpy()
            mean, log_var = posterior.mean.cpu().numpy(), posterior.log_var.cpu().numpy()
            if self.has_fit:
                decoded = self.network.decode(posterior.mean)
                on_host = Reconstruction(decoded.mean.cpu(), decoded.scatter.cpu())
        clock = self._lap("forward_s", clock)

        for i in range(self.model.n_latents):
            columns[f"latent_mean_{i}"][rows] = mean[:, i]
            columns[f"latent_log_var_{i}"][rows] = log_var[:, i]
        columns["kl"][rows] = kl
        columns["training_density"][rows] = density.at(x)
        columns["flags"][rows] = np.where(density.outside(x), Flag.OUTSIDE_TRAINING_DOMAIN, 0) | np.where(
            clamped, Flag.LATENT_VARIANCE_CLAMPED, 0
        )
        if self.has_fit:
            data = (
                torch.from_numpy(x),
                torch.full_like(on_host.mean, torch.nan) if x_err is None else torch.from_numpy(x_err),
            )
            self._fit(batch, rows, data, on_host, columns)
        self._lap("encode_s", clock)

    def _fit(
        self,
        batch: SpectraBatch,
        rows: slice,
        data: tuple[torch.Tensor, torch.Tensor],
        decoded: Reconstruction,
        columns: dict[str, np.ndarray[Any, Any]],
    ) -> None:
        errors_ok = errors_usable(batch.take(rows))
        fit = {"nll": decoded.nll(*data).numpy(), "reduced_chi2": decoded.reduced_chi2(*data).numpy()}
        for name, values in fit.items():
            columns[name][rows] = np.where(errors_ok, values, np.nan)
        columns["flags"][rows] |= (
            np.where(errors_ok, 0, Flag.ERRORS_UNUSABLE)
            | np.where(decoded.scatter.amax(1).numpy() > SCATTER_BOUND, Flag.SCATTER_AT_BOUND, 0)
            | np.where(columns["reduced_chi2"][rows] > POOR_FIT, Flag.POOR_FIT, 0)
        ).astype(np.int32)
        flux = batch.phot_g_mean_flux[rows]
        arrays = {
            "reconstruction": self.model.scaling.coefficients(decoded.mean.numpy(), flux).astype(np.float32),
            "scatter": self.model.scaling.widths(decoded.scatter.numpy(), flux).astype(np.float32),
        }
        if self.precision != FULL_PRECISION:
            errors = np.where(
                errors_ok[:, None], 0 if batch.coefficient_errors is None else batch.coefficient_errors[rows], 0
            )
            widths = {"reconstruction": np.hypot(errors, arrays["scatter"]), "scatter": arrays["scatter"]}
            arrays = {name: round_within(arrays[name], widths[name], float(self.precision)) for name in arrays}
        for name in self.outputs[1:]:
            columns[name][rows] = arrays[name]

    def _lap(self, name: str, clock: float) -> float:
        now = time.perf_counter()
        self.seconds[name] += now - clock
        return now


def _arrow(values: np.ndarray[Any, Any]) -> pa.Array:
    """An Arrow array over the same memory; two-dimensional values become fixed-size lists."""
    if values.ndim == 1:
        return pa.array(values)
    element = pa.field("element", pa.float32(), nullable=False)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=pa.list_(element, values.shape[1]))
