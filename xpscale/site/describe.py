"""What the page reads first: the catalogue, its columns, its flags, and which files there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xpscale.errors import XpscaleError
from xpscale.flags import Flag
from xpscale.site.label_rows import describe_labels, label_columns
from xpscale.site.row_batches import is_flags
from xpscale.site.tiles import pack

if TYPE_CHECKING:
    from xpscale.query.catalog import Catalog
    from xpscale.site.bins import Axis
    from xpscale.storage import Storage

__all__ = ["describe", "export_calibration"]


def describe(
    catalog: Catalog,
    names: Sequence[str],
    axes: Sequence[Axis],
    maps: Mapping[str, Any],
    n_sample: int,
    calibrated: bool,
) -> dict[str, Any]:
    """The content of ``site.json``, without its addresses.

    Parameters
    ----------
    catalog
        The catalogue.
    names
        Columns that maps can be coloured by.
    axes
        Of the latent maps.
    maps
        The levels and blocks of each map, by its key.
    n_sample
        Sources in the sample.
    calibrated
        Whether spectra can be drawn against wavelength.
    """
    columns = (*catalog.identity.columns("latents"), *label_columns(catalog))
    return {
        "title": f"{catalog.release.name} XP spectra",
        "name": catalog.storage.name,
        "release": catalog.release.name,
        "created": catalog.snapshot.created,
        "n_rows": catalog.n_rows,
        "n_sample": n_sample,
        "bands": catalog.bands.to_dict(),
        "n_latents": catalog.identity.n_latents,
        "products": list(catalog.identity.products),
        "tables": list(catalog.tables),
        "labels": describe_labels(catalog),
        "outputs": list(catalog.identity.outputs),
        "columns": [
            {"name": c.name, "unit": c.unit, "description": c.description} for c in columns
        ],
        "drawn": list(names),
        "shares": [name for name in names if is_flags(catalog, name)],
        "axes": [{"name": axis.name, "low": axis.low, "high": axis.high} for axis in axes],
        "maps": dict(maps),
        "flags": {flag.value: flag.words for flag in Flag},
        "calibrated": calibrated,
        **catalog.provenance(""),
    }


def export_calibration(catalog: Catalog, place: Storage, say: Callable[[str], None]) -> bool:
    """Write the matrix from coefficients to flux, if there is one for this catalogue.

    Without it the page shows coefficients.

    Parameters
    ----------
    catalog
        The catalogue.
    place
        The data of the site.
    say
        Told why there is none.

    Returns
    -------
    bool
        Whether it was written: the grid in nm, then a row a coefficient.
    """
    from xpscale.query.wavelength import calibration

    if "spectra" not in catalog.identity.products:
        return False
    try:
        known = calibration()
        known.require(catalog.bands, catalog.release)
    except XpscaleError as error:
        say(f"spectra are shown as coefficients: {error.message}")
        return False
    place.replace("calibration.bin", pack(_in_exa(known)))
    return True


def _in_exa(known: Any) -> Any:
    """In 1e-18 W m-2 nm-1, which single precision holds."""
    return np.vstack([known.wavelength_nm, known.matrix * 1e18])
