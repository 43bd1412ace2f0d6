"""What the HATS metadata of a catalogue say: columns, size, whom to credit, where it is from.

Beyond the keys of HATS, those that begin with ``xpscale_`` name the release, the bands, the model
and the version.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from hats.catalog.dataset.collection_properties import CollectionProperties
from hats.catalog.dataset.extension_properties import ExtensionProperties
from hats.catalog.dataset.table_properties import TableProperties

from xpscale.catalog.derived_tables import DerivedTable
from xpscale.catalog.layout import INDEX, LABELS, MARGIN
from xpscale.catalog.manifest import Manifest, RunIdentity, Snapshot
from xpscale.catalog.margin import MARGIN_ARCSEC
from xpscale.catalog.votable import describe
from xpscale.release import PAPER, Release
from xpscale.sky import INDEX_ORDER, Pixel

__all__ = [
    "LOW_ORDERS",
    "MANIFEST_FIELD",
    "SKYMAP_ORDER",
    "collection_properties",
    "derived_properties",
    "extension_properties",
    "table_properties",
]

SKYMAP_ORDER = 8
"""Order of skymap.fits: 786,432 cells of 0.05 square degrees."""

LOW_ORDERS = (2, 4, 6)
"""Orders of the smaller maps, ``skymap.2.fits`` ..."""

SKY_SQ_DEG = 12 * Pixel(0, 0).area_sq_deg

MANIFEST_FIELD = "xpscale_manifest"

MADE = {
    "all_margins": [MARGIN],
    "default_margin": MARGIN,
    "all_indexes": {"source_id": INDEX},
    "default_index": "source_id",
}


def collection_properties(
    name: str,
    manifest: Manifest,
    snapshot: Snapshot,
    extensions: Iterable[str],
    more: Mapping[str, str],
    *,
    is_complete: bool,
) -> CollectionProperties:
    """``collection.properties``: the main catalogue, its extensions, its margin and its index.

    Parameters
    ----------
    name
        The catalogue's name.
    manifest, snapshot
        The version.
    extensions
        Their names.
    more
        Further entries.
    is_complete
        Whether margin and index are there.
    """
    fields = {
        "name": name,
        "hats_primary_table_url": manifest.identity.products[0],
        "all_extensions": {each: f"{each}.properties" for each in extensions} or None,
        **(MADE if is_complete else {}),
        **_provenance(manifest, snapshot),
        **more,
    }
    return CollectionProperties.model_validate(fields)


def table_properties(
    name: str, product: str, manifest: Manifest, snapshot: Snapshot
) -> TableProperties:
    """``hats.properties`` of a product.

    Parameters
    ----------
    name
        The catalogue's name.
    product
        ``"latents"`` or ``"spectra"``.
    manifest, snapshot
        The version.
    """
    parts, identity = manifest.of(product), manifest.identity
    fields = {
        "catalog_name": f"{name}_{product}",
        "catalog_type": "object",
        "total_rows": manifest.n_out,
        **_columns(product, identity),
        "skymap_order": SKYMAP_ORDER,
        "skymap_alt_orders": list(LOW_ORDERS),
        "hats_max_rows": max((part.n_rows for part in parts), default=0),
        "hats_estsize": sum(part.n_bytes for part in parts) // 1024,
        "moc_sky_fraction": round(sum(part.pixel.area_sq_deg for part in parts) / SKY_SQ_DEG, 6),
        "obs_description": describe(product, identity.gaia_release),
        **_provenance(manifest, snapshot),
    }
    return TableProperties.model_validate(fields)


def derived_properties(
    name: str, manifest: Manifest, snapshot: Snapshot, table: DerivedTable, columns: Sequence[str]
) -> TableProperties:
    """``hats.properties`` of the margin, the index or the labels.

    Parameters
    ----------
    name, manifest, snapshot
        As of `table_properties`.
    table
        The table's record.
    columns
        All of its columns.
    """
    positions = _columns("latents", manifest.identity)
    own: dict[str, dict[str, Any]] = {
        MARGIN: {
            "catalog_type": "margin",
            "primary_catalog": "latents",
            "margin_threshold": MARGIN_ARCSEC,
            **positions,
        },
        INDEX: {
            "catalog_type": "index",
            "primary_catalog": "latents",
            "indexing_column": "source_id",
            "extra_columns": [],
        },
        LABELS: {
            "catalog_type": "object",
            **positions,
            "default_columns": [column for column in columns if column != "_healpix_29"],
            "xpscale_labels": table.source,
        },
    }
    fields = {
        "catalog_name": f"{name}_{table.name}",
        "total_rows": table.n_rows,
        "hats_max_rows": max((file.n_rows for file in table.files), default=0),
        "hats_estsize": table.n_bytes // 1024,
        "obs_description": describe(table.name, manifest.identity.gaia_release),
        **own[table.name],
        **_provenance(manifest, snapshot),
    }
    return TableProperties.model_validate(fields)


def _columns(product: str, identity: RunIdentity) -> dict[str, Any]:
    """Which columns of a product say what."""
    return {
        "ra_column": "ra",
        "dec_column": "dec",
        "default_columns": _default_columns(product, identity),
        "healpix_column": "_healpix_29",
        "healpix_order": INDEX_ORDER,
    }


def _default_columns(product: str, identity: RunIdentity) -> list[str]:
    """What a reader loads who names no columns: not the log variances and terms of the fit."""
    names = [column.name for column in identity.columns(product)]
    hidden = (
        "_healpix_29",
        "latent_log_var",
        "latent_correlation",
        "nll",
        "kl",
        "n_coefficients",
        "training_density",
    )
    return [name for name in names if not name.startswith(hidden)]


def _provenance(manifest: Manifest, snapshot: Snapshot) -> dict[str, Any]:
    identity = manifest.identity
    return {
        "hats_version": "v1.0",
        "hats_release_date": "2025-08-22",  # of that version of HATS
        "hats_builder": f"{identity.software}, hats v{version('hats')}",
        "hats_creation_date": snapshot.created,
        "hats_creator": "xpscale",
        **_credits(identity.gaia_release),
        "xpscale_release": identity.release,
        "xpscale_n_bp": identity.n_bp,
        "xpscale_n_rp": identity.n_rp,
        "xpscale_model_id": identity.model_id,
        "xpscale_input_digest": identity.input_digest,
        "xpscale_schema_version": identity.schema_version,
        "xpscale_outputs": " ".join(identity.outputs),
        "xpscale_precision": identity.precision,
        "xpscale_positions": "source_id pixel" if identity.pixel_positions else "ra dec",
        "xpscale_snapshot": snapshot.number,
        MANIFEST_FIELD: manifest.digest,
    }


def _credits(release: Release) -> dict[str, str]:
    """Whom and what to name where the catalogue is used."""
    credits = {
        "obs_ack": release.credit,
        "obs_copyright": f"Derived from {release}; credit ESA/Gaia/DPAC",
        "obs_copyright_url": "https://www.cosmos.esa.int/web/gaia-users/license",
        "bib_reference": "; ".join((PAPER, *release.citation)),
        "bib_reference_url": "https://doi.org/10.3847/1538-4357/ad9607",
        "prov_progenitor": f"{release} {release.archive.spectra_folder}",
    }
    if release.reference_epoch is not None:
        credits["hats_coordinate_epoch"] = f"J{release.reference_epoch}"
    return credits


def extension_properties(
    name: str, product: str, columns: Iterable[str], identity: RunIdentity
) -> ExtensionProperties:
    """``spectra.properties``: how an extension joins the main catalogue.

    Parameters
    ----------
    name
        The catalogue's name.
    product
        The extension.
    columns
        Its columns.
    identity
        What the catalogue is made of.
    """
    shared = {column.name for column in identity.columns("latents")}
    fields = {
        "name": product,
        "primary_catalog": name,
        "primary_column": "source_id",
        "join_catalog": product,
        "join_column": "source_id",
        "extension_columns": [column for column in columns if column not in shared],
        "extension_join_style": "inner",
        "shares_primary_coordinates": True,
        "extension_product_type": "spectrum" if product in identity.products else "catalog",
    }
    return ExtensionProperties.model_validate(fields)
