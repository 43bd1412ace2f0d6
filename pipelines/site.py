"""A static page over the catalogue: ``python -m pipelines.site dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("site",)

if __name__ == "__main__":
    run(COMMANDS)
