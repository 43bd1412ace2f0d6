"""Queries to start with: the service's examples, and those of its page."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["Example", "examples", "examples_page"]


@dataclass(frozen=True, slots=True)
class Example:
    """A query with its purpose.

    Parameters
    ----------
    name
        A word for addresses.
    title
        What it finds.
    query
        ADQL.
    """

    name: str
    title: str
    query: str


CROSSMATCH = Example(
    "crossmatch",
    "Sources within an arcsecond of the rows of a table that you upload as mine",
    "SELECT m.*, l.source_id,\n"
    "DISTANCE(POINT('ICRS', l.ra, l.dec), POINT('ICRS', m.ra, m.dec))*3600 AS separation\n"
    "FROM TAP_UPLOAD.mine AS m JOIN latents AS l\n"
    "ON 1 = CONTAINS(POINT('ICRS', l.ra, l.dec), CIRCLE('ICRS', m.ra, m.dec, 1/3600.))",
)


def examples(
    ra: float, dec: float, *, has_spectra: bool, has_labels: bool = False
) -> tuple[Example, ...]:
    """Queries that find something in a catalogue.

    Parameters
    ----------
    ra, dec
        A place with sources, degrees.
    has_spectra
        Whether there is a table of spectra.
    has_labels
        Whether there is one of labels.
    """
    cone = f"1 = CONTAINS(POINT('ICRS', l.ra, l.dec), CIRCLE('ICRS', {ra:.4f}, {dec:.4f}, 0.5))"
    found = (
        Example(
            "cone", "Sources within half a degree", f"SELECT * FROM latents AS l\nWHERE {cone}"
        ),
        Example(
            "best",
            "The ten brightest sources that the model knows well",
            "SELECT TOP 10 source_id, ra, dec, phot_g_mean_flux FROM latents\n"
            "WHERE flags = 0\nORDER BY phot_g_mean_flux DESC",
        ),
        Example(
            "density",
            "Sources in each HEALPix pixel of level 4",
            "SELECT pixel, COUNT(*) AS n\n"
            "FROM (SELECT source_id/2251799813685248 AS pixel FROM latents) AS p\n"
            "GROUP BY pixel",
        ),
        Example(
            "polygon",
            "Median latent in a polygon, by quality",
            "SELECT flags, COUNT(*) AS n, MEDIAN(latent_mean_0) AS latent FROM latents\n"
            f"WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), BOX('ICRS', {ra:.4f}, {dec:.4f}, 1, 1))\n"
            "GROUP BY flags",
        ),
    )
    more = (*[_spectra(cone)] * has_spectra, *[_labels(cone)] * has_labels)
    return (*found, *more, CROSSMATCH)


def _spectra(cone: str) -> Example:
    return Example(
        "spectra",
        "Reconstructed spectra of sources within half a degree",
        "SELECT l.source_id, l.flags, s.reconstruction, s.scatter\n"
        f"FROM latents AS l JOIN spectra AS s USING (source_id)\nWHERE {cone}",
    )


def _labels(cone: str) -> Example:
    return Example(
        "labels",
        "Labels of sources within half a degree",
        "SELECT t.*, l.flags\n"
        f"FROM latents AS l JOIN labels AS t ON l.source_id = t.source_id\nWHERE {cone}",
    )


def examples_page(known: tuple[Example, ...]) -> str:
    """The examples as DALI wants them, XHTML with RDFa.

    Parameters
    ----------
    known
        From `examples`.
    """
    each = "".join(
        f'<div id="{example.name}" resource="#{example.name}" typeof="example">\n'
        f'<h2 property="name">{escape(example.title)}</h2>\n'
        f'<pre property="query">{escape(example.query)}</pre>\n</div>\n'
        for example in known
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<html xmlns="http://www.w3.org/1999/xhtml">\n'
        "<head><title>Examples</title></head>\n"
        f'<body vocab="http://www.ivoa.net/rdf/examples#">\n{each}</body>\n</html>\n'
    )
