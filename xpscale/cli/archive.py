"""``xpscale archive fetch|verify``."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import Json, conclude, say
from xpscale.cli.store import ReleaseName
from xpscale.formatting import format_bytes

if TYPE_CHECKING:
    from xpscale.archive.fetch import Progress

__all__ = ["register"]

nouns = typer.Typer(no_args_is_help=True, help="Fetch the Gaia archive's files, or verify them.")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="archive")


@nouns.command()
def fetch(
    places: Annotated[
        list[str],
        typer.Argument(
            metavar="[ARCHIVE_URL] DIR",
            help=(
                "https://, a bucket or a folder, by default ESA's server; and the folder to fetch"
                " into,"
                " which ingest reads."
            ),
        ),
    ],
    files: Annotated[
        str,
        typer.Option(
            metavar="FIRST-LAST", help="Only files that overlap these level-8 pixels, 0-3111."
        ),
    ] = "",
    tables: Annotated[str, typer.Option(help="xp, source, or both.")] = "xp,source",
    connections: Annotated[int, typer.Option(help="Files at a time.", min=1, max=32)] = 4,
    release: ReleaseName = "dr3",
) -> None:
    """Fetch archive files, each verified by its MD5 sum; run again to resume."""
    from xpscale.archive.fetch import plan_fetch, run_fetch
    from xpscale.errors import InvalidInputError
    from xpscale.release import find_release

    if len(places) > 2:
        raise InvalidInputError(
            f"{len(places)} places are given", "Give ARCHIVE_URL and DIR, or DIR alone"
        )
    names = [name.strip() for name in tables.split(",") if name.strip()]
    plan = plan_fetch(
        places[0] if len(places) == 2 else "",
        places[-1],
        release=find_release(release),
        pixels=_pixels(files),
        tables=names,
        n_connections=connections,
    )
    say(str(plan))
    with _drawn("fetch") as progress:
        report = run_fetch(plan, n_connections=connections, progress=progress)
    if not report.n_fetched:
        say(f"nothing to do: all {report.n_found:,} files are there and right")
        return
    faults = f", {report.n_faults:,} faults overcome" if report.n_faults else ""
    found = f", {report.n_found:,} were there and right" if report.n_found else ""
    rate = f"{format_bytes(report.n_bytes / max(report.wall_s, 1e-9))}/s"
    say(
        f"{report.n_fetched:,} files fetched and verified: {format_bytes(report.n_bytes)},"
        f" {rate}{faults}{found}"
    )


def _pixels(text: str) -> tuple[int, int] | None:
    from xpscale.errors import InvalidInputError

    if not text:
        return None
    match = re.fullmatch(r"(\d+)-(\d+)", text)
    if match is None or int(match[1]) > int(match[2]):
        raise InvalidInputError(
            f"--files {text!r} is no range of pixels", "Give FIRST-LAST, for instance 0-3111"
        )
    return int(match[1]), int(match[2])


@nouns.command()
def verify(
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="The archive: a folder or bucket URL.")
    ],
    release: ReleaseName = "dr3",
    json: Json = False,
) -> None:
    """Read every file and verify it: MD5 sums, names, pairs.  Exit code 20 if one is wrong."""
    from xpscale.archive.verify import verify_archive
    from xpscale.release import find_release

    with _drawn("verify") as progress:
        found = verify_archive(directory, release=find_release(release), progress=progress)
    numbers = f"{found.n_files:,} files, {found.n_pairs:,} pairs, {format_bytes(found.n_bytes)}"
    conclude(
        found,
        directory,
        numbers,
        json=json,
        remedy="Remove the files that are wrong and fetch them again",
    )


@contextlib.contextmanager
def _drawn(what: str, every_s: float = 10.0) -> Iterator[Callable[[Progress], None]]:
    """Show files, bytes, rate and time left: a bar on a terminal, lines elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    console = Console(file=sys.stderr)
    if console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        with Bar(*columns, TimeRemainingColumn(), console=console) as bar:
            task = bar.add_task(what, total=None)

            def draw(now: Progress) -> None:
                files = f"{what} {now.n_files_done:,} of {now.n_files:,} files"
                bar.update(
                    task,
                    description=files,
                    total=max(now.n_bytes, now.n_bytes_done),
                    completed=now.n_bytes_done,
                )

            yield draw
    else:
        yield _lines(what, every_s)


def _lines(what: str, every_s: float) -> Callable[[Progress], None]:
    """Print a line about the progress every so many seconds."""
    started = printed = time.monotonic()
    first = -1

    def draw(now: Progress) -> None:
        nonlocal printed, first
        first = now.n_bytes_done if first < 0 else first
        if time.monotonic() - printed < every_s:
            return
        printed = time.monotonic()
        rate = max(now.n_bytes_done - first, 0) / (printed - started)
        left = (
            f", {max(now.n_bytes - now.n_bytes_done, 0) / rate / 60:,.0f} min left" if rate else ""
        )
        say(
            f"{what}: {now.n_files_done:,} of {now.n_files:,} files,"
            f" {format_bytes(now.n_bytes_done)} of {format_bytes(now.n_bytes)},"
            f" {format_bytes(rate)}/s{left}"
        )

    return draw
