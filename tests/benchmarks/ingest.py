"""Ingest of one file pair against decompressing it, and against pandas and astropy.

The files have the archive's weight: 20,000 spectra of 38 kB of text (17 kB compressed, 2 x 1,485
correlations with all their digits), and eight GaiaSource rows for each.  Floors: gunzip
(``isal.igzip``, its text thrown away) of the spectrum file alone, and of both files.  ``ingest`` is
the whole task of a file pair: decompress both with their CRC-32, parse, join, sort out, sort,
write; of files whose MD5 sums ``archive fetch`` or ``verify`` have noted, and of others, whose MD5
is taken on the way.  The others parse the four array columns of the spectrum file, with no join and
nothing written: of a slice of its rows, gunzipped before and counted with gunzip's own share of the
time.

Medians of the rounds, each as a ratio to the floor of its own round.  CPU time is of all threads:
what counts where every core has a file of its own."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from pathlib import Path

import numpy as np
from isal import igzip

from tests.support.archive_bulk import write_bulk_archive
from xpscale.archive.files import ArchiveFile, FilePair, open_archive
from xpscale.archive.verify import verify_archive
from xpscale.ingest.parsers import Fragment
from xpscale.ingest.parsers.archive import ArchiveParser
from xpscale.ingest.stage import StageFragment
from xpscale.release import DR3
from xpscale.storage import Storage

N_SOURCES = 20_000
N_SLICE = 1_000
ROUNDS = 3
COLUMNS = [
    f"{band}_{what}" for band in ("bp", "rp") for what in ("coefficients", "coefficient_errors")
]


@dataclass(frozen=True)
class Bench:
    """One file pair, and what is done with it."""

    folder: Path
    pair: FilePair
    slice: bytes

    def gunzip(self, *files: ArchiveFile) -> None:
        """Decompress files and throw their text away."""
        buffer = bytearray(1 << 20)
        for file in files:
            with igzip.open(self.folder / "archive" / file.name) as text:
                while text.readinto(buffer):
                    pass

    def ingest(self, *, is_verified: bool, correlations: bool = False) -> None:
        """Stage the pair's rows."""
        files = (
            replace(file, is_verified=is_verified)
            for file in (self.pair.spectra, self.pair.sources)
        )
        store = self.folder / "store"
        parser = ArchiveParser(Storage(str(self.folder / "archive")), DR3, correlations)
        pair = FilePair(*files)
        fragment = Fragment(pair.name, pair.key, N_SOURCES, pair)
        if StageFragment(Storage(str(store)), parser)(fragment).n_in != N_SOURCES:
            raise ValueError("rows are missing")
        shutil.rmtree(store)

    def pandas(self) -> None:
        """Parse the slice as most people would."""
        import pandas as pd

        table = pd.read_csv(io.BytesIO(self.slice), comment="#", usecols=["source_id", *COLUMNS])
        for name in COLUMNS:
            np.array([json.loads(text) for text in table[name]], np.float32)

    def astropy(self) -> None:
        """Parse the slice as ECSV."""
        from astropy.table import Table

        table = Table.read(self.slice.decode(), format="ascii.ecsv", fill_values=("null", "0"))
        if len(table) != N_SLICE:
            raise ValueError("rows are missing")


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="xpscale-bench-") as name:
        bench = _prepare(Path(name))
        xp, both = "gunzip, spectra", "gunzip, both files"
        variants: dict[str, Callable[[], object]] = {
            xp: lambda: bench.gunzip(bench.pair.spectra),
            both: lambda: bench.gunzip(bench.pair.spectra, bench.pair.sources),
            "ingest, verified before": lambda: bench.ingest(is_verified=True),
            "ingest, with MD5": lambda: bench.ingest(is_verified=False),
            "ingest --correlations": lambda: bench.ingest(is_verified=True, correlations=True),
        }
        slices = {"gunzip, pandas and json *": bench.pandas, "gunzip, astropy *": bench.astropy}
        bench.ingest(is_verified=True)  # compiles
        seconds: dict[str, list[tuple[float, float]]] = {}
        for i in range(ROUNDS):
            for name, variant in {**variants, **({} if i else slices)}.items():
                clocks = time.perf_counter(), time.process_time()
                variant()
                spent = np.subtract((time.perf_counter(), time.process_time()), clocks)
                if name in slices:  # the floor, and a slice's time as of all rows
                    spent = np.add(seconds[xp][0], spent * N_SOURCES / N_SLICE)
                seconds.setdefault(name, []).append((spent[0], spent[1]))
    print(f"{'':26} {'rows/s':>8}   wall, CPU / gunzip spectra   wall, CPU / gunzip both")
    for name, times in seconds.items():
        spent = np.array(times)
        ratios = [
            np.median(spent / np.array(seconds[floor])[: len(spent)], axis=0)
            for floor in (xp, both)
        ]
        rate = N_SOURCES / np.median(spent[:, 0])
        print(
            f"{name:26} {rate:8,.0f} {ratios[0][0]:15.2f} {ratios[0][1]:5.2f} {ratios[1][0]:22.2f}"
            f" {ratios[1][1]:5.2f}"
        )
    print(f"* of {N_SLICE:,} rows, spectra only, neither joined nor written")


def _prepare(folder: Path) -> Bench:
    archive = str(folder / "archive")
    write_bulk_archive(archive, N_SOURCES)
    verify_archive(archive)
    pair = open_archive(archive).pairs[0]
    with igzip.open(Path(archive) / pair.spectra.name) as text:
        head = list(takewhile(lambda line: line.startswith(b"#"), text))
    with igzip.open(Path(archive) / pair.spectra.name) as text:
        return Bench(folder, pair, b"".join(islice(text, len(head) + 1 + N_SLICE)))
