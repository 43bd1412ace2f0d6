"""From nothing to a catalogue and its page, a stage after the other.

    xpscale settings init dr3.toml        # edit it
    python -m pipelines.dr3 dr3.toml      # all stages, or some: dr3.toml train infer

Stopped anywhere, it goes on from there when started again; what is done is found and skipped.  It
ends with the exit code of the command that failed: 75 asks for another try.
"""

from __future__ import annotations

import sys
from unittest import mock

from xpscale.cli import main as command_line
from xpscale.cli.settings_file import found
from xpscale.errors import NotFoundError
from xpscale.sampling.sample import load_sample
from xpscale.settings.file import load_settings

STAGES = {
    "fetch": ("archive fetch",),
    "ingest": ("ingest", "store check"),
    "sample": ("sample",),
    "train": ("train", "model info"),
    "infer": ("plan", "infer"),
    "publish": ("catalog complete", "catalog check", "catalog info"),
    "site": ("site",),
}


def main(settings: str, *stages: str) -> None:
    """Run stages in their order.

    Parameters
    ----------
    settings
        A settings file.
    stages
        Some of `STAGES`; all if none is given.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        sys.exit(f"{unknown[0]} is no stage: give some of {', '.join(STAGES)}")
    for stage, commands in STAGES.items():
        if stage in (stages or STAGES) and not (stage == "sample" and _has_sample(settings)):
            for command in commands:
                _run([*command.split(), "--settings", settings])


def _run(words: list[str]) -> None:
    """Run a command; if it fails, its exit code is this program's."""
    print(f"$ xpscale {' '.join(words)}", file=sys.stderr, flush=True)
    with mock.patch.object(sys, "argv", ["xpscale", *words]):
        try:
            command_line.main()
        except SystemExit as end:
            if end.code:
                raise


def _has_sample(settings: str) -> bool:
    """Whether the sample is drawn: another one would be another model."""
    place = found("sample", load_settings(settings))["output"].value
    try:
        sample = load_sample(place)
    except NotFoundError:
        return False
    print(f"nothing to do: {len(sample):,} objects in {place}", file=sys.stderr)
    return True


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"{__doc__}\nStages: {', '.join(STAGES)}")
    main(*sys.argv[1:])
