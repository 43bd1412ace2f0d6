"""Every spectrum through the model, and published: ``python -m pipelines.infer dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("plan", "infer")

if __name__ == "__main__":
    run(COMMANDS)
