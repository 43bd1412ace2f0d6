"""A trained scatter VAE at work: spectra in, the catalogue's columns out.

For each micro-batch::

    x     = (c / G - m) / d             standardized in float64, rounded once
    z     = E[q(z | x)]                 latent_mean: the posterior mean, no sampling
    x^, s = decoder(z)                  reconstruction and intrinsic scatter, standardized
    c^    = (x^ d + m) G                in the archive's units
    s_c   = s d G

The network runs on the device in float32 with exact GELU (TF32 and bfloat16 were measured and move
latents by whole posterior standard deviations); all else on the host in float64, rounded once
(`xpscale.model.kernels`).

The same rows give the same bytes whichever process encodes them: one torch thread, micro-batches
cut at fixed rows.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from xpscale.errors import TryAgainError
from xpscale.flags import Flag
from xpscale.inference.computed import (
    arrow,
    empty_columns,
    round_within,
    rounded_correlations,
    seen_counts,
)
from xpscale.inference.device import InFlight, Lane, Lanes, OnDevice
from xpscale.magnitudes import magnitudes
from xpscale.model.checkpoint import TrainedModel
from xpscale.model.devices import pick_device
from xpscale.model.folding import fold
from xpscale.model.kernels import fit_rows, unscale_rows
from xpscale.model.typicality import in_distribution_score, outside
from xpscale.schema import FULL_PRECISION, spectra_outputs
from xpscale.sky import healpix_29
from xpscale.spectra import SpectraBatch
from xpscale.types import Stopwatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xpscale.model.scatter_vae import NetworkModule

__all__ = ["ScatterVAEEncoder"]

# rows through the network together; measured in design/006
CPU_MICRO_BATCH = 4_096  # fewer cost the interpreter more, more leave the cache
GPU_MICRO_BATCH = 65_536  # a block, so that launching kernels costs the host nothing
LEAST_MICRO_BATCH = 256
CPU_BYTES, GPU_BYTES = 256 << 20, 8 << 30  # of a micro-batch while it is encoded

POOR_FIT = 10.0  # reduced chi squared above which Flag.POOR_FIT is set
SCATTER_BOUND = 0.99  # of the network's ceiling, if it has one

log = logging.getLogger("xpscale")


def _rows_at_once(network: NetworkModule, device: torch.device) -> int:
    """Rows of a micro-batch: a power of two, fewer for a network that needs much memory a row."""
    on_cpu = device.type == "cpu"
    most, room = (CPU_MICRO_BATCH, CPU_BYTES) if on_cpu else (GPU_MICRO_BATCH, GPU_BYTES)
    if not network.encoding_bytes:
        return most
    fitting = max(room // network.encoding_bytes, LEAST_MICRO_BATCH)
    return min(most, 1 << (fitting.bit_length() - 1))


class ScatterVAEEncoder:
    """Encodes batches with one model on one device.  Threads may share it.

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
        self,
        model: TrainedModel,
        outputs: tuple[str, ...],
        device: str = "auto",
        precision: str = FULL_PRECISION,
    ) -> None:
        self.model = model
        self.outputs = outputs
        self.precision = precision
        self.spectra_outputs = spectra_outputs(outputs)
        self.has_fit = bool(self.spectra_outputs)
        self.needs_errors = model.network.needs_errors
        self.device = pick_device(device)
        self.scatter_bound = SCATTER_BOUND * model.network.scatter_ceiling
        self.micro_batch = _rows_at_once(model.network, self.device)
        network = fold(model.network, device=self.device)
        on_device = OnDevice(network, self.device, self.has_fit, "correlations" in outputs)
        self.lanes = Lanes(on_device)
        # no TF32, whatever was set before (design/007)
        torch.set_float32_matmul_precision("highest")
        self._warm_up()

    @property
    def device_name(self) -> str:
        """Where it computes: ``cpu``, or ``cuda:0 NVIDIA H200``."""
        if self.device.type != "cuda":
            return str(self.device)
        return f"{self.device} {torch.cuda.get_device_name(self.device)}"

    def _warm_up(self) -> None:
        """Encode one made-up row: what is imported and set up at the first use is not counted with
        the first task.
        """
        one, row = np.ones(1), np.ones((1, self.model.n_coefficients), np.float32)
        self(SpectraBatch(np.ones(1, np.int64), one, one, one, row, row, self.model.bands))

    def __call__(self, batch: SpectraBatch, watch: Stopwatch | None = None) -> pa.Table:
        """The catalogue's columns for a batch of usable rows (`xpscale.row_rules`), in its order.

        Parameters
        ----------
        batch
            The rows.
        watch
            Is told ``to_device_s``, ``forward_s`` and ``encode_s``.

        Raises
        ------
        TryAgainError
            The device has no memory left even for a few rows.
        """
        if self.device.type == "cpu":
            torch.set_num_threads(1)  # of the thread that calls: with more the sums round otherwise
        watch = watch or Stopwatch()
        columns = empty_columns(self.model, self.outputs, len(batch))
        with self.lanes.take() as lane:
            for rows, x, x_err, flight in self._micro_batches(batch, lane, watch):
                with watch("forward_s"):
                    results = flight.result()
                with watch("encode_s"):
                    self._latents(rows, (x, x_err), results, columns)
                    if self.has_fit:
                        decoded = results["mean"], results["scatter"]
                        self._fit(batch.take(rows), rows, (x, x_err), decoded, columns)
                        means = results["latents"][: self.model.n_latents].T
                        columns["in_distribution_score"][rows] = in_distribution_score(
                            self.model.density, self.model.typicality, (x, x_err), means, decoded
                        )
        with watch("encode_s"):
            if "magnitudes" in self.outputs:
                columns |= magnitudes(batch.phot_g_mean_flux, batch.coefficients)
            return pa.table(
                {
                    "_healpix_29": healpix_29(batch.ra, batch.dec),
                    "source_id": batch.source_id,
                    "ra": batch.ra,
                    "dec": batch.dec,
                    "phot_g_mean_flux": batch.phot_g_mean_flux,
                    **{name: arrow(values) for name, values in columns.items()},
                    **batch.companions,
                }
            )

    def _micro_batches(
        self, batch: SpectraBatch, lane: Lane, watch: Stopwatch
    ) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32] | None, InFlight]]:
        """Rows, what they are standardized, and their results on the way: as many at once as the
        lane is deep.
        """
        on_the_way: deque[
            tuple[slice, NDArray[np.float32], NDArray[np.float32] | None, InFlight]
        ] = deque()
        start = 0
        while start < len(batch):
            rows = slice(start, min(start + self.micro_batch, len(batch)))
            with watch("to_device_s"):
                x, x_err = self.model.scaling.standardize(batch, rows)
            try:
                with watch("forward_s"):
                    flight = lane.submit(x, x_err if self.needs_errors else None)
            except torch.OutOfMemoryError as error:
                self._halve(rows, error)
                continue
            on_the_way.append((rows, x, x_err, flight))
            start = rows.stop
            if len(on_the_way) > lane.depth:
                yield on_the_way.popleft()
        yield from on_the_way

    def _halve(self, rows: slice, error: torch.OutOfMemoryError) -> None:
        """Fewer rows at once from now on, in this process."""
        n_rows = rows.stop - rows.start
        if n_rows <= LEAST_MICRO_BATCH:
            raise TryAgainError(
                f"{self.device} has no memory left, not even for {n_rows} rows at once"
                f" ({str(error).splitlines()[0]})",
                "Others use it: wait for them, or take another device",
            ) from error
        self.micro_batch = n_rows // 2
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # what is on its way holds memory, too
            torch.cuda.empty_cache()
        words = "%s is out of memory with %d rows at once: now %d"
        log.warning(words, self.device, n_rows, self.micro_batch)

    def _latents(
        self,
        rows: slice,
        data: tuple[NDArray[np.float32], NDArray[np.float32] | None],
        results: dict[str, NDArray[np.float32]],
        columns: dict[str, NDArray[Any]],
    ) -> None:
        *latents, clamped = results["latents"]
        # means, log variances, kl, correlations: the first
        for column, values in zip(
            columns.values(), [*latents, *rounded_correlations(results)], strict=False
        ):
            column[rows] = values
        columns["training_density"][rows] = self.model.density.at(data[0])
        n_seen, n_all = seen_counts(*data, needs_errors=self.needs_errors), data[0].shape[1]
        columns["n_coefficients"][rows] = n_seen
        means = results["latents"][: self.model.n_latents].T
        is_outside = outside(self.model.density, self.model.typicality, data, means)
        columns["flags"][rows] |= (
            np.where(is_outside, Flag.OUTSIDE_TRAINING_DOMAIN, 0)
            | np.where(clamped > 0, Flag.LATENT_VARIANCE_CLAMPED, 0)
            | np.where(n_seen < n_all, Flag.PARTLY_SEEN, 0)
            | np.where(self.needs_errors & (n_seen == 0), Flag.ERRORS_UNUSABLE, 0)
        ).astype(np.int32)

    def _fit(
        self,
        batch: SpectraBatch,
        rows: slice,
        data: tuple[NDArray[np.float32], NDArray[np.float32] | None],
        decoded: tuple[NDArray[np.float32], NDArray[np.float32]],
        columns: dict[str, NDArray[Any]],
    ) -> None:
        """The columns that a decoder is needed for, of one micro-batch."""
        x, x_err = data
        n_seen, at_bound = np.empty(len(x), np.int16), np.empty(len(x), bool)
        chi2 = columns["reduced_chi2"][rows]
        errors = np.full_like(x, np.nan) if x_err is None else x_err
        fit_rows(
            x,
            errors,
            *decoded,
            columns["nll"][rows],
            chi2,
            n_seen,
            np.float32(self.scatter_bound),
            at_bound,
        )
        columns["flags"][rows] |= (
            np.where(n_seen == 0, Flag.ERRORS_UNUSABLE, 0)
            | np.where(at_bound, Flag.SCATTER_AT_BOUND, 0)
            | np.where(chi2 > POOR_FIT, Flag.POOR_FIT, 0)
        ).astype(np.int32)
        arrays = {
            name: columns[name][rows] if name in columns else np.empty_like(x)
            for name in ("reconstruction", "scatter")
        }
        scaling = self.model.scaling
        unscale_rows(*decoded, batch.phot_g_mean_flux, scaling.mean, scaling.std, *arrays.values())
        if self.precision != FULL_PRECISION:
            known = batch.coefficient_errors
            if known is None:
                known = np.zeros_like(x)
            usable = np.isfinite(errors) & (errors > 0)
            self._round(arrays, np.where(usable, known, np.float32(0)), rows, columns)

    def _round(
        self,
        arrays: dict[str, NDArray[np.float32]],
        errors: NDArray[np.float32],
        rows: slice,
        columns: dict[str, NDArray[Any]],
    ) -> None:
        """Round what is written to a fraction of the total error."""
        widths = {
            "reconstruction": np.hypot(errors, arrays["scatter"]),
            "scatter": arrays["scatter"],
        }
        for name in self.spectra_outputs:
            columns[name][rows] = round_within(arrays[name], widths[name], float(self.precision))
