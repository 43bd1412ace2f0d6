from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from xpscale.errors import InvalidInputError
from xpscale.plots.colour_magnitude import colour_magnitude
from xpscale.plots.style import CREDIT


def test_bright_is_above_and_blue_to_the_left():
    counts = np.zeros((30, 20), np.int64)
    counts[3, 4], counts[20, 15] = 10, 1000
    figure, ax = colour_magnitude(
        counts, np.arange(21) * 0.1, np.arange(31) * 0.5, magnitude="G", n_left_out=7
    )
    faint, bright = ax.get_ylim()
    assert faint > 10 > 1.5 > bright
    blue, red = ax.get_xlim()
    assert blue < 0.4 < 1.6 < red
    assert "1,010 sources" in ax.get_title(loc="left")
    assert "7 sources are left out" in figure.get_supxlabel()
    assert any(text.get_text() == CREDIT for text in figure.texts)
    plt.close(figure)


def test_no_counts_are_refused():
    for counts, edges in ((np.zeros((2, 2), int), np.arange(3)), (np.ones((2, 2)), np.arange(4))):
        with pytest.raises(InvalidInputError):
            colour_magnitude(counts, edges, edges)
