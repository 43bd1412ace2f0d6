"""Parsing an archive file against decompressing it, and against pandas and json.

The file has the archive's shape: 1,485 + 1,485 correlations a row, 38 kB of text, 17 kB compressed.  ``gunzip`` is the
floor: isal alone, nothing looked at.  ``parse`` also takes the MD5 of the file, in a thread; medians of the rounds, each as a
ratio to the floor of its own round.  CPU time is of all threads: what counts where every core has a file of its own.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from xpscale.archive.files import Archive, open_archive
from xpscale.archive.parse import parse_spectra
from xpscale.testing.archive_files import write_archive
from xpscale.testing.universe import Universe

N_SOURCES = 8_000
ROUNDS = 5
COLUMNS = [f"{band}_{what}" for band in ("bp", "rp") for what in ("coefficients", "coefficient_errors")]


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as folder:
        write_archive(Universe(N_SOURCES, seed=3), folder, n_files=1, correlations=True)
        archive = open_archive(folder)
        _parse(archive)  # compiles
        variants: dict[str, Callable[[Archive], object]] = {
            "gunzip (isal)": _gunzip,
            "parse_spectra": _parse,
            "pandas and json": _pandas,
        }
        wall: dict[str, list[float]] = {name: [] for name in variants}
        cpu: dict[str, list[float]] = {name: [] for name in variants}
        for i in range(ROUNDS):
            for name, variant in variants.items():
                if variant is _pandas and i:
                    continue  # seconds a round, and no closer for it
                clocks = time.perf_counter(), time.process_time()
                variant(archive)
                wall[name].append(time.perf_counter() - clocks[0])
                cpu[name].append(time.process_time() - clocks[1])
    floor = "gunzip (isal)"
    print(f"{'':18} {'rows/s':>9} {'wall / floor':>13} {'CPU / floor':>12}")
    for name in variants:
        ratios = [np.median(np.divide(times[name], times[floor][: len(times[name])])) for times in (wall, cpu)]
        print(f"{name:18} {N_SOURCES / np.median(wall[name]):9,.0f} {ratios[0]:13.2f} {ratios[1]:12.2f}")


def _gunzip(archive: Archive) -> None:
    from isal import igzip

    buffer = bytearray(1 << 20)
    with archive.open(archive.pairs[0].spectra) as stream, igzip.IGzipFile(fileobj=stream, mode="rb") as text:
        while text.readinto(buffer):
            pass


def _parse(archive: Archive) -> None:
    with archive.open(archive.pairs[0].spectra) as stream:
        parsed = parse_spectra(stream, "file")
    if parsed.coefficients.shape != (N_SOURCES, 110):
        raise ValueError(f"parsed {parsed.coefficients.shape}")


def _pandas(archive: Archive) -> None:
    import pandas as pd

    path = Path(archive.storage.url) / archive.pairs[0].spectra.name
    table = pd.read_csv(path, comment="#", usecols=["source_id", *COLUMNS])
    for name in COLUMNS:
        np.array([json.loads(text) for text in table[name]], np.float32)
