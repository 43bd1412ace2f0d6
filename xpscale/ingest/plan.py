"""What an ingest will do, said before it does it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice
from xpscale.forecast.ingest import IngestProjection, pixel_counts, project_ingest
from xpscale.ingest.given_sources import open_sources
from xpscale.ingest.parsers import Contents, Fragment, Input, recognise
from xpscale.ingest.stage import StageFragment
from xpscale.release import Release
from xpscale.stated_release import agreed_release
from xpscale.storage import Storage
from xpscale.store.partitions import DEFAULT_MAX_ROWS

__all__ = ["IngestPlan", "plan_ingest"]

CORRELATIONS_MAX_ROWS = 32_768
"""Rows of a partition with correlations, 14 times as long: 0.4 GB."""

MAX_GROUP, MAX_GROUP_ROWS, MIN_TASKS = 64, 8_192, 64
"""Fragments of a group at most, and their rows, about; and tasks that an input with enough
fragments is left with.  A task costs 30 ms, as much as reading a DataLink file of one source.
"""


@dataclass(frozen=True)
class IngestPlan:
    """An ingest, described: which fragments, how many rows about, how long about.

    Parameters
    ----------
    contents
        What the input holds.
    store
        Where the spectra store will be.
    max_rows
        Rows of a partition at most.
    skip_damaged
        Whether files that cannot be read are set aside and named in the store's report; otherwise
        no store is made until they are repaired.
    release
        The data release, as far as it is known before reading.
    bands
        Coefficients of each band, if the user says how many.
    trust_units
        Whether the values are taken for what they are, whatever their sizes.
    columns
        What the user says of columns.
    """

    contents: Contents
    store: Storage
    max_rows: int
    skip_damaged: bool = False
    release: Release | None = None
    bands: Bands | None = None
    trust_units: bool = False
    columns: ColumnChoice = field(default_factory=ColumnChoice)

    @cached_property
    def fragments(self) -> tuple[Fragment, ...]:
        """What the tasks of the first stage read: fragments of the input, many small ones in
        groups.
        """
        fragments = self.contents.fragments
        most = min(MAX_GROUP, len(fragments) // MIN_TASKS)
        groups: list[list[Fragment]] = []
        n_rows = 0
        for fragment in fragments:
            if not groups or len(groups[-1]) >= most or n_rows + fragment.n_rows > MAX_GROUP_ROWS:
                groups.append([])
                n_rows = 0
            groups[-1].append(fragment)
            n_rows += fragment.n_rows
        return tuple(map(Fragment.group, groups))

    @property
    def function(self) -> StageFragment:
        """What a task of the first stage does with its fragment."""
        return StageFragment(
            self.store,
            self.contents.parser,
            self.release,
            self.bands,
            self.trust_units,
            self.skip_damaged,
        )

    @property
    def n_tasks(self) -> int:
        """Tasks of the first stage."""
        return len(self.fragments)

    @property
    def n_rows_estimated(self) -> int:
        """Spectra expected, from the sizes of files or from their footers."""
        return sum(fragment.n_rows for fragment in self.fragments)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells this ingest from others, whatever the files contain; JSON values."""
        choice = {
            "correlations": self.correlations,
            "sources": self.contents.sources.url if self.contents.sources else "",
            "companions": ",".join(self.columns.companions),
            "pixel_positions": self.columns.pixel_positions,
        }
        usual = {"companions": ",".join(ColumnChoice().companions)}
        chosen = {name: value for name, value in choice.items() if value != usual.get(name)}
        return {**self.contents.identity, **{n: v for n, v in chosen.items() if v or n in usual}}

    @property
    def correlations(self) -> bool:
        """Whether the store keeps the correlations of coefficients."""
        return self.contents.has_correlations

    def __str__(self) -> str:
        release = f" of {self.release}" if self.release else ""
        n_fragments = len(self.contents.fragments)
        return (
            f"ingest {self.contents.description}\n  in {n_fragments:,} fragment"
            f"{'s' * (n_fragments != 1)}, about {self.n_rows_estimated:,} spectra{release}\n"
            f"  to {self.store.url}, partitions of at most {self.max_rows:,} rows"
        )

    def project(self) -> IngestProjection:
        """Partitions, bytes, memory and time.  The rows of a fragment are spread evenly over the
        pixels that it may have rows in.
        """
        by_range: Counter[tuple[int, int]] = Counter()
        for fragment in self.fragments:
            by_range[fragment.pixels] += fragment.n_rows
        counts = pixel_counts(list(by_range), np.array(list(by_range.values()), np.int64))
        rows = np.array([fragment.n_rows for fragment in self.fragments], np.int64)
        return project_ingest(
            rows,
            counts,
            self.max_rows,
            bytes_read=self.contents.n_bytes,
            correlations=self.correlations,
        )


def plan_ingest(
    source_url: str,
    store_url: str,
    *,
    sources: str = "",
    max_rows: int | None = None,
    skip_damaged: bool = False,
    correlations: bool = False,
    release: Release | None = None,
    bands: Bands | None = None,
    columns: ColumnChoice | None = None,
    trust_units: bool = False,
) -> IngestPlan:
    """Recognise what lies at an address and say what ingesting it will take.  Writes nothing.

    Parameters
    ----------
    source_url
        A folder, a file, ``s3://``; the bulk archive also over ``https://``.
    store_url
        Where the spectra store will be.
    sources
        A table, folder of tables or HATS catalogue (Parquet, CSV, ECSV, FITS, VOTable, HDF5) with
        ``source_id``, ``ra``, ``dec`` and ``phot_g_mean_flux`` (or ``phot_g_mean_mag``), for
        spectra that come without, and instead of the source files of a bulk archive.
    max_rows
        Rows of a partition at most; 262,144 if not given, or 32,768 with correlations.
    skip_damaged
        Whether files that cannot be read are set aside and named in the store's report.
    correlations
        Whether to keep the correlations of coefficients; from the bulk archive and from tables as
        DataLink has them.
    release
        The data release; if not given, what the input says, or the release that has its bands.
    bands
        Coefficients of each band, for tables that hold both in one array.
    columns
        What columns of the input and of ``sources`` are called, where that is not known by name;
        which companions come along; and where to place sources.
    trust_units
        Whether to take the values for what they are, though their sizes are not those of the
        archive's units.

    Raises
    ------
    NotFoundError
        Nothing that can be ingested is there.
    InvalidInputError
        It cannot be ingested as it is; the message says what is missing.
    ConflictError
        It is of two releases, or of another one than was given; the message names both.
    """
    columns, store = columns or ColumnChoice(), Storage(store_url)
    contents = recognise(
        Input.at(
            source_url,
            sources=open_sources(sources, columns) if sources else None,
            store=store,
            correlations=correlations,
            allow_unpaired=skip_damaged,
            release=release,
            bands=bands,
            columns=columns,
            trust_units=trust_units,
        )
    )
    named = ((fragment.name, fragment.release) for fragment in contents.fragments)
    return IngestPlan(
        contents,
        store,
        max_rows or (CORRELATIONS_MAX_ROWS if correlations else DEFAULT_MAX_ROWS),
        skip_damaged,
        agreed_release(release, named),
        bands,
        trust_units,
        columns,
    )
