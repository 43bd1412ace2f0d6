"""Figures are made without a display and closed after each test."""

from __future__ import annotations

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def _no_display():
    mpl.use("Agg")
    yield
    mpl.pyplot.close("all")
