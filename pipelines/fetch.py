"""The archive's files, each verified by its MD5 sum: ``python -m pipelines.fetch dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("archive fetch",)

if __name__ == "__main__":
    run(COMMANDS)
