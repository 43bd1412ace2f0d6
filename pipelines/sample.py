"""An object-dense sample to train on, drawn once: ``python -m pipelines.sample dr3.toml``."""

from __future__ import annotations

import sys

from pipelines.run import run
from xpscale.cli.settings_file import found
from xpscale.errors import NotFoundError
from xpscale.sampling.sample import load_sample
from xpscale.settings.file import load_settings

COMMANDS = ("sample",)


def commands(settings: str) -> tuple[str, ...]:
    """`COMMANDS`, or none if there is a sample already.

    Parameters
    ----------
    settings
        The settings file.
    """
    place = found("sample", load_settings(settings))["output"].value
    try:
        sample = load_sample(place)
    except NotFoundError:
        return COMMANDS
    print(f"nothing to do: {len(sample):,} objects in {place}", file=sys.stderr)
    return ()


if __name__ == "__main__":
    run(commands(sys.argv[1]) if len(sys.argv) == 2 else COMMANDS)
