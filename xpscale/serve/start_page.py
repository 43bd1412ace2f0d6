"""The page that people see when they open the service in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from xpscale.serve.examples import CROSSMATCH, Example

if TYPE_CHECKING:
    from xpscale.query.version import CatalogVersion

__all__ = ["start_page"]

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
pre { overflow-x: auto; padding: .7rem; border: 1px solid gray; }
textarea { width: 100%; box-sizing: border-box; font: 14px/1.4 ui-monospace, monospace; }
"""


def start_page(version: CatalogVersion, url: str, examples: tuple[Example, ...], site: str) -> str:
    """The page as HTML; it works without scripts.

    Parameters
    ----------
    version
        The catalogue.
    url
        The address of the service, with a stroke at its end.
    examples
        Queries to show.
    site
        Path of the site with maps, empty for none.
    """
    address = escape(url, {'"': "&quot;"})
    link = f'<p><a href="{site.lstrip("/")}/">Maps, latents, spectra of single stars</a></p>'
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Latents of {escape(str(version.release))} XP spectra</title><style>{STYLE}</style></head>
<body><main>
<h1>Latents of {escape(str(version.release))} XP spectra</h1>
<p>{version.n_rows:,} sources under a scatter variational autoencoder (model
{escape(version.model_id[:12])}, snapshot {version.snapshot.number}). Tables:
<a href="tap/tables">{", ".join(version.tables)}</a>. This is a service of the Virtual Observatory:
programs ask it for rows. Credit: Gaia data: ESA/Gaia/DPAC.</p>
{link if site else ""}
<h2>Ask here</h2>
<form action="tap/sync" method="post">
<input type="hidden" name="LANG" value="ADQL">
<input type="hidden" name="RESPONSEFORMAT" value="csv">
<label for="query">A query in ADQL; the answer is a CSV file</label>
<textarea id="query" name="QUERY" rows="5">{escape(examples[0].query)}</textarea>
<button>Run</button></form>
<h2>Ask from a program</h2>
<p><strong>TOPCAT</strong>: VO, Table Access Protocol (TAP) Query, TAP URL
<code>{address}tap</code>; or VO, Cone Search, URL <code>{address}scs</code>.</p>
<p><strong>Python</strong>:</p>
<pre><code>import pyvo
tap = pyvo.dal.TAPService("{address}tap")
table = tap.search("SELECT TOP 10 source_id, ra, dec FROM latents").to_table()</code></pre>
<p><strong>STILTS</strong>:</p>
<pre><code>stilts tapquery tapurl={address}tap out=stars.fits \\
    adql="SELECT TOP 10 * FROM latents"</code></pre>
<p><strong>Your own list</strong>: upload it as a table and join with it:</p>
<pre><code>{escape(CROSSMATCH.query)}</code></pre>
<h2>Queries to start with</h2>
{_shown(examples)}</main></body></html>
"""


def _shown(examples: tuple[Example, ...]) -> str:
    return "".join(
        f"<h3>{escape(example.title)}</h3>\n<pre><code>{escape(example.query)}</code></pre>\n"
        for example in examples
        if example is not CROSSMATCH
    )
