"""Archive files to a store, verified: ``python -m pipelines.ingest dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("ingest", "store check")

if __name__ == "__main__":
    run(COMMANDS)
