"""Defects of a synthetic archive: which there are, and how sources are damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tests.support.archive_text import SourceRows
from xpscale.errors import InvalidInputError
from xpscale.spectra import SpectraBatch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REJECTED_AS", "Defects", "FileRows", "Planter"]

REJECTED_AS = {
    "missing_position": "no_position",
    "missing_source": "no_gaia_source",
    "missing_flux": "no_g_flux",
    "duplicate": "duplicate_source_id",
    "duplicate_across": "duplicate_source_id",
}
"""What ingest calls the reason to leave a row out, by defect; rows with others are kept."""


@dataclass(frozen=True, slots=True)
class Defects:
    """What to damage. Numbers count sources, each damaged in one way; booleans damage a whole file.

    Parameters
    ----------
    missing_bp, missing_rp
        The band's columns are ``null``.
    missing_position
        ``ra`` is ``null``.
    missing_source
        GaiaSource lacks the row.
    missing_flux
        ``phot_g_mean_flux`` is ``null``.
    bad_coefficient
        One coefficient is ``NaN``.
    not_finite
        One coefficient error is ``NaN``.
    not_positive
        One coefficient error is zero or negative.
    duplicate
        The spectrum is twice in its file.
    duplicate_across
        The spectrum and its source row are in the next file, too.
    truncated_file
        A spectrum file ends after two thirds of its bytes.
    wrong_md5
        A spectrum file differs from its MD5 sum.
    missing_source_file
        A spectrum file has no GaiaSource file.
    foreign_file
        A spectrum file holds another table.
    """

    missing_bp: int = 0
    missing_rp: int = 0
    missing_position: int = 0
    missing_source: int = 0
    missing_flux: int = 0
    bad_coefficient: int = 0
    not_finite: int = 0
    not_positive: int = 0
    duplicate: int = 0
    duplicate_across: int = 0
    truncated_file: bool = False
    wrong_md5: bool = False
    missing_source_file: bool = False
    foreign_file: bool = False

    @property
    def of_rows(self) -> dict[str, int]:
        """Number of sources by defect."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if not isinstance(value, bool)}

    @property
    def of_files(self) -> list[str]:
        """Names of the wanted defects of whole files."""
        return [f.name for f in fields(self) if getattr(self, f.name) is True]


@dataclass(slots=True, eq=False)
class FileRows:
    """Rows of one file before they become text; ``no_band`` (N, 2) marks rows without BP, without
    RP.
    """

    first: int
    last: int
    spectra: SpectraBatch
    sources: SourceRows
    no_band: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.no_band = np.zeros((len(self.spectra), 2), bool)

    @property
    def range(self) -> str:
        """``000000-003111``: the inclusive level-8 range, as in the file's name."""
        return f"{self.first:06d}-{self.last:06d}"


class Planter:
    """Spoils sources, spread over the undamaged files."""

    def __init__(self, defects: Defects, n_sound: int) -> None:
        self.left = defects.of_rows
        self.n_sound = n_sound
        self.planted: dict[str, tuple[int, ...]] = {
            name: () for name, number in self.left.items() if number
        }
        self.carried: tuple[SpectraBatch, SourceRows] | None = None

    def spoil(self, file: FileRows) -> None:
        """Plant this file's share of every defect."""
        carried, self.carried = self.carried, None
        free = iter(np.random.default_rng(file.first).permutation(len(file.spectra)))
        chosen: dict[str, NDArray[np.int64]] = {}
        for name, number in self.left.items():
            if name == "duplicate_across" and self.n_sound == 1:
                continue  # no file comes after this one
            rounds = self.n_sound - (name == "duplicate_across")
            rows = sorted(islice(free, -(-number // rounds)))
            chosen[name] = np.array(rows, np.int64)
            self.left[name] -= len(rows)
            if rows:
                self.planted[name] += tuple(file.spectra.source_id[chosen[name]].tolist())
        self.n_sound -= 1
        _spoil_values(file, chosen)
        again = chosen.get("duplicate_across", np.empty(0, np.int64))
        if len(again):
            batch = file.spectra.take(again)
            self.carried = (
                batch,
                file.sources.take(np.isin(file.sources.source_id, batch.source_id)),
            )
        file.spectra = SpectraBatch.concatenate(
            [file.spectra, file.spectra.take(chosen["duplicate"])]
        )
        file.no_band = np.vstack([file.no_band, file.no_band[chosen["duplicate"]]])
        if carried:
            file.spectra = SpectraBatch.concatenate([file.spectra, carried[0]])
            file.sources = SourceRows.concatenate([file.sources, carried[1]]).sorted()
            file.no_band = np.vstack([file.no_band, np.zeros((len(carried[0]), 2), bool)])

    def done(self) -> dict[str, tuple[int, ...]]:
        """What was planted, if all was."""
        left = {name: number for name, number in self.left.items() if number}
        if left:
            raise InvalidInputError(
                f"the universe is too small for the defects {left}", "Use more sources or files"
            )
        return self.planted


def _spoil_values(file: FileRows, chosen: Mapping[str, NDArray[np.int64]]) -> None:
    errors = file.spectra.coefficient_errors
    assert errors is not None  # a universe's spectra have errors
    row = chosen["not_finite"]
    errors[row, row % errors.shape[1]] = np.nan
    row = chosen["not_positive"]
    errors[row, row % errors.shape[1]] = -1 * (row % 2)
    row = chosen["bad_coefficient"]
    file.spectra.coefficients[row, row % errors.shape[1]] = np.nan
    for band, name in enumerate(("missing_bp", "missing_rp")):
        file.no_band[chosen[name], band] = True
    sources = file.sources
    sources.ra[np.isin(sources.source_id, file.spectra.source_id[chosen["missing_position"]])] = (
        np.nan
    )
    lost = np.isin(sources.source_id, file.spectra.source_id[chosen["missing_flux"]])
    sources.phot_g_mean_flux[lost] = np.nan
    file.sources = sources.take(
        ~np.isin(sources.source_id, file.spectra.source_id[chosen["missing_source"]])
    )
