"""For people: ``README.md``, ``index.html`` and ``skymap.png`` of a catalogue, which need no other
file and nothing from elsewhere.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from xpscale.catalog.layout import INDEX, LABELS, MARGIN, PAGE, PICTURE, README
from xpscale.catalog.sky_picture import sky_picture
from xpscale.catalog.votable import describe
from xpscale.flags import Flag
from xpscale.formatting import format_bytes
from xpscale.release import PAPER
from xpscale.schema import Column, spectra_outputs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from jinja2 import Template
    from numpy.typing import NDArray

    from xpscale.catalog.derived_tables import DerivedTable
    from xpscale.catalog.manifest import Manifest, Snapshot
    from xpscale.release import Release

__all__ = ["write_pages"]

DOI = re.compile(r"doi:(\S+)")


@dataclass(frozen=True, slots=True)
class _Row:
    """A column of the catalogue, or some that differ in a number only, as a page shows it."""

    name: str
    type: str
    unit: str
    range: str
    description: str


def write_pages(
    root: Path,
    name: str,
    manifest: Manifest,
    snapshot: Snapshot,
    counts: NDArray[np.int64],
    ranges: Mapping[str, tuple[Any, Any]] | None,
    labels: DerivedTable | None = None,
) -> None:
    """Write the three files.

    Parameters
    ----------
    root
        Where to: a local folder.
    name
        The catalogue's name.
    manifest, snapshot
        The version.
    counts
        Sources per HEALPix cell of one order, NESTED, with shape (12 * 4**k,).
    ranges
        Least and largest value by column; ``None`` while margin, index and statistics are not made.
    labels
        The record of the labels, if they are published: their files for HATS are in ``root``.
    """
    picture = sky_picture(counts)
    facts = {
        **_facts(name, manifest, snapshot, ranges),
        "labels": [_of_labels(root, labels, manifest.identity.gaia_release)] if labels else [],
        "picture": base64.b64encode(picture).decode(),
    }
    (root / PICTURE).write_bytes(picture)
    (root / PAGE).write_text(_rendered("index.html", facts), encoding="utf-8")
    (root / README).write_text(_rendered("README.md", facts), encoding="utf-8")


def _rendered(name: str, facts: Mapping[str, Any]) -> str:
    return _template(name).render(facts) + "\n"


@lru_cache(maxsize=2)
def _template(name: str) -> Template:
    from jinja2 import Environment, StrictUndefined

    is_html = name.endswith(".html")
    environment = Environment(
        autoescape=is_html, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (files("xpscale.catalog") / "pages" / f"{name}.jinja").read_text(encoding="utf-8")
    return environment.from_string(text)


def _facts(
    name: str,
    manifest: Manifest,
    snapshot: Snapshot,
    ranges: Mapping[str, tuple[Any, Any]] | None,
) -> dict[str, Any]:
    identity = manifest.identity
    release, primary = identity.gaia_release, manifest.of("latents")
    return {
        "name": name,
        "release": release.name,
        "manifest": manifest,
        "snapshot": snapshot,
        "identity": identity,
        "is_complete": ranges is not None,
        "example_id": (ranges or {}).get("source_id", ("",))[0],
        "margin": MARGIN,
        "index": INDEX,
        "n_partitions": len(primary),
        "area_sq_deg": sum(part.pixel.area_sq_deg for part in primary),
        "position": release.position_text(identity.pixel_positions),
        "products": [
            {
                "name": product,
                "size": format_bytes(sum(part.n_bytes for part in manifest.of(product))),
                "description": describe(product, release),
                "columns": _rows(identity.columns(product), ranges or {}),
            }
            for product in identity.products
        ],
        "flags": list(Flag),
        "cuts": _cuts(has_fit=bool(spectra_outputs(identity.outputs))),
        "credit": release.credit,
        "citations": [_linked(citation) for citation in (PAPER, *release.citation)],
        "first": min(primary, key=lambda part: part.n_bytes).key if primary else "",
    }


def _of_labels(root: Path, labels: DerivedTable, release: Release) -> dict[str, Any]:
    schema = pq.read_schema(root / LABELS / "dataset/_common_metadata")
    return {
        "name": LABELS,
        "size": format_bytes(labels.n_bytes),
        "description": describe(LABELS, release),
        "columns": _rows(tuple(map(Column.of_field, schema)), {}),
    }


def _linked(citation: str) -> dict[str, str]:
    """A citation and the address of its DOI, empty if it has none."""
    found = DOI.search(citation)
    return {"text": citation, "url": f"https://doi.org/{found[1]}" if found else ""}


def _cuts(*, has_fit: bool) -> list[tuple[str, str]]:
    """Conditions in SQL that we recommend, and what they keep."""
    least = int(Flag.ERRORS_UNUSABLE | Flag.OUTSIDE_TRAINING_DOMAIN)
    fit = [("in_distribution_score > 0.01", "spectra such as the model was trained on")]
    return [
        ("flags = 0", "nothing to remark: the safe choice"),
        (f"flags & {least} = 0", "the least: usable errors, and no extrapolation"),
        *(fit if has_fit else []),
        (f"flags & {int(Flag.PARTLY_SEEN)} = 0", "spectra of which every coefficient was used"),
    ]


def _rows(columns: tuple[Column, ...], ranges: Mapping[str, tuple[Any, Any]]) -> list[_Row]:
    return [
        _Row(
            column.name,
            str(column.type).replace("fixed_size_list<element: float not null>", "float"),
            column.unit,
            _range(*ranges.get(column.name, (None, None))),
            column.description,
        )
        for column in columns
    ]


def _range(least: Any, largest: Any) -> str:
    """``0.016 to 359.98``; empty if there is none."""
    if least is None or isinstance(least, list):
        return ""
    form = "d" if isinstance(least, int) else ".6g"
    return f"{least:{form}} to {largest:{form}}"
