"""The whole sky in Mollweide's projection, one colour for each HEALPix pixel.

The map is a raster: every point of it is projected back to the sky and looked up, so a map of a
million pixels costs no more than one of a hundred, and no pixel is cut at the edge of the map.
Longitude grows to the left, as seen from inside the celestial sphere.

Mollweide's projection (Snyder 1987, USGS Professional Paper 1395, p. 251), for longitude l and
latitude b::

    x = 2 sqrt(2) / pi * l cos(t),   y = sqrt(2) sin(t),   2 t + sin(2 t) = pi sin(b)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Ellipse

from xpscale.errors import InvalidInputError
from xpscale.plots.style import BLACK, GREY, credit, headline, new_axes, style
from xpscale.sky import GALACTIC_AXES, Pixel, rough_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

__all__ = ["sky"]

WIDTH, HEIGHT = 2 * np.sqrt(2), np.sqrt(2)  # half axes of the ellipse
EMPTY = "#ECECEC"
RASTER: dict[str, Any] = {
    "extent": (-WIDTH, WIDTH, -HEIGHT, HEIGHT),
    "origin": "lower",
    "interpolation": "nearest",
    "zorder": 1,
}
NAMES = {"galactic": ("l", "b"), "icrs": ("RA", "Dec")}


def sky(
    pixels: NDArray[np.integer[Any]],
    values: NDArray[Any],
    order: int,
    *,
    label: str | None = None,
    log: bool | None = None,
    frame: str = "galactic",
    n_rows: int | None = None,
    provenance: dict[str, str] | None = None,
    ax: Axes | None = None,
    raster: int = 1600,
) -> tuple[Figure | SubFigure, Axes]:
    """A map of the sky.

    Parameters
    ----------
    pixels
        HEALPix pixel numbers (NESTED, ICRS), with shape (P,); pixels left out stay grey.
    values
        Their values, with shape (P,); NaN is left grey.
    order
        HEALPix order of the pixels.
    label
        What the values are, with their unit.  Without a label they are counts of sources, and are
        drawn as sources per square degree.
    log
        Logarithmic colours; by default for counts that span more than a factor of 20.
    frame
        ``"galactic"`` or ``"icrs"``.
    n_rows
        Number of sources behind the map, for the title; by default the sum of counts.
    provenance
        May name ``model_id`` and ``snapshot``, for the title.
    ax
        Axes to draw on.
    raster
        Width of the painted map in points.
    """
    if frame not in NAMES:
        raise InvalidInputError(f"no frame is called {frame!r}", "Choose 'galactic' or 'icrs'")
    values, is_count = np.asarray(values, np.float64), label is None
    if is_count:
        n_rows = int(values.sum()) if n_rows is None else n_rows
        values = values / Pixel(order, 0).area_sq_deg
    name = "sources per square degree" if label is None else label
    with style():
        fig, ax = new_axes(ax, figsize=(8.5, 4.9), layout="constrained")
        norm, pointed = _norm(values, log, is_count)
        painted = _paint(np.asarray(pixels), values, order, frame, raster)
        image = ax.imshow(painted, cmap="cividis" if is_count else "viridis", norm=norm, **RASTER)
        _rim(ax)
        _graticule(ax, frame)
        is_whole = len(pixels) == 12 * 4**order
        _colour_bar(ax, image, name if is_whole else f"{name}  (grey: no sources)", pointed)
        title = "Density of sources" if is_count else f"Median of {name}"
        if n_rows is not None:
            title = headline(title, n_rows, provenance)
        ax.set_title(f"{title} · HEALPix order {order}", pad=12)
        credit(fig)
    return fig, ax


def _colour_bar(ax: Axes, image: AxesImage, label: str, extend: str) -> None:
    bar = ax.figure.colorbar(
        image, ax=ax, orientation="horizontal", shrink=0.6, aspect=40, pad=0.07, extend=extend
    )
    bar.set_label(label)


def _rim(ax: Axes) -> None:
    """The edge of the map, and its ground behind the pixels."""
    for options in ({"facecolor": EMPTY, "zorder": 0}, {"fill": False, "zorder": 4}):
        look: dict[str, Any] = {"edgecolor": BLACK, "lw": 0.8, **options}
        ax.add_patch(Ellipse((0, 0), 2 * WIDTH, 2 * HEIGHT, **look))


def _norm(values: NDArray[np.float64], log: bool | None, is_count: bool) -> tuple[Normalize, str]:
    """Colours from the 1st percentile to the 99th (99.9th for counts), and which ends of the bar
    are pointed.
    """
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return Normalize(0, 1), "neither"
    low, high = np.percentile(finite, [1, 99.9 if is_count else 99])
    if low == high:
        low, high = low * 0.9, low * 1.1 or 1.0
    extend = {
        (False, False): "neither",
        (True, False): "min",
        (False, True): "max",
        (True, True): "both",
    }
    ends = extend[bool(finite.min() < low), bool(finite.max() > high)]
    is_log = bool(is_count and high > 20 * low) if log is None else log
    if is_log and low <= 0:
        raise InvalidInputError("logarithmic colours need positive values", "Plot with log=False")
    return (LogNorm if is_log else Normalize)(low, high), ends


def _paint(
    pixels: NDArray[np.integer[Any]],
    values: NDArray[np.float64],
    order: int,
    frame: str,
    raster: int,
) -> NDArray[np.float64]:
    """Values on a raster with shape (raster // 2, raster); NaN off the sky and where there are
    none.
    """
    rows = raster // 2
    x = ((np.arange(raster) + 0.5) / raster * 2 - 1) * WIDTH
    y = ((np.arange(rows) + 0.5) / rows * 2 - 1) * HEIGHT
    t = np.arcsin(y / HEIGHT)[:, None]
    lon = -x[None, :] / WIDTH * np.pi / np.cos(t)  # radians, growing to the left
    lat = np.broadcast_to(np.arcsin((2 * t + np.sin(2 * t)) / np.pi), lon.shape)
    inside = np.abs(lon) <= np.pi
    ra, dec = _to_icrs(lon[inside], lat[inside], frame)
    number = rough_pixels(ra, dec, order)
    lookup = np.argsort(pixels)
    place = np.minimum(np.searchsorted(pixels, number, sorter=lookup), max(len(pixels) - 1, 0))
    painted = np.full(lon.shape, np.nan)
    if len(pixels):
        row = lookup[place]
        painted[inside] = np.where(pixels[row] == number, values[row], np.nan)
    return painted


def _to_icrs(lon: NDArray[Any], lat: NDArray[Any], frame: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """Right ascension and declination in degrees of directions given in radians."""
    if frame == "galactic":
        x, y, z = GALACTIC_AXES.T @ np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
        )
        lon, lat = np.arctan2(y, x), np.arcsin(np.clip(z, -1, 1))
    return np.degrees(lon) % 360, np.degrees(lat)


def _project(lon: NDArray[Any], lat: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mollweide's x and y of longitudes (-pi to pi, growing to the left) and latitudes in
    radians.
    """
    t = np.array(lat, np.float64)
    # Newton's method; slow only at the poles, where the size of the step bounds the error
    for _ in range(60):
        slope = 2 + 2 * np.cos(2 * t)
        t -= np.where(
            slope > 1e-9, (2 * t + np.sin(2 * t) - np.pi * np.sin(lat)) / np.maximum(slope, 1e-9), 0
        )
    return -WIDTH / np.pi * lon * np.cos(t), HEIGHT * np.sin(t)


def _point(longitude_deg: float, latitude_deg: float) -> tuple[float, float]:
    x, y = _project(np.radians([longitude_deg]), np.radians([latitude_deg]))
    return float(x[0]), float(y[0])


def _graticule(ax: Axes, frame: str) -> None:
    line: dict[str, Any] = {"color": "white", "lw": 0.5, "alpha": 0.55, "zorder": 2}
    latitudes = np.radians(np.linspace(-90, 90, 181))
    for longitude in range(-120, 121, 60):
        ax.plot(*_project(np.full(181, np.radians(longitude)), latitudes), **line)
        x, y = _point(longitude, -3)
        text = ax.text(x, y, f"{longitude % 360}°", zorder=3)
        text.set(ha="center", va="top", fontsize=7, color="white", path_effects=_halo())
    for latitude in range(-60, 61, 30):
        x, y = _point(180, latitude)
        ax.plot([x, -x], [y, y], **line)
        ax.text(
            x - 0.06,
            y,
            f"{latitude:+d}°" if latitude else "0°",
            ha="right",
            va="center",
            fontsize=7.5,
        )
    if frame == "icrs":
        lon, lat = np.radians(np.linspace(-180, 180, 721)), np.zeros(721)
        plane = GALACTIC_AXES.T @ np.stack([np.cos(lon), np.sin(lon), lat])
        plane_x, plane_y = _project(np.arctan2(plane[1], plane[0]), np.arcsin(plane[2]))
        plane_x[np.abs(np.diff(plane_x, append=plane_x[0])) > 1] = np.nan  # the jump at the seam
        ax.plot(
            plane_x, plane_y, color="white", lw=1, ls=(0, (4, 3)), zorder=3, path_effects=_halo(1.8)
        )
    east, north = NAMES[frame]
    note = "galactic coordinates" if frame == "galactic" else "ICRS; dashed: galactic plane"
    ax.text(
        -WIDTH,
        -HEIGHT,
        f"{east} grows to the left, {north} up; {note}",
        fontsize=7,
        color=GREY,
        va="top",
    )
    ax.set(aspect="equal", xlim=(-WIDTH * 1.01, WIDTH * 1.01), ylim=(-HEIGHT * 1.02, HEIGHT * 1.02))
    ax.set_axis_off()


def _halo(width: float = 1.5) -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=BLACK, alpha=0.6)]
