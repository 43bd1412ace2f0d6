"""Some rows and columns of a catalogue, described first and read when asked for.

A selection is a value: every method that narrows it returns a new one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog_rows import CatalogRows
from xpscale.query.engine import ARRAYS, connected, no_rows
from xpscale.query.frames import Result
from xpscale.query.identifiers import read_ids
from xpscale.query.region import Cone, Region, cone_of
from xpscale.query.version import CatalogVersion
from xpscale.schema import Column

__all__ = ["Narrowing", "Selection"]


class Narrowing(ABC):
    """What a catalogue and a selection can be asked for."""

    @abstractmethod
    def select(self) -> Selection:
        """All rows, to be narrowed."""

    def inside(self, region: Region) -> Selection:
        """Only sources in a region.

        Parameters
        ----------
        region
            Of `xpscale.query.region`, `xpscale.query.box_polygon` or `xpscale.query.pixel_region`.
        """
        chosen = self.select()
        return replace(chosen, regions=(*chosen.regions, region))

    def cone(
        self, ra: Any, dec: Any = None, radius_deg: Any = None, *, radius: Any = None
    ) -> Selection:
        """Only sources within a distance of a point.

        ``cone(56.75, 24.12, 1.0)``, ``cone(SkyCoord(...), 10 * u.arcmin)``,
        ``cone("05:34:31.9 +22:00:52", radius="10 arcmin")``.

        Parameters
        ----------
        ra, dec
            The point, ICRS: numbers in degrees, quantities or text, which may be sexagesimal (a
            right ascension then is in hours).  Or ``ra`` alone is the whole position, a
            ``SkyCoord`` or text.
        radius_deg, radius
            The largest distance: a number in degrees, a quantity or text; more than 0, at most 180
            degrees.

        Raises
        ------
        InvalidInputError
            If one is no angle, or out of its range.
        """
        return self.inside(cone_of(ra, dec, radius_deg, radius=radius))

    def box(self, ra: Sequence[Any], dec: Sequence[Any]) -> Selection:
        """Only sources between two meridians and two parallels.

        Parameters
        ----------
        ra, dec
            Pairs of angles, as of `cone`; ``ra=(350, 10)`` goes across 0.

        Raises
        ------
        InvalidInputError
            If one is no pair of angles, or the box is empty.
        """
        from xpscale.query.box_polygon import box_of

        return self.inside(box_of(ra, dec))

    def polygon(self, corners: Any) -> Selection:
        """Only sources inside a polygon of great circles.

        Parameters
        ----------
        corners
            A ``SkyCoord``, pairs of ra and dec, or text: ``"10 20, 12 20, 11 22"``.

        Raises
        ------
        InvalidInputError
            If they are no polygon, or it is wider than a hemisphere.
        """
        from xpscale.query.box_polygon import polygon_of

        return self.inside(polygon_of(corners))

    def moc(self, moc: Any) -> Selection:
        """Only sources in a MOC.

        Parameters
        ----------
        moc
            A ``mocpy.MOC``, or the path of a FITS, JSON or ASCII file.

        Raises
        ------
        PermanentError
            mocpy is not installed.
        NotFoundError, InvalidInputError
            There is no such file, or it is no MOC of space.
        """
        from xpscale.query.pixel_region import moc_cells

        return self.inside(moc_cells(moc))

    def pixel(self, order: int, numbers: int | Iterable[int]) -> Selection:
        """Only sources in some HEALPix pixels.

        Parameters
        ----------
        order
            HEALPix order, 0 to 29.
        numbers
            Pixel number or numbers, NESTED.

        Raises
        ------
        InvalidInputError
            If there is no such pixel.
        """
        from xpscale.query.pixel_region import pixel_cells

        return self.inside(pixel_cells(order, numbers))

    def at(self, source_ids: Any) -> Selection:
        """Only sources with these Gaia identifiers; rows come in the order given, repeats once.
        What is not here is in `Selection.missing`.

        Parameters
        ----------
        source_ids
            In any form, see `xpscale.query.identifiers.read_ids`.
        """
        chosen = self.select()
        unique = read_ids(source_ids, chosen.catalog.release)
        if chosen.source_ids is not None:
            unique = chosen.source_ids[np.isin(chosen.source_ids, unique)]
        return replace(chosen, source_ids=unique)

    def where(self, condition: str) -> Selection:
        """Only rows that satisfy a condition in SQL, such as ``"reduced_chi2 < 1.5"``."""
        chosen = self.select()
        known = [*chosen.catalog.known_columns.values()]
        try:
            parsed, needs_labels = _parsed(condition, chosen.catalog, known), chosen.needs_labels
        except InvalidInputError:
            if not (labels := chosen.catalog.label_columns.values()):
                raise
            parsed, needs_labels = _parsed(condition, chosen.catalog, [*known, *labels]), True
        conditions = (*chosen.conditions, parsed)
        return replace(chosen, conditions=conditions, needs_labels=needs_labels)

    def with_spectra(self) -> Selection:
        """With those of the arrays ``reconstruction`` and ``scatter`` that the catalogue holds."""
        chosen = self.select()
        held = tuple(name for name in ARRAYS if name in chosen.catalog.known_columns)
        return chosen.columns(*chosen.column_names, *(held or ARRAYS))

    def with_labels(self) -> Selection:
        """With the labels that are published in the catalogue; see `xpscale.publish_labels`.

        Raises
        ------
        NotFoundError
            There are none.
        """
        chosen = self.select()
        if not (labels := chosen.catalog.label_columns):
            raise NotFoundError(
                f"no labels are published in {chosen.catalog.storage.url}",
                "Fit and publish some: xpscale labels fit, xpscale labels apply --publish",
            )
        return chosen.columns(*chosen.column_names, *labels)

    def crossmatch(
        self,
        table: Any,
        radius: Any = None,
        *,
        find: str = "best",
        unmatched: bool = False,
        ra: str = "",
        dec: str = "",
        source_id: str = "",
        track: Callable[[Sequence[Any]], Iterable[Any]] | None = None,
    ) -> Result:
        """The rows of a table of the user's with what the catalogue has of them; see
        `xpscale.query.crossmatch.crossmatch`.

        Parameters
        ----------
        table, radius, find, unmatched, ra, dec, source_id, track
            As there.
        """
        from xpscale.query.crossmatch import crossmatch

        columns = {"ra": ra, "dec": dec, "source_id": source_id}
        return crossmatch(
            self.select(), table, radius, columns, find=find, unmatched=unmatched, track=track
        )

    def like(
        self, source_id: Any, n: int = 100, progress: Callable[[int], object] | None = None
    ) -> Result:
        """The sources nearest in latent space to one of them, itself among them.

        Parameters
        ----------
        source_id
            Gaia identifier of the one, anywhere in the catalogue.
        n
            How many.
        progress
            Called with the number of sources compared, after each piece.

        Returns
        -------
        Result
            With the column ``latent_distance``, in its order; see `xpscale.query.likeness`.
        """
        from xpscale.query.likeness import like

        return like(self.select(), source_id, n, progress)

    def outliers(self, n: int = 100) -> Result:
        """The sources that the model knows least, by ``in_distribution_score``.

        Parameters
        ----------
        n
            How many.
        """
        from xpscale.query.likeness import outliers

        return outliers(self.select(), n)


def _parsed(condition: str, catalog: CatalogVersion, known: list[Column]) -> str:
    """One expression in SQL of these columns, without comments."""
    import duckdb

    what = f"in the condition {condition!r}"
    remedy = 'Write it in SQL, such as "reduced_chi2 < 1.5 AND flags = 0"; to sort, use .sql'
    with connected(catalog, (), what, remedy) as connection:
        parsed = str(duckdb.SQLExpression(condition))
        connection.sql(f"SELECT 1 FROM {no_rows(known)} WHERE {parsed}").fetchall()
    return parsed


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Narrowing, CatalogRows):
    """Rows of a catalogue, narrowed step by step; its values are those of `CatalogRows`."""

    def select(self) -> Selection:
        """The selection itself."""
        return self

    def lsdb(self) -> Any:
        """The cones and columns of the selection as a lazy lsdb catalogue; see `Catalog.lsdb`."""
        if self.source_ids is not None or self.conditions or self.most is not None:
            raise InvalidInputError(
                "lsdb takes neither SQL conditions nor source_ids nor a limit from here",
                "Open cones with .lsdb() and go on with lsdb's own .query(...) and .id_search(...)",
            )
        held = {column.name for column in self.catalog.product_columns("latents")}
        if not held.issuperset(self.names):
            raise InvalidInputError(
                f"lsdb opens latents, without {min({*self.names} - held)!r}",
                "Open the extension with lsdb.open_catalog(URL/spectra) or URL/labels, and join",
            )
        found = self.catalog.lsdb(columns=list(self.names) or None)
        for region in self.regions:
            if not isinstance(region, Cone):
                raise InvalidInputError(
                    f"lsdb does not take {region} from here", "Use lsdb's own searches"
                )
            found = found.cone_search(
                ra=region.ra, dec=region.dec, radius_arcsec=region.radius_deg * 3600
            )
        return found
