"""VOParquet: units, UCDs and descriptions inside every Parquet file, as a VOTable without data.

VOParquet 1.0 (IVOA Note, https://www.ivoa.net/documents/Notes/VOParquet/) puts a data-less VOTable
document under two keys of a Parquet file's metadata; TOPCAT and ``astropy.table.Table.read(file,
format="parquet.votable")`` read it. hats' own writer refuses list columns, and astropy takes a
second to import in every worker, so the few lines of XML are made here.
"""

from __future__ import annotations

from functools import cache
from xml.etree import ElementTree as ET

import pyarrow as pa

from xpscale.catalog.layout import INDEX, LABELS, MARGIN
from xpscale.catalog.manifest import Manifest
from xpscale.errors import InvalidInputError
from xpscale.release import Release
from xpscale.schema import SCHEMA_VERSION, Column, TableLayout
from xpscale.storage import Storage

__all__ = [
    "CONTENT_KEY",
    "VERSION_KEY",
    "columns_schema",
    "conform",
    "describe",
    "product_schema",
    "stored_schema",
    "votable",
]

VERSION_KEY = b"IVOA.VOTable-Parquet.version"
CONTENT_KEY = b"IVOA.VOTable-Parquet.content"

DATATYPES = {
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "char",
}


DESCRIPTIONS = {
    "latents": "Latents of {release} XP spectra under a scatter variational autoencoder",
    "spectra": (
        "Reconstructed {release} XP spectra and their intrinsic scatter, as basis coefficients"
    ),
    MARGIN: (
        "Margin of the latents of {release} XP spectra: by partition, the sources of others within"
        " 10 arcsec of it"
    ),
    LABELS: "Labels of stars, read off the latents of their {release} XP spectra",
    INDEX: "Which partition of the latents of {release} XP spectra holds a source_id",
}


def describe(product: str, release: Release) -> str:
    """What a product is, in one line.

    Parameters
    ----------
    product
        ``"latents"``, ``"spectra"``, or a table made of them.
    release
        The data release of its sources.
    """
    return DESCRIPTIONS[product].format(release=release)


@cache
def product_schema(product: str, layout: TableLayout) -> pa.Schema:
    """The Arrow schema of a product's files, with the VOParquet keys as its metadata.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``.
    layout
        What determines its columns.
    """
    return columns_schema(product, layout.columns(product), layout.release)


@cache
def columns_schema(name: str, columns: tuple[Column, ...], release: Release) -> pa.Schema:
    """The Arrow schema of columns, with the VOParquet keys as its metadata.

    Parameters
    ----------
    name, columns, release
        As of `votable`.
    """
    content = votable(name, columns, release)
    return pa.schema(
        [column.field for column in columns], {VERSION_KEY: b"1.0", CONTENT_KEY: content}
    )


def conform(table: pa.Table, target: pa.Schema) -> pa.Table:
    """The table's columns of ``target``, in its order and types.

    Parameters
    ----------
    table
        The columns of ``target``, and perhaps others.
    target
        From `product_schema`.

    Raises
    ------
    InvalidInputError
        A column is missing or has nulls.
    """
    missing = [name for name in target.names if name not in table.column_names]
    if missing:
        raise InvalidInputError(f"the table lacks the columns {', '.join(missing)}")
    for field in target:
        if table[field.name].null_count:
            raise InvalidInputError(
                f"column {field.name} has {table[field.name].null_count} nulls, and may have none"
            )
    return table.select(target.names).cast(target)


def stored_schema(storage: Storage, manifest: Manifest, product: str) -> pa.Schema:
    """The Arrow schema of a product's files in a catalogue: what another version of xpscale wrote
    says itself what it holds.

    Parameters
    ----------
    storage, manifest
        The catalogue's version.
    product
        ``"latents"`` or ``"spectra"``.
    """
    parts, identity = manifest.of(product), manifest.identity
    if identity.schema_version == SCHEMA_VERSION or not parts:
        return product_schema(product, identity.layout)
    import pyarrow.parquet as pq  # slow to import, and seldom needed

    with storage.open(parts[0].key) as data:
        return pq.read_schema(data)


def votable(product: str, columns: tuple[Column, ...], release: Release) -> bytes:
    """A VOTable 1.4 document (the first whose units are VOUnits) of columns, without rows.

    Parameters
    ----------
    product
        ``"latents"`` or ``"spectra"``, the name of the table.
    columns
        Its columns.
    release
        The data release of its sources, which has the epoch of their positions.
    """
    root = ET.Element("VOTABLE", version="1.4", xmlns="http://www.ivoa.net/xml/VOTable/v1.3")
    resource = ET.SubElement(root, "RESOURCE", type="results")
    frame = ET.SubElement(resource, "COOSYS", ID="icrs", system="ICRS")
    if release.reference_epoch is not None:
        frame.set("epoch", f"J{release.reference_epoch}")
    table = ET.SubElement(resource, "TABLE", name=product)
    ET.SubElement(table, "DESCRIPTION").text = describe(product, release)
    for column in columns:
        field = ET.SubElement(table, "FIELD", _attributes(column))
        ET.SubElement(field, "DESCRIPTION").text = column.description
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _attributes(column: Column) -> dict[str, str]:
    is_array = pa.types.is_fixed_size_list(column.type)
    attributes = {
        "name": column.name,
        "datatype": DATATYPES[column.type.value_type if is_array else column.type],
        "ucd": column.ucd,
    }
    if is_array:
        attributes["arraysize"] = str(column.type.list_size)
    elif column.type == pa.string():
        attributes["arraysize"] = "*"
    if column.unit:
        attributes["unit"] = column.unit
    if column.name in ("ra", "dec"):
        attributes["ref"] = "icrs"
    return attributes
