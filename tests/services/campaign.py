"""``python -m tests.services.campaign --runs 300 --seed 1``: disturbed runs, and what they made.

Each run is disturbed in one way, at a random moment, on S3 or on a local disk; then the same
command is run until it ends with 0, and the catalogue is compared with the undisturbed one.  One
number seeds everything but the scheduling of processes."""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.services.disturbances import DISTURBANCES, ON_DISK, ROOM
from tests.services.field import Field, field
from tests.services.world import Verdict, verdict
from xpscale.errors import XpscaleError
from xpscale.storage import Storage
from xpscale.testing.faults import small_disk

MOST_REPETITIONS = 5
EXIT_CODES = {0, 20, 75, 130, -2, -9, -15}
"""Documented in deploy/README.md; -9 is ours, -2 and -15 a stop before Python has begun or after
all is done.
"""


@dataclass(frozen=True)
class Outcome:
    """One disturbed run."""

    number: int
    kind: str
    place: str
    n_injected: int
    codes: tuple[int, ...]
    n_repetitions: int
    verdict: Verdict
    said: str = ""
    """The end of what its client said, if it ended with a code that it should not."""

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and set(self.codes) <= EXIT_CODES


def disturbed(field: Field, kind: str, number: int, seed: int) -> Outcome:
    """Disturb one run, repeat it, compare."""
    rng = random.Random(f"{seed} {number} {kind}")
    is_local = kind in ON_DISK or (rng.random() < 0.3 and not kind.startswith(("PUT", "503", "S3")))
    catalog = Storage(
        str(field.folder / f"run-{number}") if is_local else f"s3://xpscale/run-{number}"
    )
    with small_disk(Path(catalog.url), ROOM) if kind in ON_DISK else contextlib.nullcontext():
        field.mend()
        before = field.n_injected
        codes = DISTURBANCES[kind](field, rng, catalog)
        said = "" if set(codes) <= EXIT_CODES else field.client_log.read_text()[-3000:]
        field.mend()
        n_repetitions, code = 0, max(codes, key=abs)
        while code != 0 and n_repetitions < MOST_REPETITIONS:
            code = field.finish(field.client(catalog))
            n_repetitions += 1
        found = (
            verdict(field.world, catalog)
            if code == 0
            else Verdict(problems=(f"never 0 but {code}",))
        )
    if is_local:
        shutil.rmtree(catalog.url)
    n_injected = field.n_injected - before
    return Outcome(
        number,
        kind,
        "disk" if is_local else "S3",
        n_injected,
        tuple(codes),
        n_repetitions,
        found,
        said,
    )


def campaign(
    field: Field, n_runs: int, seed: int, kinds: tuple[str, ...] = tuple(DISTURBANCES)
) -> list[Outcome]:
    """As many runs of each kind, in random order."""
    order = [kinds[number % len(kinds)] for number in range(n_runs)]
    random.Random(seed).shuffle(order)
    outcomes = []
    for number, kind in enumerate(order):
        clock = time.perf_counter()
        try:
            outcome = disturbed(field, kind, number, seed)
        except (
            AssertionError,
            XpscaleError,
        ) as error:  # of the campaign itself; the other runs can do without it
            outcome = Outcome(
                number, kind, "?", 0, (), 0, Verdict(problems=(f"broken off: {error}",))
            )
            field.renew_workers()
        outcomes.append(outcome)
        said = "" if outcome.is_good else f"  {outcome.codes} {outcome.verdict}\n{outcome.said}"
        print(
            f"{number} {kind} ({outcome.place}) {time.perf_counter() - clock:.1f} s{said}",
            file=sys.stderr,
            flush=True,
        )
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """The summary, a line a kind."""
    head = (
        "fault",
        "runs",
        "injected",
        "exit codes",
        "repeated",
        "rows in",
        "out",
        "lost",
        "doubled",
        "strays",
        "unnamed",
        "identical",
    )
    lines = [head, ("---",) * len(head)]
    kinds = {
        outcome.kind: None
        for outcome in sorted(outcomes, key=lambda o: list(DISTURBANCES).index(o.kind))
    }
    for kind in [*kinds, "all"]:
        own = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        codes = Counter(code for outcome in own for code in outcome.codes)
        found = [outcome.verdict for outcome in own]
        numbers = (
            len(own),
            sum(outcome.n_injected for outcome in own),
            ", ".join(f"{n} x {code}" for code, n in sorted(codes.items())),
            sum(outcome.n_repetitions for outcome in own),
            sum(v.rows_in for v in found),
            sum(v.rows_out for v in found),
            sum(v.lost for v in found),
            sum(v.doubled for v in found),
            sum(len(v.strays) for v in found),
            sum(len(v.unnamed) + len(v.left) for v in found),
            sum(v.identical for v in found),
        )
        lines.append((kind, *map(str, numbers)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kind", action="append", choices=list(DISTURBANCES), help="only this, may be repeated"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, field(Path(folder)) as services:
        outcomes = campaign(services, chosen.runs, chosen.seed, tuple(chosen.kind or DISTURBANCES))
    print(table(outcomes))
    sys.exit(0 if all(outcome.is_good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
