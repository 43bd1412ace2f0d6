"""Figures inside a web page: text of HTML that needs no other file."""

from __future__ import annotations

import base64
import html
import io
import re
from typing import TYPE_CHECKING

import matplotlib as mpl

from xpscale.plots.style import BLACK, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["inline_picture"]


def inline_picture(figure: Figure, name: str, text: str) -> str:
    """An inline SVG whose ink follows the page's colour; a PNG where colours were painted.

    Parameters
    ----------
    figure
        The figure.
    name
        Another one for each figure of a page.
    text
        What it shows, for those who do not see it.
    """
    buffer, words = io.BytesIO(), html.escape(text, quote=True)
    if any(axes.images for axes in figure.axes):
        with style():
            figure.savefig(buffer, format="png", dpi=160)
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img alt="{words}" src="data:image/png;base64,{data}">'
    settings = {"svg.hashsalt": name, "svg.fonttype": "path"}
    with style(), mpl.rc_context(settings):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue().decode()
    drawn = drawn[drawn.index("<svg") :].replace(BLACK.lower(), "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.S)
    # every figure has its own names, or one would draw with the marks of another
    drawn = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{name}-", drawn)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
