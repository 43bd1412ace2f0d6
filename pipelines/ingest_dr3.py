"""Archive files to a spectra store.

    python -m pipelines.ingest_dr3 pipelines/settings/laptop.toml

Stopped anywhere, it goes on from there when started again.
"""

from __future__ import annotations

import sys

import xpscale as xps
from pipelines.settings import load


def main(settings_file: str) -> None:
    """Ingest the archive the settings name."""
    settings = load(settings_file)
    plan = xps.plan_ingest(settings.archive, settings.store, max_rows=settings.max_rows)
    print(plan)
    with settings.executor() as executor:
        store, _ = xps.run_ingest(plan, executor=executor, callbacks=[xps.TerminalProgress()])
    print(store)
    check = xps.check_store(store)
    print("sound" if check.ok else "\n".join(check.problems))


if __name__ == "__main__":
    main(*sys.argv[1:2] or ["pipelines/settings/laptop.toml"])
