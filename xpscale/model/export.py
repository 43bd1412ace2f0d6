"""A model as one file that torch runs without xpscale: a graph of tensor operations, by
``torch.export``.

The file holds the scaling, the network and the weights, and takes batches of any size.  Anywhere
with torch::

    program = torch.export.load("model.pt2").module()
    latent_mean, latent_log_var, reconstruction, scatter = program(
        coefficients, coefficient_errors, phot_g_mean_flux
    )

Before it is written it is read back and compared with the eager model, on spectra bright and faint,
near and far from the training sample, with missing coefficients where the network knows what to
make of them.  ``torch.export.load(..., extra_files={"model_id": "", "bands": "", "release": ""})``
says what it is of.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xpscale.errors import PermanentError
from xpscale.model.portable import PortableModel

if TYPE_CHECKING:
    from xpscale.model.checkpoint import TrainedModel

__all__ = ["MAX_DIFFERENCE", "OUTPUTS", "export_program"]

OUTPUTS = ("latent_mean", "latent_log_var", "reconstruction", "scatter")

MAX_DIFFERENCE = 3e-5
"""Largest difference from the eager model that is let pass: of latents absolute or relative, of
spectra in standard deviations of the training sample.  The operations are the same; their order
inside fused ones differs, and with errors of a thousandth of the spread the rounding of float32
moves a latent by 1e-5."""

BATCHES = (1, 7, 2_048)
"""Rows of the batches that are compared."""


def export_program(model: TrainedModel) -> tuple[bytes, float]:
    """The exported program, and its largest difference from the eager model.

    Parameters
    ----------
    model
        A model with a scaling.

    Raises
    ------
    InvalidInputError
        If the model has no scaling.
    PermanentError
        If the program does not compute what the model computes.
    """
    model.require_scaling()
    portable = PortableModel(
        model.network, *(torch.tensor(values) for values in (model.scaling.mean, model.scaling.std))
    )
    rows = torch.export.Dim("rows", min=1)
    shapes = {
        "coefficients": {0: rows},
        "coefficient_errors": {0: rows},
        "phot_g_mean_flux": {0: rows},
    }
    with torch.no_grad():
        program = torch.export.export(
            portable, _spectra(portable, 5, 0), dynamic_shapes=shapes, strict=False
        )
    buffer = io.BytesIO()
    about = {"model_id": model.model_id, "bands": str(model.bands), "release": str(model.release)}
    torch.export.save(program, buffer, extra_files=about)
    found = torch.export.load(io.BytesIO(buffer.getvalue())).module()
    largest = 0.0
    for seed, n_rows in enumerate(BATCHES):
        inputs = _spectra(portable, n_rows, seed)
        flux = inputs[2][:, None] * portable.scaling_std
        units = (torch.ones(()), torch.ones(()), flux, flux)
        for name, got, wanted, unit in zip(
            OUTPUTS, found(*inputs), portable(*inputs), units, strict=True
        ):
            difference = _difference(got, wanted, unit)
            largest = max(largest, difference)
            if not difference <= MAX_DIFFERENCE:
                raise PermanentError(
                    f"the exported program's {name} differs from the model's by {difference:.2g} in"
                    f" a batch of {n_rows:,}",
                    "Export with another version of torch",
                )
    return buffer.getvalue(), largest


def _difference(got: Tensor, wanted: Tensor, unit: Tensor) -> float:
    """Largest difference in units, relative where values are larger than one; NaN must be where NaN
    is.
    """
    got, wanted = got.double() / unit, wanted.double() / unit
    if not torch.equal(got.isnan(), wanted.isnan()):
        return float("nan")
    return float(((got - wanted).abs() / wanted.abs().clamp(min=1)).nan_to_num(0).max())


def _spectra(model: PortableModel, n_rows: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Spectra to compare on, in the archive's units: as the model expects them, with noise; one
    without BP where the network allows it.
    """
    generator = torch.Generator().manual_seed(seed)
    # half of the prior's width: beyond, a decoder says what it likes, and rounding grows with it
    z = torch.randn(n_rows, model.network.architecture.n_latents, generator=generator) / 2
    with torch.no_grad():
        expected = model.network.decode(z)
    # as errors are: a thousandth of the spread in order 0, all of it in high ones; bright to faint
    orders = torch.cat([torch.arange(n) for n in (model.bands.n_bp, model.bands.n_rp)])
    brightness = torch.empty(n_rows, 1).uniform_(-0.3, 0.7, generator=generator)
    errors = 10 ** (brightness - 3 * (-orders / 3).exp())
    noise = torch.empty_like(errors).normal_(generator=generator)
    x = (expected.mean + errors * noise).double()
    flux = 10 ** (2 + 5 * torch.rand(n_rows, generator=generator, dtype=torch.float64))
    coefficients = ((x * model.scaling_std + model.scaling_mean) * flux[:, None]).float()
    coefficient_errors = (errors.double() * model.scaling_std * flux[:, None]).float()
    if model.network.needs_errors and n_rows > 1:
        coefficients[1, model.bands.bp] = torch.nan
    return coefficients, coefficient_errors, flux
