"""A picture of the sky: sources per area in Galactic coordinates, as a PNG with a clear background.

matplotlib is not needed by those who publish a catalogue, and a PNG is quickly written.
"""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["sky_picture"]

WIDTH, HEIGHT = 1200, 600

COLOURS = np.array(
    [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], np.float64
)
"""Viridis, few to many; in between colours are mixed."""

EMPTY = np.array([128, 128, 128, 40], np.uint8)

PER_CELL = 3
"""Sources of a cell on average, at least: the map is as fine as that allows."""


def sky_picture(counts: NDArray[np.int64]) -> bytes:
    """The bytes of a PNG: a Mollweide map, the Galactic centre in the middle, longitude leftwards.

    Parameters
    ----------
    counts
        Sources per HEALPix cell of one order, NESTED ICRS, with shape (12 * 4**k,).
    """
    order, width = _order(counts), len(counts)
    values = counts.reshape(12 * 4**order, width // (12 * 4**order)).sum(axis=1)
    inside, cells = _cells(order, HEIGHT, WIDTH)
    shown = values[cells]
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[inside] = np.where((shown > 0)[:, None], _coloured(shown, values), EMPTY)
    return _png(pixels)


def _order(counts: NDArray[np.int64]) -> int:
    highest = round(np.log2(len(counts) / 12) / 2)
    affordable = np.log2(max(int(counts.sum()), 1) / 12 / PER_CELL) / 2
    return int(np.clip(affordable, 2, min(highest, 8)))


@lru_cache(maxsize=2)
def _cells(order: int, height: int, width: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which pixels lie on the sky, with shape (height, width), and the cell of each of these.

    The Mollweide projection: x = 2 sqrt(2) / pi * l cos t, y = sqrt(2) sin t, with
    2 t + sin 2t = pi sin b (Snyder 1987, Map Projections, USGS Professional Paper 1395, p. 251).
    """
    from astropy.coordinates import SkyCoord
    from cdshealpix.nested import skycoord_to_healpix

    y, x = np.mgrid[1 : -1 : height * 1j, 1 : -1 : width * 1j]  # in units of 2 sqrt(2), sqrt(2)
    inside = x**2 + y**2 < 1
    t = np.arcsin(y[inside])
    latitude = np.arcsin(np.clip((2 * t + np.sin(2 * t)) / np.pi, -1, 1))
    longitude = np.pi * x[inside] / np.cos(t)
    sky = SkyCoord(longitude, latitude, unit="rad", frame="galactic")
    return inside, np.asarray(skycoord_to_healpix(sky.icrs, order), np.int64)


def _coloured(shown: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Colours by the logarithm of the counts, with shape (N, 4)."""
    filled = values[values > 0]
    low, high = np.log(np.quantile(filled, [0.02, 0.99])) if len(filled) else (0.0, 0.0)
    place = np.clip((np.log(np.maximum(shown, 1)) - low) / max(high - low, 1e-9), 0, 1)
    at = np.linspace(0, 1, len(COLOURS))
    rgb = [np.interp(place, at, channel) for channel in COLOURS.T]
    return np.stack([*rgb, np.full(len(shown), 255.0)], axis=1).astype(np.uint8)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG (ISO/IEC 15948) of pixels with shape (H, W, 4): red, green, blue, opacity."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(lines.tobytes()))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body + chunk(b"IEND", b"")
