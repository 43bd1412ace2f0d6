"""From nothing to a catalogue and its page, a stage after the other.

    xpscale settings init dr3.toml        # edit it
    python -m pipelines.dr3 dr3.toml      # all stages, or some: dr3.toml train infer

Stopped anywhere, it goes on from there when started again; what is done is found and skipped.  It
ends with the exit code of the command that failed: 75 asks for another try.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from pipelines import fetch, infer, ingest, publish, sample, site, train
from pipelines.run import run

STAGES: dict[str, Callable[[str], tuple[str, ...]]] = {
    "fetch": lambda _: fetch.COMMANDS,
    "ingest": lambda _: ingest.COMMANDS,
    "sample": sample.commands,
    "train": lambda _: train.COMMANDS,
    "infer": lambda _: infer.COMMANDS,
    "publish": lambda _: publish.COMMANDS,
    "site": lambda _: site.COMMANDS,
}


def main(settings: str, *stages: str) -> None:
    """Run stages in their order.

    Parameters
    ----------
    settings
        The settings file.
    stages
        Names of `STAGES`; all if none are given.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        sys.exit(f"{unknown[0]} is no stage: give some of {', '.join(STAGES)}")
    for stage, commands in STAGES.items():
        if not stages or stage in stages:
            run(commands(settings), settings)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"{__doc__}\nStages: {', '.join(STAGES)}")
    main(*sys.argv[1:])
