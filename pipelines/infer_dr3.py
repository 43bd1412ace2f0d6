"""Every spectrum of a store through a model, to a published catalogue.

    python -m pipelines.infer_dr3 pipelines/settings/laptop.toml

Stopped anywhere, it goes on from there when started again.
"""

from __future__ import annotations

import sys

import xpscale as xps
from pipelines.settings import load


def main(settings_file: str) -> None:
    """Run what is left, and publish it."""
    settings = load(settings_file)
    result = xps.infer(
        settings.store,
        settings.model,
        settings.catalog,
        outputs=settings.outputs,
        executor=lambda plan: settings.executor(),
        callbacks=[xps.TerminalProgress()],
        device=settings.device,
        message="pipelines.infer_dr3",
    )
    print(result.plan)
    print(result)
    print(repr(xps.open_catalog(settings.catalog)))


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["pipelines/settings/laptop.toml"])
