"""``python -m tests.services.campaign --runs 300 --seed 1``: many runs with faults.

One fault is injected into each run, at a random moment, on S3 or on a local disk. Then the same
command is repeated until it ends with 0, and the catalogue is compared with that of a run without
faults. One seed fixes everything but the scheduling of processes.
"""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.services.faults import DISK_BYTES, FAULTS, ON_DISK
from tests.services.scenario import Verdict, verdict
from tests.services.services import Services, start_services
from tests.support.faults import small_disk
from xpscale.errors import XpscaleError
from xpscale.storage import Storage

MOST_REPETITIONS = 5
EXIT_CODES = {0, 20, 75, 130, -2, -9, -15}
"""Documented in deploy/README.md; -9 is an injected SIGKILL, -2 and -15 a signal before Python has
set its handlers or after it has removed them.
"""
EXIT_CODES_OF = {"scheduler kill -9": {3}}
"""Further ones of a fault: 3 is a scheduler that was killed before it was reached."""


@dataclass(frozen=True)
class Outcome:
    """One run with a fault: what was injected, and what the run and its repetitions made."""

    number: int
    kind: str
    place: str
    n_injected: int
    codes: tuple[int, ...]
    n_repetitions: int
    verdict: Verdict
    output: str = ""
    """The end of the client's output, if its exit code is not a documented one."""

    @property
    def is_good(self) -> bool:
        return self.verdict.is_good and _is_documented(self.kind, self.codes)


def _is_documented(kind: str, codes: Iterable[int]) -> bool:
    return set(codes) <= EXIT_CODES | EXIT_CODES_OF.get(kind, set())


def run_with_fault(services: Services, kind: str, number: int, seed: int) -> Outcome:
    """Inject one fault into a run, repeat the run until it ends with 0, and compare catalogues."""
    rng = random.Random(f"{seed} {number} {kind}")
    is_local = kind in ON_DISK or (rng.random() < 0.3 and not kind.startswith(("PUT", "503", "S3")))
    catalog = Storage(
        str(services.folder / f"run-{number}") if is_local else f"s3://xpscale/run-{number}"
    )
    with small_disk(Path(catalog.url), DISK_BYTES) if kind in ON_DISK else contextlib.nullcontext():
        services.restore()
        before = services.n_injected
        codes = FAULTS[kind](services, rng, catalog)
        output = "" if _is_documented(kind, codes) else services.client_log.read_text()[-3000:]
        services.restore()
        n_repetitions, code = 0, max(codes, key=abs)
        while code != 0 and n_repetitions < MOST_REPETITIONS:
            code = services.finish(services.client(catalog))
            n_repetitions += 1
        found = (
            verdict(services.scenario, catalog)
            if code == 0
            else Verdict(problems=(f"never 0 but {code}",))
        )
    if is_local:
        shutil.rmtree(catalog.url)
    n_injected = services.n_injected - before
    return Outcome(
        number,
        kind,
        "disk" if is_local else "S3",
        n_injected,
        tuple(codes),
        n_repetitions,
        found,
        output,
    )


def campaign(
    services: Services, n_runs: int, seed: int, kinds: tuple[str, ...] = tuple(FAULTS)
) -> list[Outcome]:
    """Runs of all kinds in equal numbers, in random order."""
    order = [kinds[number % len(kinds)] for number in range(n_runs)]
    random.Random(seed).shuffle(order)
    outcomes = []
    for number, kind in enumerate(order):
        clock = time.perf_counter()
        try:
            outcome = run_with_fault(services, kind, number, seed)
        except (AssertionError, OSError, XpscaleError) as error:  # one run; the campaign goes on
            outcome = Outcome(number, kind, "?", 0, (), 0, Verdict(problems=(f"stopped: {error}",)))
            services.start_anew()
        outcomes.append(outcome)
        wrong = "" if outcome.is_good else f"  {outcome.codes} {outcome.verdict}\n{outcome.output}"
        print(
            f"{number} {kind} ({outcome.place}) {time.perf_counter() - clock:.1f} s{wrong}",
            file=sys.stderr,
            flush=True,
        )
    return outcomes


def table(outcomes: list[Outcome]) -> str:
    """The summary, one line for each kind of fault."""
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
        "unreported",
        "identical",
    )
    lines = [head, ("---",) * len(head)]
    kinds = {
        outcome.kind: None for outcome in sorted(outcomes, key=lambda o: list(FAULTS).index(o.kind))
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
            sum(len(v.unreported) + len(v.left) for v in found),
            sum(v.identical for v in found),
        )
        lines.append((kind, *map(str, numbers)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kind", action="append", choices=list(FAULTS), help="only this kind; may be repeated"
    )
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start_services(Path(folder)) as services:
        outcomes = campaign(services, chosen.runs, chosen.seed, tuple(chosen.kind or FAULTS))
    print(table(outcomes))
    sys.exit(0 if all(outcome.is_good for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
