"""A static web page over a derived catalogue: maps, lassos, a page for every star.

``make_site`` streams once or a few times through the catalogue and bins its rows; the page itself
(`web/`, bundled into `static/`) draws the bins, and reads single stars from the catalogue's own
Parquet files by range requests.
"""

from xpscale.site.make import make_site

__all__ = ["make_site"]
