"""VOParquet: units, UCDs and descriptions inside every Parquet file, as a VOTable without data.

VOParquet 1.0 (IVOA Note, https://www.ivoa.net/documents/Notes/VOParquet/) puts a data-less VOTable
document under two keys of a Parquet file's metadata; TOPCAT and ``astropy.table.Table.read(file,
format="parquet.votable")`` read it. hats' own writer refuses list columns, and astropy takes a
second to import in every worker, so the few lines of XML are made here.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pyarrow as pa

from xpscale import schema as columns_of

if TYPE_CHECKING:
    from xpscale.schema import Column

__all__ = ["CONTENT_KEY", "VERSION_KEY", "product_schema", "votable"]

VERSION_KEY = b"IVOA.VOTable-Parquet.version"
CONTENT_KEY = b"IVOA.VOTable-Parquet.content"

DATATYPES = {
    pa.int16(): "short",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
}

DESCRIPTIONS = {
    "latents": "Latents of Gaia DR3 XP spectra under a scatter variational autoencoder",
    "spectra": (
        "Reconstructed Gaia DR3 XP spectra and their intrinsic scatter, as basis coefficients"
    ),
}


@cache
def product_schema(
    product: str,
    n_latents: int,
    n_coefficients: int,
    outputs: tuple[str, ...] = columns_of.OUTPUTS,
    precision: str = columns_of.FULL_PRECISION,
) -> pa.Schema:
    """The Arrow schema of a product's files, with the VOParquet keys as its metadata; see
    `xpscale.schema.columns`.
    """
    columns = columns_of.columns(product, n_latents, n_coefficients, outputs, precision)
    content = votable(product, columns)
    return pa.schema(
        [column.field for column in columns], {VERSION_KEY: b"1.0", CONTENT_KEY: content}
    )


def votable(product: str, columns: tuple[Column, ...]) -> bytes:
    """A VOTable 1.4 document (the first whose units are VOUnits) that describes the columns and
    holds no rows.
    """
    root = ET.Element("VOTABLE", version="1.4", xmlns="http://www.ivoa.net/xml/VOTable/v1.3")
    resource = ET.SubElement(root, "RESOURCE", type="results")
    ET.SubElement(resource, "COOSYS", ID="icrs", system="ICRS", epoch="J2016.0")
    table = ET.SubElement(resource, "TABLE", name=product)
    ET.SubElement(table, "DESCRIPTION").text = DESCRIPTIONS[product]
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
    if column.unit:
        attributes["unit"] = column.unit
    if column.name in ("ra", "dec"):
        attributes["ref"] = "icrs"
    return attributes
