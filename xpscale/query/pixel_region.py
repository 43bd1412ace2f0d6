"""Regions that are made of HEALPix pixels: some pixels, and MOCs (IVOA Recommendation, Multi-Order
Coverage map 2.0).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpscale.errors import InvalidInputError
from xpscale.extras import naming_extras
from xpscale.formatting import first_line
from xpscale.local_files import local_path, read_local
from xpscale.query.region import Ranges, merged
from xpscale.sky import INDEX_ORDER, Pixel

__all__ = ["Cells", "moc_cells", "parse_pixels", "pixel_cells"]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """All positions in some HEALPix pixels.

    Parameters
    ----------
    name
        The region in words.
    numbers
        Pixel numbers (NESTED) by order, int64, each with shape (N,).
    """

    name: str
    numbers: dict[int, NDArray[np.int64]]

    def index_ranges(self) -> Ranges:
        """Half-open ranges of ``_healpix_29`` of the pixels."""
        ranges: list[tuple[int, int]] = []
        for order, found in self.numbers.items():
            ends = np.stack([found, found + 1], 1) << 2 * (INDEX_ORDER - order)
            ranges += [(start, stop) for start, stop in ends.tolist()]
        return merged(ranges)

    def sql(self) -> str:
        """Condition on the column ``_healpix_29``."""
        listed = {k: ", ".join(map(str, found.tolist())) for k, found in self.numbers.items()}
        terms = [
            f"_healpix_29 >> {2 * (INDEX_ORDER - k)} IN ({text})" for k, text in listed.items()
        ]
        return " OR ".join(terms) or "false"

    def __str__(self) -> str:
        return self.name


def pixel_cells(order: int, numbers: int | Iterable[int]) -> Cells:
    """Some HEALPix pixels of one order.

    Parameters
    ----------
    order, numbers
        As of `Selection.pixel`.
    """
    listed = [numbers] if isinstance(numbers, (int, np.integer)) else [*numbers]
    found = [Pixel(int(order), int(number)).number for number in listed]
    shown = ",".join(map(str, found[:3])) + ",..." * (len(found) > 3)
    return Cells(f"pixel({order}/{shown})", {int(order): np.unique(np.array(found, np.int64))})


def parse_pixels(text: str) -> Cells:
    """The pixels that ``ORDER/NUMBER[,NUMBER..]`` spells.

    Raises
    ------
    InvalidInputError
        It is not of this form, or there is no such pixel.
    """
    found = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+(?:\s*,\s*\d+)*)\s*", text, re.ASCII)
    if not found:
        raise InvalidInputError(
            f"{text!r} names no HEALPix pixel",
            "Give ORDER/NUMBER, NESTED, as 5/1234 or 5/1234,1235",
        )
    return pixel_cells(int(found[1]), map(int, found[2].split(",")))


def moc_cells(moc: Any) -> Cells:
    """The pixels of a MOC, as of `Selection.moc`."""
    name = "moc"
    if isinstance(moc, str | Path):
        name, moc = f"moc({moc})", _read(local_path(moc))
    if not hasattr(moc, "uniq_hpx"):
        raise InvalidInputError(
            f"a {type(moc).__name__} is no MOC of space", "Give a mocpy.MOC, or a file of one"
        )
    # NUNIQ: a pixel of order k has the number 4 * 4^k + its own
    unique = np.asarray(moc.uniq_hpx, np.int64)
    orders = np.searchsorted(4 ** np.arange(1, 32, dtype=np.int64), unique, side="right") - 1
    return Cells(
        name,
        {int(k): unique[orders == k] - (4 << 2 * int(k)) for k in np.unique(orders)},
    )


def _read(path: Path) -> Any:
    with naming_extras():
        from mocpy import MOC
    head = read_local(path, 64).lstrip()
    kind = "fits" if head.startswith(b"SIMPLE") else "json" if head.startswith(b"{") else "ascii"
    try:
        return MOC.load(str(path), format=kind)
    except Exception as error:  # of Rust and of astropy
        raise InvalidInputError(
            f"{path} holds no MOC of space: {first_line(error)}",
            "Give a MOC as FITS, JSON or ASCII",
        ) from error
