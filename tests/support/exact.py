"""The catalogue's numbers in float64, directly from the equations: the reference for inference.

Nothing is folded or rounded here: the model's own network in double precision, applied to the
archive's numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from xpscale.model.checkpoint import TrainedModel
    from xpscale.spectra import SpectraBatch

__all__ = ["column_arrays", "exact_columns", "hostile_rows", "rounded_products"]

BLOCK_ROWS = 8_192


def exact_columns(model: TrainedModel, batch: SpectraBatch) -> dict[str, NDArray[np.float64]]:
    """What the catalogue should hold for these rows, float64.

    Parameters
    ----------
    model
        A model with a scaling.
    batch
        Usable rows, with errors.

    Returns
    -------
    dict
        ``latent_mean`` and ``latent_log_var`` with shape (N, L); ``reconstruction`` and ``scatter``
        with shape (N, C), in the archive's units; ``nll``, ``kl`` and ``reduced_chi2`` with shape
        (N,).
    """
    network = copy.deepcopy(model.network).double().eval()
    m, d = model.scaling.mean, model.scaling.std
    pieces: list[dict[str, NDArray[np.float64]]] = []
    for start in range(0, max(len(batch), 1), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        flux = np.asarray(batch.phot_g_mean_flux[rows], np.float64)[:, None]
        x = (np.asarray(batch.coefficients[rows], np.float64) / flux - m) / d
        sigma = np.asarray(batch.coefficient_errors[rows], np.float64) / flux / d  # type: ignore[index]
        with torch.inference_mode():
            posterior = network.encode(torch.from_numpy(x), torch.from_numpy(sigma))
            decoded = network.decode(posterior.mean)
            kl = posterior.kl().numpy()
        x_hat, s = decoded.mean.numpy(), decoded.scatter.numpy()
        w = sigma**2 + s**2
        z2 = (x - x_hat) ** 2 / w
        pieces.append(
            {
                "latent_mean": posterior.mean.numpy(),
                "latent_log_var": posterior.log_var.numpy(),
                "reconstruction": (x_hat * d + m) * flux,
                "scatter": s * d * flux,
                "nll": (z2 + np.log(w)).sum(1) / 2,
                "reduced_chi2": z2.mean(1),
                "kl": kl,
            }
        )
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}


def hostile_rows(batch: SpectraBatch, n: int, seed: int = 0) -> SpectraBatch:
    """Rows drawn from a batch and made wrong, each in one of five ways; all are still usable.

    One coefficient wrong by up to a factor of 1,000, with any sign; noise of 30 standard deviations
    on all; errors up to 10,000 times too small; up to 10,000 times too large; a G flux wrong by up
    to a factor of 1,000.

    Parameters
    ----------
    batch
        Usable rows, with errors.
    n
        Number of rows to draw.
    seed
        Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    rows = batch.take(rng.integers(0, len(batch), n))
    c = np.asarray(rows.coefficients, np.float64)
    e = np.asarray(rows.coefficient_errors, np.float64)
    flux = rows.phot_g_mean_flux.copy()
    one, noise, small, large, wrong = (np.flatnonzero(np.arange(n) % 5 == k) for k in range(5))
    c[one, rng.integers(0, c.shape[1], len(one))] *= rng.choice(
        [-1, 1], len(one)
    ) * 10 ** rng.uniform(0, 3, len(one))
    c[noise] += 30 * e[noise] * rng.normal(size=(len(noise), c.shape[1]))
    e[small] *= 10 ** rng.uniform(-4, 0, (len(small), 1))
    e[large] *= 10 ** rng.uniform(0, 4, (len(large), 1))
    flux[wrong] *= 10 ** rng.uniform(-3, 3, len(wrong))
    return replace(
        rows,
        coefficients=c.astype(np.float32),
        coefficient_errors=e.astype(np.float32),
        phot_g_mean_flux=flux,
    )


def column_arrays(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The columns of a catalogue's table as `exact_columns` has them, float64; those the table
    lacks are left out.
    """
    names = table.column_names
    found: dict[str, NDArray[np.float64]] = {}
    for name in ("latent_mean", "latent_log_var"):
        parts = [table[part].to_numpy() for part in names if part.startswith(f"{name}_")]
        if parts:
            found[name] = np.column_stack(parts).astype(np.float64)
    for name in ("reconstruction", "scatter"):
        if name in names:
            flat = table[name].combine_chunks().flatten().to_numpy()
            found[name] = flat.reshape(len(table), -1).astype(np.float64)
    for name in ("nll", "kl", "reduced_chi2"):
        if name in names:
            found[name] = table[name].to_numpy().astype(np.float64)
    return found


@contextmanager
def rounded_products(n_bits: int) -> Iterator[None]:
    """Linear layers see inputs and weights of ``n_bits`` bits of mantissa: 10 as in TF32, 7 as in
    bfloat16.

    Sums stay float32, as in the hardware that has these formats.
    """
    exact, exact_addmm, exact_mm = functional.linear, torch.addmm, torch.mm
    drop = 23 - n_bits  # of float32's bits

    def rounded(tensor: Tensor) -> Tensor:
        half = 1 << (drop - 1)
        return ((tensor.contiguous().view(torch.int32) + half) >> drop << drop).view(torch.float32)

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if x.dtype != torch.float32:
            return exact(x, weight, bias)
        return exact(rounded(x), rounded(weight), bias)

    def addmm(bias: Tensor, weight: Tensor, h: Tensor) -> Tensor:
        if h.dtype != torch.float32:
            return exact_addmm(bias, weight, h)
        return exact_addmm(bias, rounded(weight), rounded(h))

    def mm(weight: Tensor, h: Tensor) -> Tensor:
        if h.dtype != torch.float32:
            return exact_mm(weight, h)
        return exact_mm(rounded(weight), rounded(h))

    functional.linear, torch.addmm, torch.mm = linear, addmm, mm  # type: ignore[assignment]
    try:
        yield
    finally:
        functional.linear, torch.addmm, torch.mm = exact, exact_addmm, exact_mm
