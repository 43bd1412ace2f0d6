"""What the columns of somebody else's table are called: by us, by a release, by the user."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from xpscale.companions import COMPANIONS, checked_companions
from xpscale.errors import InvalidInputError
from xpscale.release import DR3, Release
from xpscale.toml_files import read_toml, require_keys

__all__ = [
    "COEFFICIENTS",
    "G_BAND",
    "N_PARAMETERS",
    "SOURCE_IDS",
    "ColumnChoice",
    "candidates",
    "known_columns",
    "lacking_source_columns",
    "read_columns_map",
    "require_mean_spectra",
]

SOURCE_IDS = ("source_id", "gaia_source_id", "gaia_dr3_source_id", "object_id")
"""Names of the identifier, in the order in which they are looked for."""

G_BAND = ("phot_g_mean_flux", "phot_g_mean_mag")
N_PARAMETERS = ("bp_n_parameters", "rp_n_parameters")
COEFFICIENTS = tuple(
    f"{band}{kind}"
    for band in ("bp_", "rp_", "")
    for kind in ("coefficients", "coefficient_errors")
)
_OF_SOURCES = tuple(dict.fromkeys(("source_id", "ra", "dec", *G_BAND, *COMPANIONS)))

_LIKE = {
    "source_id": re.compile(r"id$|source|object|designation"),
    "ra": re.compile(r"ra|lon|alpha"),
    "dec": re.compile(r"de|lat"),
    "phot_g_mean_flux": re.compile(r"flux|mag|phot|(^|_)g"),
    "coefficients": re.compile(r"coef|spec|xp|bp|rp"),
}
"""What a column may look like that is meant for one of ours."""
MAX_SHOWN = 12

TRANSITS = ("transit_id", "transitid")
"""Columns of epoch spectra only."""


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """What the user says of columns.  What they are called, a TOML file tells::

        source_id = "object_id"
        coefficients = "spectral_coefficients.coeff"
        coefficient_errors = "spectral_coefficients.coeff_error"
        phot_g_mean_flux = "photometry.flux_g"

        [sources]            # the same for the table of --sources
        source_id = "gaia.id"

    Parameters
    ----------
    spectra
        The column of the spectra's tables by its name in DR3.
    sources
        The same for the table of sources.
    companions
        Which of `xpscale.companions.COMPANIONS` come along, where they are there.
    pixel_positions
        Whether each source is placed at the centre of the level-12 pixel that its identifier
        carries; else by ``ra`` and ``dec``.
    """

    spectra: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    companions: tuple[str, ...] = tuple(COMPANIONS)
    pixel_positions: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "companions", checked_companions(self.companions))

    @property
    def of_sources(self) -> ColumnChoice:
        """The same for the columns of the table of sources."""
        return replace(self, spectra=self.sources)


def read_columns_map(path: str) -> ColumnChoice:
    """The file of ``--columns-map``.

    Raises
    ------
    NotFoundError
        There is no such file.
    InvalidInputError
        It is no TOML, or an entry is not known or does not name a column.
    """
    table = read_toml(path, example='source_id = "object_id"')
    sources = table.pop("sources", {})
    require_keys(table, (*_OF_SOURCES, *COEFFICIENTS, *N_PARAMETERS), path, ())
    require_keys(sources, _OF_SOURCES, f"{path}, [sources]", ())
    for name, column in (*table.items(), *sources.items()):
        if not isinstance(column, str) or not column:
            raise InvalidInputError(
                f"{path}: {name} is {column!r}", f'Write {name} = "column", or "struct.field"'
            )
    return ColumnChoice(table, sources)


def known_columns(
    names: Iterable[str], where: str, release: Release, stated: Mapping[str, str]
) -> dict[str, str]:
    """Columns by what DR3 calls them, in small letters.

    Parameters
    ----------
    names
        The table's columns; of structs the paths of their fields, ``photometry.ra``.  A field is
        known by its own name, too, where no column and no other field has that.
    where
        What to call the table in errors.
    release
        The release that may have other names for columns.
    stated
        What the user says they are called, by the name in DR3: it goes before all else.

    Raises
    ------
    InvalidInputError
        Two columns have one name, or one that the user names is not there.
    """
    columns = list(names)
    found = {name: _stated(column, name, columns, where) for name, column in stated.items()}
    taken, settled = set(found.values()), set(found)
    dr3_names = {its.lower(): name.lower() for name, its in release.columns.items()}
    fields = [name for name in columns if "." in name and name not in taken]
    for name in columns:
        known = dr3_names.get(name.lower(), name.lower())
        if name in taken or "." in name or known in settled:
            continue
        if known in found:
            raise InvalidInputError(
                f"{where} has the columns {found[known]} and {name}", "Remove one of them"
            )
        found[known] = name
    own_names = [name.lower().rpartition(".")[2] for name in fields]
    n_of = Counter(own_names)
    for name, own in zip(fields, own_names, strict=True):
        found[name.lower()] = name
        if n_of[own] == 1:
            found.setdefault(dr3_names.get(own, own), name)
    return found


def _stated(column: str, name: str, columns: list[str], where: str) -> str:
    """The column that the user means, in any case of letters."""
    same = [each for each in columns if each.lower() == column.lower()]
    if column in same:
        return column
    if not same:
        raise InvalidInputError(
            f"{where} has no column {column}, said to be its {name}; {candidates(columns, [name])}",
            "Correct the file of --columns-map",
        )
    return same[0]


def require_mean_spectra(names: Iterable[str], where: str) -> None:
    """Refuse epoch spectra: which row of a source is meant nobody can tell.

    Parameters
    ----------
    names
        Columns of a table of spectra, and paths of fields of structs.
    where
        What to call the table in errors.

    Raises
    ------
    InvalidInputError
        A column tells transits apart.
    """
    transit = next((name for name in names if name.lower().rpartition(".")[2] in TRANSITS), "")
    if transit:
        raise InvalidInputError(
            f"{where} holds epoch spectra: several rows a source, told apart by {transit}",
            "Give mean spectra, one row a source; or keep one transit of each and drop that column",
        )


def candidates(columns: Iterable[str], wanted: Iterable[str]) -> str:
    """The columns that may be meant; if none looks like it, the first ones.

    Parameters
    ----------
    columns
        All columns of a table.
    wanted
        What was not found, by the names of DR3.

    >>> candidates(["id", "xp.c", "xp.e"], ["coefficients"])
    'candidates are xp.c, xp.e'
    """
    every = list(dict.fromkeys(columns))
    unlike = {name: "coefficients" if name in COEFFICIENTS else G_BAND[0] for name in wanted}
    forms = [_LIKE.get(name, _LIKE[kind]) for name, kind in unlike.items()]
    like = [name for name in every if any(form.search(name.lower()) for form in forms)]
    shown = like or every
    text = ", ".join(shown[:MAX_SHOWN]) + " ..." * (len(shown) > MAX_SHOWN)
    return f"{'candidates' if like else 'its columns'} are {text}"


def lacking_source_columns(
    names: Iterable[str],
    where: str,
    release: Release = DR3,
    choice: ColumnChoice | None = None,
) -> str:
    """What a table lacks that `xpscale.columns.find_source_columns` needs, and what may be meant.

    Parameters
    ----------
    names, where, release, choice
        As of `xpscale.columns.find_source_columns`.
    """
    choice = choice or ColumnChoice()
    known = known_columns(names, where, release, choice.spectra)
    position = {} if choice.pixel_positions else {"ra": ("ra",), "dec": ("dec",)}
    wanted = {"source_id": SOURCE_IDS, **position, G_BAND[0]: G_BAND}
    lacking = [name for name, any_of in wanted.items() if not {*any_of} & {*known}]
    words = [" or ".join(G_BAND) if name == G_BAND[0] else name for name in lacking]
    return f"{where} lacks {', '.join(words)}; {candidates(known.values(), lacking)}"
