"""Options for a region of the sky, as several commands take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from xpscale.query.region import Region
    from xpscale.query.selection import Selection

__all__ = ["Box", "Cone", "Moc", "Pixel", "Polygon", "inside"]

Cone = Annotated[
    str,
    typer.Option(
        metavar="RA,DEC,RADIUS",
        help="Sources in a cone, ICRS: '56.75,24.12,1.0' or '05:34:31.9 +22:00:52,10arcmin'.",
    ),
]
Box = Annotated[
    str,
    typer.Option(
        metavar="RA,RA,DEC,DEC", help="Sources in a box, west, east, south, north: 350,10,-5,5."
    ),
]
Polygon = Annotated[
    str,
    typer.Option(
        metavar="'RA DEC, ..'", help="Sources in a polygon of great circles: '10 20, 12 20, 11 22'."
    ),
]
Moc = Annotated[
    str, typer.Option(metavar="FILE", help="Sources in a MOC: a FITS, JSON or ASCII file.")
]
Pixel = Annotated[
    str,
    typer.Option(metavar="ORDER/N[,N..]", help="Sources in HEALPix pixels, NESTED: 5/1234,1235."),
]


def inside(chosen: Selection, regions: Mapping[str, str]) -> Selection:
    """A selection narrowed to the regions that options name, all of them.

    Parameters
    ----------
    chosen
        The selection.
    regions
        What the options ``cone``, ``box``, ``polygon``, ``moc`` and ``pixel`` say, by their names;
        empty if not given.
    """
    from xpscale.query.box_polygon import parse_box, parse_polygon
    from xpscale.query.pixel_region import moc_cells, parse_pixels
    from xpscale.query.region import parse_cone

    parsers: dict[str, Callable[[str], Region]] = {
        "cone": parse_cone,
        "box": parse_box,
        "polygon": parse_polygon,
        "moc": moc_cells,
        "pixel": parse_pixels,
    }
    for name, parse in parsers.items():
        if regions.get(name):
            chosen = chosen.inside(parse(regions[name]))
    return chosen
