"""A scatter VAE trained on the sample: ``python -m pipelines.train dr3.toml``."""

from __future__ import annotations

from pipelines.run import run

COMMANDS = ("train", "model info")

if __name__ == "__main__":
    run(COMMANDS)
