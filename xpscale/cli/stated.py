"""What options of several commands say of an input: release, bands, columns, units."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from xpscale.errors import InvalidInputError

if TYPE_CHECKING:
    from xpscale.bands import Bands
    from xpscale.column_names import ColumnChoice
    from xpscale.release import Release

__all__ = ["Stated", "stated", "with_choice"]


class Stated(TypedDict):
    """Arguments of `xpscale.plan_ingest` and `xpscale.open_spectra`."""

    release: Release | None
    bands: Bands | None
    columns: ColumnChoice | None
    trust_units: bool


def stated(release: str, bands: str, columns: str, trust_units: bool) -> Stated:
    """What options say; ``None`` where they say nothing.

    Parameters
    ----------
    release, bands, columns, trust_units
        The options ``--release``, ``--bands``, ``--columns-map`` and ``--trust-units``.
    """
    from xpscale.bands import Bands
    from xpscale.column_names import read_columns_map
    from xpscale.release import find_release

    return {
        "release": find_release(release) if release else None,
        "bands": Bands.parse(bands) if bands else None,
        "columns": read_columns_map(columns) if columns else None,
        "trust_units": trust_units,
    }


def with_choice(what: Stated, positions: str, companions: str) -> Stated:
    """What two options of ingest add.

    Parameters
    ----------
    what
        From `stated`.
    positions, companions
        The options ``--positions`` and ``--companions``.

    Raises
    ------
    InvalidInputError
        One of them is not known.
    """
    from xpscale.column_names import ColumnChoice

    if positions not in ("", "from-source-id"):
        raise InvalidInputError(
            f"--positions is {positions!r}", "Give from-source-id, or leave it out"
        )
    columns = replace(what["columns"] or ColumnChoice(), pixel_positions=bool(positions))
    if companions != "all":
        names = (name.strip() for name in companions.split(",") if companions != "none")
        columns = replace(columns, companions=tuple(names))
    return {**what, "columns": columns}
