"""``xpscale site``: the page and its data, in a place of their own.

::

    OUT/
        index.html  page.js  page.css  licenses.txt
        claim.json                 whose site it is; written first
        site.json                  what the page reads first; written last
        data/<version>/            bins, sample, calibration of one version of the catalogue
            sky/6/0/count.bin      order, file, column
            map/0-1/8/0/kl.bin     the same of two axes
            parts.bin  sample.bin  calibration.bin

A build for a newer snapshot writes a folder of its own; readers see it when ``site.json`` is
replaced, and the older folder goes after that.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.json_files import parse_json
from xpscale.query.catalog import Catalog, open_catalog
from xpscale.query.named_columns import columns_called
from xpscale.site.data_url import data_url
from xpscale.site.describe import describe, export_calibration
from xpscale.site.first_look import first_look
from xpscale.site.maps import fill_maps, maps_of
from xpscale.site.row_batches import drawn_columns
from xpscale.site.tiles import pack
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.storage.identity import claim

__all__ = ["make_site"]

CLAIM, SITE, DATA = "claim.json", "site.json", "data"
FORMAT = 3
"""Of the files below ``data/``; a new one makes them anew."""

N_AXES = 6
ALLOWED_BYTES = 512 << 20


def make_site(
    catalog: str | Storage | Catalog,
    out: str | Storage,
    *,
    address: str | None = None,
    columns: tuple[str, ...] = (),
    allowed_bytes: int = ALLOWED_BYTES,
    say: Callable[[str], None] = lambda text: None,
    on_rows: Callable[[int], None] = lambda n: None,
) -> Storage:
    """Make a static web page over a catalogue, or bring one up to date.

    Parameters
    ----------
    catalog
        The catalogue, or where it lies.
    out
        A folder or a bucket's prefix: free, or with an earlier site of the same catalogue.
    address
        Where a browser finds the catalogue, as an address or relative to the page; by default see
        `xpscale.site.data_url.data_url`.
    columns
        Columns of ``latents``, and of labels that are published, that maps can be coloured by, or
        patterns such as ``latent_mean_*``; by default all but identifiers, positions and
        correlations.
    allowed_bytes
        Memory for the bins of the maps that are filled at one time.
    say
        Takes a line about what comes next.
    on_rows
        Told how many rows more were read.

    Raises
    ------
    ConflictError
        The place holds something else; nothing was written.
    InvalidInputError
        The catalogue has no sources, or a column is not known.
    """
    opened = catalog if isinstance(catalog, Catalog) else open_catalog(catalog)
    place = out if isinstance(out, Storage) else Storage(out)
    if not opened.n_rows:
        raise InvalidInputError(f"{opened.storage} has no sources", "There is nothing to show")
    names = _chosen(opened, columns)
    _require_writable(place)
    claim(place, CLAIM, {"site of model": opened.model_id}, "catalogue's site")
    version = _version(opened, names)
    described = _current(place, f"{DATA}/{version}")
    if described is None:
        described = _build(opened, place / DATA / version, names, allowed_bytes, say, on_rows)
    described |= {"data": f"{DATA}/{version}", "catalog": data_url(opened.storage, place, address)}
    _copy_page(place)
    place.replace(SITE, json.dumps(described, ensure_ascii=False).encode())
    _remove_older(place, version)
    return place


def _current(place: Storage, data: str) -> dict[str, Any] | None:
    """What describes the site, if it is complete and has these data."""
    try:
        found: dict[str, Any] = parse_json(place.read(SITE))
    except (NotFoundError, ValueError):
        return None
    return found if found["data"] == data else None


def _build(
    catalog: Catalog,
    place: Storage,
    names: tuple[str, ...],
    allowed_bytes: int,
    say: Callable[[str], None],
    on_rows: Callable[[int], None],
) -> dict[str, Any]:
    """Write the data of a site: its description, without addresses."""
    say(f"first look at {catalog.n_rows:,} sources")
    look = first_look(catalog, _axes(catalog), on_rows)
    maps = maps_of(catalog.n_rows, look.axes)
    written = fill_maps(catalog, place, maps, names, allowed_bytes, say, on_rows)
    place.replace("sample.bin", pack(_sample_words(look.source_id, look.values)))
    place.replace("parts.bin", gzip.compress(_parts(catalog), 9, mtime=0))
    calibrated = export_calibration(catalog, place, say)
    return describe(catalog, names, look.axes, written, len(look.source_id), calibrated)


def _require_writable(place: Storage) -> None:
    if place.url.startswith(("http://", "https://")):
        raise InvalidInputError(
            f"{place} is on the web, which can only be read", "Give a folder or bucket URL"
        )
    if place.folder is not None and place.folder.exists() and not place.folder.is_dir():
        raise ConflictError(f"{place} is a file", "Give a folder that is empty, or a new one")


def _chosen(catalog: Catalog, columns: tuple[str, ...]) -> tuple[str, ...]:
    known = [column.name for column in drawn_columns(catalog)]
    if not columns:
        return tuple(name for name in known if not name.startswith("latent_correlation_"))
    chosen: dict[str, None] = {}
    for name in columns:
        called = columns_called(catalog, name)
        if not (found := [each for each in called if each in known]):
            raise InvalidInputError(
                f"maps cannot be coloured by {called[0]!r}, which is a place or an array",
                f"Choose some of {', '.join(known)}",
            )
        chosen |= dict.fromkeys(found)
    return tuple(chosen)


def _axes(catalog: Catalog) -> tuple[str, ...]:
    return tuple(f"latent_mean_{i}" for i in range(min(catalog.identity.n_latents, N_AXES)))


def _version(catalog: Catalog, names: tuple[str, ...]) -> str:
    """What determines the files below ``data/``, as a name."""
    labels = [catalog.labels.source] if catalog.labels else []
    content = json.dumps([FORMAT, catalog.manifest.digest, names, *labels])
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _sample_words(source_id: Any, values: Any) -> Any:
    """Identifiers (their lower, then their upper halves) and latents as words of four bytes."""
    halves = np.stack([source_id & 0xFFFFFFFF, source_id >> 32]).astype("<u4")
    return np.concatenate([halves.view("<f4"), values.astype("<f4")])


def _parts(catalog: Catalog) -> bytes:
    """A row a pixel: order, number, rows; for each table bytes, and those of both footers."""
    rows: dict[Pixel, list[int]] = {}
    for table in catalog.tables:
        for part in catalog.parts_of(table):
            row = rows.setdefault(part.pixel, [part.pixel.order, part.pixel.number, part.n_rows])
            row += [part.n_bytes, part.footer_bytes, part.packed_footer_bytes]
    return json.dumps(list(rows.values()), separators=(",", ":")).encode()


def _copy_page(place: Storage) -> None:
    for entry in files("xpscale.site").joinpath("static").iterdir():
        place.replace(entry.name, entry.read_bytes())


def _remove_older(place: Storage, version: str) -> None:
    for name in {key.split("/")[0] for key in (place / DATA).list()} - {version}:
        (place / DATA / name).remove()
