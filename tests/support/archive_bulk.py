"""Archive files as large as the real ones, written fast, for benchmarks.

A row of the real spectrum file is 39 kB of text, 16 kB compressed, and comes with eight rows of
GaiaSource of 1.3 kB each. Here 512 such rows are made once, and every source takes one of them in
turn, with its own identifier and position. The compressed text of a row after its identifier is
made once, too: a gzip stream may be joined from blocks that end at whole bytes (RFC 1951, section
3.2.4). A million sources take about 20 s on one core.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tests.support.archive_files import file_ranges
from tests.support.archive_text import SOLUTION_ID, arrays_text, spectrum_text
from tests.support.gaia_columns import GAIA_SOURCE_COLUMNS, XP_COLUMNS, ecsv_head
from xpscale.archive.files import tables_of
from xpscale.release import DR3
from xpscale.sky import INDEX_ORDER, MAX_ORDER, SOURCE_ID_SHIFT
from xpscale.storage import Storage
from xpscale.testing.sky_density import DENSITY_ORDER, pixel_centers_deg, source_counts
from xpscale.testing.universe import Universe

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["write_bulk_archive"]

N_TEMPLATES = 512
SHARE_MOVED = 0.004
_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # empty, stored, marked as the last
# Columns of GaiaSource of which a share of the rows has none, by the beginning of their names (Gaia
# DR3: 33 of 1,812 million sources have radial velocities, 471 have parameters from XP spectra, 906
# a pseudocolour).
_SHARE_MISSING = {
    "radial_": 0.98,
    "rv_": 0.98,
    "vbroad": 0.99,
    "grvs_": 0.98,
    "rvs_": 0.99,
    "pseudocolour": 0.5,
}


@dataclass(frozen=True, slots=True)
class _Tail:
    """The part of a spectrum's row after its identifier: as text, and as deflate blocks."""

    text: bytes
    deflated: bytes


def write_bulk_archive(
    url: str,
    n_sources: int,
    *,
    n_files: int = 1,
    correlations: str = "full",
    rows_a_spectrum: int = 8,
    seed: int = 0,
) -> str:
    """Write ``n_sources`` spectra and their sources as archive files.

    Parameters
    ----------
    url
        Folder or ``s3://`` prefix to write to.
    n_sources, n_files
        Spectra in all, and the files they share about evenly.
    correlations
        ``"full"``: numbers, of which no two are equal; ``"light"``: as long as these, and
        compressed to nothing; ``"none"``: ``null``.
    rows_a_spectrum
        GaiaSource rows for each spectrum, one of them its own.
    seed
        Equal seeds make equal archives.

    Returns
    -------
    str
        The archive's URL.
    """
    storage = Storage(url)
    spectra, sources = _spectrum_tails(correlations, seed), _source_tails(seed)
    counts = source_counts(n_sources, seed)
    tables = tables_of(DR3)
    sums: dict[str, list[str]] = {table.folder: [] for table in tables.values()}
    for first, last in file_ranges(counts, n_files):
        source_id, ra, dec = _identify(counts, first, last, seed)
        files = {
            "xp": _spectrum_file(source_id, spectra),
            "source": _source_file(source_id, ra, dec, sources, rows_a_spectrum),
        }
        for table, data in files.items():
            key = tables[table].key(first, last)
            folder, _, name = key.rpartition("/")
            storage.replace(key, data)
            sums[folder].append(f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}  {name}\n")
    for folder, lines in sums.items():
        storage.replace(f"{folder}/_MD5SUM.txt", "".join(lines).encode())
    return storage.url


