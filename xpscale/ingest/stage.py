"""The first stage of an ingest: read a fragment, check its rows, and stage the good ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import InvalidInputError
from xpscale.ingest.parsers import Fragment, FragmentRows, Parser
from xpscale.ingest.staged import write_correlations, write_rows
from xpscale.release import DR3, Release
from xpscale.row_rules import judge
from xpscale.sky import ARCHIVE_ORDER, INDEX_ORDER, source_id_pixel
from xpscale.spectra import SpectraBatch
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus
from xpscale.units import check_units

__all__ = ["StageFragment", "stage_rows"]


@dataclass(frozen=True)
class StageFragment:
    """Reads a fragment and stages its rows.

    Parameters
    ----------
    store
        The store being made.
    parser
        Reads the fragment.
    release, bands
        What the rows must be of, as far as it is known.
    trust_units
        Whether to take the values for what they are, whatever their sizes.
    """

    store: Storage
    parser: Parser
    release: Release | None = None
    bands: Bands | None = None
    trust_units: bool = False

    def __call__(self, fragment: Fragment) -> TaskReport:
        """Stage one fragment; a damaged one is refused before anything is written."""
        clock = time.perf_counter()
        rows = self.parser.read(fragment)
        read_s = time.perf_counter() - clock
        self._check_bands(rows.batch, fragment.name)
        if not self.trust_units:
            check_units(rows.batch, fragment.name)
        known = self.bands or (self.release or DR3).bands
        batch = _widened(rows.batch, known)
        rows, is_wide = replace(rows, batch=batch), batch.bands == known
        report = stage_rows(self.store, fragment.key, fragment.name, rows, is_wide=is_wide)
        details = {**report.details, **({"release": rows.release} if rows.release else {})}
        write_s = time.perf_counter() - clock - read_s
        return replace(report, read_s=read_s, write_s=write_s, details=details)

    def _check_bands(self, batch: SpectraBatch, name: str) -> None:
        missing = list(batch.missing_bands().values())
        if np.logical_or.reduce(missing).all():
            return  # the width of a band that no row has is not known
        if self.bands not in (None, batch.bands):
            raise InvalidInputError(
                f"{name} has {batch.bands} coefficients, not {self.bands}", "Correct --bands"
            )
        if self.release is not None:
            self.release.require_bands(batch.bands, name)


def _widened(batch: SpectraBatch, bands: Bands | None) -> SpectraBatch:
    """The same rows with all coefficients of a band that none of them has."""
    if bands is None or bands == batch.bands or len(batch) == 0:
        return batch
    missing = [lacks.all() for lacks in batch.missing_bands().values()]
    columns = ((batch.bands.bp, bands.bp), (batch.bands.rp, bands.rp))
    values = np.full((2, len(batch), bands.n_coefficients), np.nan, np.float32)
    for is_missing, (old, new) in zip(missing, columns, strict=True):
        if is_missing:
            continue
        if old.stop - old.start != new.stop - new.start:
            return batch  # of other bands: refused elsewhere
        values[0][:, new] = batch.coefficients[:, old]
        if batch.coefficient_errors is not None:
            values[1][:, new] = batch.coefficient_errors[:, old]
    errors = None if batch.coefficient_errors is None else values[1]
    return replace(batch, coefficients=values[0], coefficient_errors=errors, bands=bands)


def stage_rows(
    store: Storage, key: str, name: str, rows: FragmentRows, *, is_wide: bool = False
) -> TaskReport:
    """Sort out rows and stage the good ones.

    Parameters
    ----------
    store
        The store being made.
    key, name
        Task key, and what to call the rows' origin in reports.
    rows
        The rows as read.
    is_wide
        Whether bands have their full width, also where no row has a band.
    """
    batch, correlations = rows.batch, rows.correlations
    faults = dict(rows.faults)
    if correlations is not None:
        faults["bad_correlations"] = ~np.logical_and.reduce(
            [np.isfinite(band).all(1) for band in correlations]
        )
    # the width of a band that no row has is not known: such rows cannot be stored
    lacks_a_band = any(lacks.all() for lacks in batch.missing_bands().values())
    keep, rejected = judge(batch, faults, whole=lacks_a_band and not is_wide)
    accepted = batch if keep.all() else batch.take(keep)
    details = {"name": name, "n_movers": 0}
    if len(accepted):
        index = write_rows(store, key, accepted)
        if correlations is not None:
            order = np.lexsort((accepted.source_id, index))
            write_correlations(store, key, correlations, np.flatnonzero(keep)[order])
        position_pixel = index >> 2 * (INDEX_ORDER - ARCHIVE_ORDER)
        id_pixel = source_id_pixel(accepted.source_id, ARCHIVE_ORDER)
        details["n_movers"] = int((position_pixel != id_pixel).sum())
    status = TaskStatus.WRITTEN if len(accepted) else TaskStatus.EMPTY
    return TaskReport(
        key, status, n_in=len(batch), n_out=len(accepted), n_rejected=rejected, details=details
    )
