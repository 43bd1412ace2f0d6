"""The first stage of an ingest: read a fragment, check its rows, and stage the good ones."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, XpscaleError
from xpscale.ingest.parsers import Fragment, FragmentRows, Parser
from xpscale.ingest.staged import write_correlations, write_rows
from xpscale.release import DR3, Release
from xpscale.row_rules import judge
from xpscale.runtime.attempt import is_of_input
from xpscale.safe_text import without_secrets
from xpscale.sky import ARCHIVE_ORDER, INDEX_ORDER, source_id_pixel
from xpscale.spectra import SpectraBatch
from xpscale.stated_release import agreed_release
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
    skip_damaged
        Whether a group of fragments is staged without those that are damaged.
    """

    store: Storage
    parser: Parser
    release: Release | None = None
    bands: Bands | None = None
    trust_units: bool = False
    skip_damaged: bool = False

    def __call__(self, fragment: Fragment) -> TaskReport:
        """Stage one fragment; a damaged one is refused before anything is written."""
        clock = time.perf_counter()
        read, unread = self._read(fragment)
        read_s = time.perf_counter() - clock
        if not read:
            details = {"name": fragment.name, "n_movers": 0, "unread": unread}
            return TaskReport(fragment.key, TaskStatus.EMPTY, read_s=read_s, details=details)
        rows, is_wide = self._joined(read)
        report = stage_rows(self.store, fragment.key, fragment.name, rows, is_wide=is_wide)
        write_s = time.perf_counter() - clock - read_s
        more = {
            "release": rows.release,
            "unread": unread,
            "rejected_in": _rejected(read) if fragment.parts and report.n_rejected else {},
        }
        details = {**report.details, **{name: value for name, value in more.items() if value}}
        return replace(report, read_s=read_s, write_s=write_s, details=details)

    def _read(self, fragment: Fragment) -> tuple[dict[str, FragmentRows], list[dict[str, str]]]:
        """The rows of the parts of a fragment by their names; and those that are damaged."""
        read, unread = {}, []
        for part in fragment.parts or (fragment,):
            try:
                rows = self.parser.read(part)
                self._check_bands(rows.batch, part.name)
                if not self.trust_units:
                    check_units(rows.batch, part.name)
            except XpscaleError as error:
                if not (fragment.parts and self.skip_damaged and is_of_input(error)):
                    raise
                unread.append({"name": part.name, "reason": without_secrets(str(error))})
            else:
                read[part.name] = rows
        return read, unread

    def _joined(self, read: Mapping[str, FragmentRows]) -> tuple[FragmentRows, bool]:
        """The rows of all parts; and whether their bands have their full width."""
        batches = (rows.batch for rows in read.values())
        whole = (batch.bands for batch in batches if not _lacks_a_band(batch))
        known = self.bands or next(whole, None) or (self.release or DR3).bands
        parts = [_widened(rows, known) for rows in read.values()]
        bands = [part.batch.bands for part in parts]
        for name, its in zip(read, bands, strict=True):
            if its != bands[0]:
                raise ConflictError(  # not set aside: the others of the group are not damaged
                    f"{name} has {its} coefficients, {next(iter(read))} has {bands[0]}",
                    "Ingest releases of different bases into different stores",
                )
        release = agreed_release(None, ((name, rows.release) for name, rows in read.items()))
        joined = FragmentRows.concatenate(parts, release.name if release else "")
        return joined, bands[0] == known

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


def _widened(rows: FragmentRows, bands: Bands | None) -> FragmentRows:
    """The same rows with all coefficients of a band that none of them has."""
    batch = rows.batch
    if bands is None or bands == batch.bands or len(batch) == 0:
        return rows
    missing = [lacks.all() for lacks in batch.missing_bands().values()]
    columns = ((batch.bands.bp, bands.bp), (batch.bands.rp, bands.rp))
    values = np.full((2, len(batch), bands.n_coefficients), np.nan, np.float32)
    for is_missing, (old, new) in zip(missing, columns, strict=True):
        if is_missing:
            continue
        if old.stop - old.start != new.stop - new.start:
            return rows  # of other bands: refused elsewhere
        values[0][:, new] = batch.coefficients[:, old]
        if batch.coefficient_errors is not None:
            values[1][:, new] = batch.coefficient_errors[:, old]
    errors = None if batch.coefficient_errors is None else values[1]
    wide = replace(batch, coefficients=values[0], coefficient_errors=errors, bands=bands)
    if rows.correlations is None:
        return replace(rows, batch=wide)
    bp, rp = (
        np.full((len(batch), width), np.nan, np.float32) if is_missing else its
        for its, width, is_missing in zip(
            rows.correlations, bands.n_correlations, missing, strict=True
        )
    )
    return replace(rows, batch=wide, correlations=(bp, rp))


def _lacks_a_band(batch: SpectraBatch) -> bool:
    """Whether none of its rows has BP, or none RP."""
    return any(lacks.all() for lacks in batch.missing_bands().values())


def _rejected(read: Mapping[str, FragmentRows]) -> dict[str, dict[str, int]]:
    """Rows rejected by reason, of each part that has some; those that repeat a source of another
    part are not among them.
    """
    judged = {name: judge(rows.batch, rows.faults, whole=False)[1] for name, rows in read.items()}
    return {name: rejected for name, rejected in judged.items() if rejected}


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
    keep, rejected = judge(batch, faults, whole=_lacks_a_band(batch) and not is_wide)
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