def _identify(
    counts: NDArray[np.int64], first: int, last: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """``source_id`` ascending, ``ra`` and ``dec`` in degrees of the sources of a range of level-8
    pixels.
    """
    rng = np.random.default_rng([seed, first])
    filled = np.arange(first >> 2, (last >> 2) + 1)
    depth = 2 * (INDEX_ORDER - DENSITY_ORDER)
    numbers = np.repeat(filled, counts[filled])
    pixel = np.sort((numbers << depth) + rng.integers(0, 1 << depth, len(numbers)))
    coarse = pixel >> 2 * (INDEX_ORDER - MAX_ORDER)
    rank = np.arange(len(coarse)) - np.searchsorted(coarse, coarse)
    ra, dec = pixel_centers_deg(pixel, INDEX_ORDER)
    moved = np.flatnonzero(rng.random(len(pixel)) < SHARE_MOVED)  # each to where another was
    ra[moved], dec[moved] = np.roll(ra[moved], 1), np.roll(dec[moved], 1)
    return (coarse << SOURCE_ID_SHIFT) + (rank << 7), ra, dec


# -- spectra


def _spectrum_tails(correlations: str, seed: int) -> list[_Tail]:
    batch = Universe(N_TEMPLATES, seed=seed).spectra()
    text = spectrum_text(batch, np.zeros((N_TEMPLATES, 2), bool), correlations=False)
    lines = text.decode().splitlines()[-N_TEMPLATES:]
    rng = np.random.default_rng([seed, 7])
    tails = []
    for line in lines:
        tail = line[line.index(",") :]
        if correlations != "none":
            for n in batch.bands.n_correlations:
                values = np.tanh(0.2 * rng.standard_normal((1, n))).astype(np.float32)
                values = values if correlations == "full" else np.full_like(values, 0.12345678)
                tail = tail.replace(",null,", f",{arrays_text(values)[0].as_py()},", 1)
        data = f"{tail}\n".encode()
        deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        tails.append(_Tail(data, deflate.compress(data) + deflate.flush(zlib.Z_FULL_FLUSH)))
    return tails


def _spectrum_file(source_id: NDArray[np.int64], tails: list[_Tail]) -> bytes:
    """A gzip file: the head and every identifier in stored blocks, the templates between them."""
    from isal import isal_zlib

    crc = n_bytes = 0
    head = ecsv_head("xp_continuous_mean_spectrum", XP_COLUMNS)
    blocks = [_GZIP_HEAD]
    for i, number in enumerate([b"", *(str(n).encode() for n in source_id.tolist())]):
        text = number or head
        blocks += [struct.pack("<BHH", 0, len(text), len(text) ^ 0xFFFF), text]
        crc, n_bytes = isal_zlib.crc32(text, crc), n_bytes + len(text)
        if number:
            tail = tails[(i - 1) % len(tails)]
            blocks.append(tail.deflated)
            crc, n_bytes = isal_zlib.crc32(tail.text, crc), n_bytes + len(tail.text)
    blocks += [_LAST_BLOCK, struct.pack("<II", crc, n_bytes & 0xFFFFFFFF)]
    return b"".join(blocks)


# -- sources


def _source_tails(seed: int) -> tuple[list[bytes], list[bytes]]:
    """What stands behind ``dec``: of sources with a spectrum, the fluxes those of
    `_spectrum_tails`; and of others.
    """
    rng = np.random.default_rng([seed, 8])
    names = [name for name, _, _ in GAIA_SOURCE_COLUMNS]
    columns = GAIA_SOURCE_COLUMNS[names.index("dec") + 1 :]
    flux = Universe(N_TEMPLATES, seed=seed).spectra().phot_g_mean_flux
    with_xp = {
        "phot_g_mean_flux": [repr(f) for f in flux.tolist()],
        "has_xp_continuous": ['"True"'] * N_TEMPLATES,
    }
    return _tails(rng, columns, with_xp, 0.1), _tails(rng, columns, {}, 0.9)


def _tails(
    rng: np.random.Generator,
    columns: tuple[tuple[str, str, str], ...],
    given: dict[str, list[str]],
    no_gspphot: float,
) -> list[bytes]:
    parameters = rng.random(N_TEMPLATES) < no_gspphot  # missing all together
    texts = []
    for name, datatype, _ in columns:
        values = given.get(name) or _values(rng, datatype)
        share = next(
            (share for start, share in _SHARE_MISSING.items() if name.startswith(start)), 0.0
        )
        of_gspphot = "gspphot" in name and datatype != "bool"
        missing = parameters if of_gspphot else rng.random(N_TEMPLATES) < share
        texts.append(
            [value if present else "null" for value, present in zip(values, ~missing, strict=True)]
        )
    return [f",{','.join(row)}\n".encode() for row in zip(*texts, strict=True)]


def _values(rng: np.random.Generator, datatype: str) -> list[str]:
    if datatype in ("float32", "float64"):
        values = rng.standard_normal(N_TEMPLATES) * 10.0 ** rng.integers(-2, 3, N_TEMPLATES)
        return (
            [repr(v) for v in values.tolist()]
            if datatype == "float64"
            else [f"{v:.7g}" for v in values.tolist()]
        )
    if datatype == "bool":
        return ['"True"' if v < 0.1 else '"False"' for v in rng.random(N_TEMPLATES).tolist()]
    if datatype == "string":
        return ['"NOT_AVAILABLE"'] * N_TEMPLATES
    return [str(v) for v in rng.integers(0, 60, N_TEMPLATES).tolist()]


def _source_file(
    source_id: NDArray[np.int64],
    ra: NDArray[np.float64],
    dec: NDArray[np.float64],
    tails: tuple[list[bytes], list[bytes]],
    rows_a_spectrum: int,
) -> bytes:
    """The spectra's sources, each followed by others of nearly its identifier and place."""
    from isal import igzip

    blocks = [ecsv_head("gaia_source", GAIA_SOURCE_COLUMNS)]
    columns = [source_id.tolist(), _text(ra), _text(dec)]
    for i, (number, alpha, delta) in enumerate(zip(*columns, strict=True)):
        for k in range(rows_a_spectrum):
            blocks += [
                f'{SOLUTION_ID["source"]},"Gaia DR3'
                f' {number + k}",{number + k},{(number + k) % 1_811_709_771},2016.0,'
                f"{alpha},0.1016{i % 9973:04d},{delta}".encode(),
                tails[k > 0][(i + 89 * k) % N_TEMPLATES if k else i % N_TEMPLATES],
            ]
    return igzip.compress(b"".join(blocks), compresslevel=2, mtime=0)


def _text(values: NDArray[np.float64]) -> list[str]:
    return pa.array(values).cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
