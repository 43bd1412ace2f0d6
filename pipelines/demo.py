"""The whole flow on real stars, as ``make demo`` runs it: ``python -m pipelines.demo demo-out``."""

from __future__ import annotations

import sys

from xpscale.demo.flow import run_demo

if __name__ == "__main__":
    run_demo(*sys.argv[1:2] or ["demo-out"])
