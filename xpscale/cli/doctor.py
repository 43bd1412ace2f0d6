"""``xpscale doctor``: look at the machine, at places and at workers before the work."""

from __future__ import annotations

from typing import Annotated

import typer

from xpscale.cli.common import Json, Scheduler, SettingsFile, print_json, say

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(_doctor)


def _doctor(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLACE...]", help="Stores, models and catalogues, also those to be."
        ),
    ] = None,
    scheduler: Scheduler = "",
    json: Json = False,
    settings: SettingsFile = "",
) -> None:
    """Tell whether this machine, these places and these workers can do the work.

    Of each place: clock, credentials and their end, listing, reading, conditional writing (with an
    object of 4 MB that is removed again), rates, room.  Of the workers: versions, code, whether
    they reach the places.  Under each finding stands what to do.

    If none are given, the places are those of the table [data] of --settings, and the scheduler is
    that of [cluster].

    Exit code 0, also with warnings; else that of the worst problem.

    Examples: xpscale doctor; xpscale doctor s3://bucket/store s3://bucket/catalogue --scheduler
    tcp://head:8786
    """
    from xpscale.doctor.findings import Diagnosis
    from xpscale.doctor.places import examine_place
    from xpscale.doctor.this_machine import examine_machine
    from xpscale.doctor.workers import examine_workers
    from xpscale.settings.cluster import Kubernetes, Running
    from xpscale.settings.file import load_settings

    found, urls = Diagnosis(), tuple(places or _of_settings(settings))
    if settings and not scheduler:
        cluster = load_settings(settings).cluster
        running = cluster.running if isinstance(cluster, Kubernetes) else cluster
        scheduler = running.address if isinstance(running, Running) else ""
    examine_machine(found)
    for url in urls:
        say(f"looking at {url}")
        examine_place(found, url)
    if scheduler:
        examine_workers(found, scheduler, urls)
    print_json(found.to_json()) if json else print(found)
    found.require_no_problems()


def _of_settings(path: str) -> list[str]:
    """The places that work reads from and writes to."""
    from xpscale.settings.file import load_settings

    data = load_settings(path).data if path else None
    return [place for place in (data.store, data.model, data.catalog) if place] if data else []
