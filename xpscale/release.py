"""A data release of Gaia: what it is called, where its files lie, what its columns are named.

A release is described by a small TOML file: ``xpscale/releases`` has those of DR3 and DR4.  A file
of one's own completes or corrects one of them without a change of code; dr4.toml shows how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpscale.bands import Bands
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.local_files import local_path
from xpscale.toml_files import read_toml, require_keys

__all__ = [
    "CREDIT",
    "DR3",
    "PAPER",
    "UNSTATED",
    "ArchiveLayout",
    "Release",
    "find_release",
    "release_of",
    "require_same_release",
]

CREDIT = (
    "This work has made use of data from the European Space Agency (ESA) mission Gaia "
    "(https://www.cosmos.esa.int/gaia), processed by the Gaia Data Processing and Analysis "
    "Consortium (DPAC, https://www.cosmos.esa.int/web/gaia/dpac/consortium)."
)
"""The acknowledgement that Gaia asks of everyone who uses its data."""

PAPER = "Laroche A. & Speagle J. S., 2025, ApJ 979, 5, doi:10.3847/1538-4357/ad9607"
"""The paper of the method."""

FOLDER = Path(__file__).parent / "releases"


@dataclass(frozen=True, slots=True)
class ArchiveLayout:
    """Where the bulk archive of a release keeps its files.

    Parameters
    ----------
    url
        Address of the archive.
    spectra_folder, sources_folder
        Folders of the spectra and of ``gaia_source``.
    spectra_parent
        The folder above that of the spectra on ESA's server; copies may lack it.
    spectra_file, sources_file
        How names of files begin: ``XpContinuousMeanSpectrum`` of
        ``XpContinuousMeanSpectrum_000000-003111.csv.gz``.
    source_table
        The table with positions and G flux, for queries of the archive.
    """

    url: str
    spectra_folder: str
    spectra_parent: str
    spectra_file: str
    sources_folder: str
    sources_file: str
    source_table: str


@dataclass(frozen=True, slots=True)
class Release:
    """A data release.

    Parameters
    ----------
    name
        ``Gaia DR3``; stands before an identifier in a designation: ``Gaia DR3 4295806720``.
    archive
        Where its files lie.
    bands
        Widths of the bands, if all of its spectra have the same.
    reference_epoch
        Julian year of its positions; ``None`` where it is not known.
    columns
        What it calls a column of DR3, where the names differ.
    credit
        The acknowledgement it asks for.
    citation
        Publications to cite.
    """

    name: str
    archive: ArchiveLayout
    bands: Bands | None = None
    reference_epoch: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    credit: str = CREDIT
    citation: tuple[str, ...] = ()

    @property
    def position(self) -> str:
        """Frame and epoch of its positions, for people."""
        epoch = "" if self.reference_epoch is None else f", epoch J{self.reference_epoch}"
        return f"ICRS{epoch}"

    def position_text(self, pixel_positions: bool) -> str:
        """What positions are, for people: frame and epoch, or that identifiers tell them.

        Parameters
        ----------
        pixel_positions
            Whether they are the centres of the pixels in the identifiers.
        """
        centre = "ICRS, centre of the level-12 HEALPix pixel that source_id carries"
        return centre if pixel_positions else self.position

    @property
    def known_bands(self) -> Bands:
        """The bands of all of its spectra.

        Raises
        ------
        InvalidInputError
            If they are not fixed.
        """
        if self.bands is None:
            raise InvalidInputError(
                f"{self.name} does not fix the number of coefficients", "Say so: --bands N_BP,N_RP"
            )
        return self.bands

    def column(self, name: str) -> str:
        """What this release calls a column of DR3."""
        return self.columns.get(name, name)

    def require_bands(self, bands: Bands, where: str) -> None:
        """Refuse spectra whose bands are not those of the release.

        Parameters
        ----------
        bands
            Those that were found.
        where
            What to call the spectra in the message.

        Raises
        ------
        InvalidInputError
            If they differ; the message names both.
        """
        if self.bands is not None and bands != self.bands:
            raise InvalidInputError(
                f"{where} has {bands} coefficients, {self.name} has {self.bands}",
                "Say which release it is: --release dr4, or a TOML file that describes it",
            )

    def __str__(self) -> str:
        return self.name


def find_release(name: str) -> Release:
    """The release of a name or a file.

    Parameters
    ----------
    name
        ``dr3``, ``Gaia DR3``, ``gaiadr3``, or the path of a TOML file.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        No release has this name, or the file does not describe one; the message names the entry.
    """
    if name.endswith(".toml"):
        return _from_file(local_path(name))
    short = re.sub(r"^gaia|[\s_-]", "", name.strip().lower())
    if not (FOLDER / f"{short}.toml").is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))
        raise InvalidInputError(
            f"no release is called {name!r}", f"Known are {known}; or give a TOML file"
        )
    return _from_file(FOLDER / f"{short}.toml")


def _table(path: Path) -> dict[str, Any]:
    table = read_toml(path, example='extends = "dr4"')
    if "extends" not in table:
        return table
    base = table.pop("extends")
    if not isinstance(base, str) or not (FOLDER / f"{base}.toml").is_file():
        raise InvalidInputError(f"{path} extends {base!r}, which is no release", "Use dr3 or dr4")
    return _merged(_table(FOLDER / f"{base}.toml"), table)


def _merged(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in changes.items():
        is_table = isinstance(value, dict) and isinstance(base.get(name), dict)
        base[name] = _merged(base[name], value) if is_table else value
    return base


@lru_cache(maxsize=8)
def _from_file(path: Path) -> Release:
    table, where = _table(path), str(path)
    required = {"name", "archive", "citation"}
    require_keys(table, {each.name for each in fields(Release)}, where, required)
    require_keys(
        table["archive"], {each.name for each in fields(ArchiveLayout)}, f"{where}, [archive]"
    )
    values = dict(table, archive=ArchiveLayout(**table["archive"]))
    values["citation"] = tuple(table["citation"])
    if bands := table.get("bands"):
        try:
            values["bands"] = Bands.from_dict(bands)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInputError(
                f"{where}: bands are {bands}", "Write bands = { n_bp = 55, n_rp = 55 }"
            ) from error
    return Release(**values)


DR3 = find_release("dr3")

UNSTATED = Release("Gaia (release not stated)", DR3.archive)
"""Of spectra that do not say where they come from, and do not have the bands of DR3."""


def release_of(name: str, bands: Bands | None = None) -> Release:
    """The release that data say they are of; DR3 if they say nothing and have its bands.

    Parameters
    ----------
    name
        What a file, store or model says: the name of a release, or nothing.
    bands
        Its bands, where it may say nothing.
    """
    if not name:
        return DR3 if bands == DR3.bands else UNSTATED
    try:
        return find_release(name)
    except (InvalidInputError, NotFoundError):
        return Release(name, DR3.archive)  # described by a file that is not here


def require_same_release(first: str, its: Release, second: str, other: Release) -> None:
    """Refuse to mix two releases.

    Parameters
    ----------
    first, second
        What to call the two in the message.
    its, other
        Their releases.

    Raises
    ------
    ConflictError
        If they differ; the message names both.
    """
    if its.name != other.name:
        raise ConflictError(
            f"{first} is of {its.name}, {second} of {other.name}",
            "Use data and model of one release; --release says which it is where files do not",
        )
