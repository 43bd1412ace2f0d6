"""The root group of a finished spectra store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpscale.companions import COMPANIONS
from xpscale.errors import InvalidInputError, NotFoundError, XpscaleError
from xpscale.json_files import from_fields, parse_json, read_value
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.store.layout import FORMAT, FORMAT_VERSION, INGEST, PARTITIONS
from xpscale.types import Partition

__all__ = ["listed_partitions", "root_attributes"]


def root_attributes(storage: Storage) -> dict[str, Any]:
    """What the root group says: format, counts, digest, provenance.

    Raises
    ------
    NotFoundError
        Nothing is there.
    InvalidInputError
        Something else is there, the ingest has not finished, or another version of xpscale made it.
    """
    try:
        attributes: dict[str, Any] = dict(parse_json(storage.read("zarr.json"))["attributes"])
    except NotFoundError:
        if storage.exists(INGEST):
            raise InvalidInputError(
                f"{storage.url} is a spectra store whose ingest has not finished",
                "Run the same 'xpscale ingest' again",
            ) from None
        raise NotFoundError(
            f"{storage.url} is not a spectra store: it has no zarr.json",
            "Check the address, or make one: 'xpscale ingest'",
        ) from None
    except XpscaleError:
        raise
    except ValueError as error:
        raise InvalidInputError(
            f"{storage.url}/zarr.json is not JSON ({error})", "The store is damaged"
        ) from error
    except (KeyError, TypeError):
        attributes = {}
    if attributes.get("format") != FORMAT:
        raise InvalidInputError(
            f"{storage.url} is a Zarr group, but no spectra store",
            "Give the store that 'xpscale ingest' made",
        )
    if attributes.get("format_version") != FORMAT_VERSION:
        raise InvalidInputError(
            f"{storage.url} has store format version {attributes.get('format_version')}; this"
            f" xpscale reads version {FORMAT_VERSION}",
            "Ingest the archive again, or use the xpscale that made it",
        )
    _require_values(attributes, f"{storage.url}/zarr.json")
    return attributes


def _require_values(attributes: dict[str, Any], where: str) -> None:
    """Refuse attributes of other types than ours."""
    names = attributes.get("companions", [])
    known = isinstance(names, list) and all(isinstance(one, str) for one in names)
    checks = {
        **{name: isinstance(attributes.get(name), int) for name in ("n_bp", "n_coefficients")},
        "digest": isinstance(attributes.get("digest"), str),
        "companions": known and set(names) <= {*COMPANIONS},
    }
    for name, is_right in checks.items():
        if not is_right:
            raise InvalidInputError(
                f"{where} has the {name} {attributes.get(name)!r:.40}",
                "The store is damaged",
            )


def listed_partitions(storage: Storage) -> tuple[Partition, ...]:
    """The partitions of a store, as its table lists them.

    Raises
    ------
    InvalidInputError
        The table is damaged.
    """
    where = f"{storage.url}/{PARTITIONS}"
    return read_value(_partitions, storage.read(PARTITIONS), where, "table of partitions")


def _partitions(text: str | bytes) -> tuple[Partition, ...]:
    rows = [
        from_fields(_Listed, {name: row[name] for name in ("order", "pixel", "n_rows")})
        for row in parse_json(text)
    ]
    pixels = [Pixel(row.order, row.pixel) for row in rows]
    return tuple(Partition(p, row.n_rows, p.key) for p, row in zip(pixels, rows, strict=True))


@dataclass(frozen=True, slots=True)
class _Listed:
    """A row of the table of partitions."""

    order: int
    pixel: int
    n_rows: int
