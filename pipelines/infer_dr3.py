"""Every spectrum of a store through a model, to a published catalogue.

    python -m pipelines.infer_dr3 pipelines/settings/laptop.toml

Stopped anywhere, it goes on from there when started again.
"""

from __future__ import annotations

import sys

import xpscale as xps
from pipelines.settings import load


def main(settings_file: str) -> None:
    """Plan, run, commit."""
    settings = load(settings_file)
    store, model = xps.open_spectra(settings.store), xps.load_model(settings.model)
    plan = xps.plan_inference(store, model, settings.catalog, outputs=settings.outputs)
    print(plan)
    with settings.executor() as executor:
        report = xps.run(
            plan, executor=executor, callbacks=[xps.TerminalProgress()], device=settings.device
        )
    snapshot = xps.commit(plan.catalog, report.manifest, "pipelines.infer_dr3")
    print(f"snapshot {snapshot.number}: {xps.open_catalog(settings.catalog)!r}")


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["pipelines/settings/laptop.toml"])
