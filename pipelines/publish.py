"""A published catalogue completed and verified: ``python -m pipelines.publish dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("catalog complete", "catalog check", "catalog info")

if __name__ == "__main__":
    run(COMMANDS)
