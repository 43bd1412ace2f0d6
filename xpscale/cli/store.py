"""``xpscale ingest``, ``xpscale store info|check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import (
    ClusterChoice,
    DryRun,
    Json,
    Resources,
    Scheduler,
    Workers,
    at_most,
    chosen_cluster,
    conclude,
    executor,
    print_jobs,
    print_json,
    say,
)
from xpscale.cli.listening import (
    LOOPBACK,
    LogFormat,
    MetricsAddress,
    MetricsPort,
    listeners,
)
from xpscale.cli.stated import stated, with_choice
from xpscale.formatting import format_bytes
from xpscale.safe_text import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xpscale.store.parquet import ParquetSpectra
    from xpscale.store.reader import SpectraStore


__all__ = [
    "BandWidths",
    "ColumnNames",
    "ReleaseName",
    "Spectra",
    "Store",
    "TrustUnits",
    "open_input",
    "register",
]

Store = Annotated[
    str, typer.Argument(metavar="STORE", help="The spectra store: a folder or bucket URL.")
]

Spectra = Annotated[
    str,
    typer.Argument(
        metavar="STORE",
        help="A spectra store, or a Parquet folder or HATS catalogue with XP spectra.",
    ),
]

ReleaseName = Annotated[
    str,
    typer.Option(
        "--release",
        metavar="NAME|FILE.toml",
        help="The data release: dr3, dr4, or a file that describes it; where files do not say.",
    ),
]
BandWidths = Annotated[
    str,
    typer.Option(
        "--bands",
        metavar="N_BP,N_RP",
        help="Coefficients of each band, for tables that hold both in one array.",
    ),
]

ColumnNames = Annotated[
    str,
    typer.Option(
        "--columns-map",
        metavar="FILE.toml",
        help='What columns and fields of structs are called, a line each: source_id = "object_id".',
    ),
]

TrustUnits = Annotated[
    bool,
    typer.Option(
        "--trust-units",
        help="Take values for what they should be, though sizes and positions say otherwise.",
    ),
]

nouns = typer.Typer(no_args_is_help=True, help="Look at a spectra store, or verify it.")


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command(rich_help_panel=None)(ingest)
    app.add_typer(nouns, name="store")


def open_input(
    url: str,
    *,
    release: str = "",
    bands: str = "",
    columns: str = "",
    trust_units: bool = False,
    skip_damaged: bool = False,
    silently: bool = False,
) -> SpectraStore | ParquetSpectra:
    """Open a spectra store or Parquet; say what it is and what to know before reading it.

    Parameters
    ----------
    url
        Where it is.
    release, bands, columns, trust_units
        What the options for these say; empty to leave it to the files.
    skip_damaged
        Whether files that are not whole may be there.
    silently
        Say nothing: another process does.
    """
    from xpscale.store.open import open_spectra

    said = stated(release, bands, columns, trust_units)
    spectra = open_spectra(url, **said, skip_damaged=skip_damaged)
    if not silently:
        say(str(spectra))
        for warning in spectra.warnings():
            say(f"note: {warning}")
    return spectra


def ingest(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=(
                "Folder or URL holding xp_continuous_mean_spectrum/ and gaia_source/; or DataLink"
                " products, HDF5 copies, Parquet files, a HATS catalogue."
            ),
        ),
    ],
    store: Store,
    sources: Annotated[
        str,
        typer.Option(
            help="Table, folder or HATS catalogue with source_id, ra, dec, phot_g_mean_flux, for"
            " spectra that come without, or instead of gaia_source/."
        ),
    ] = "",
    positions: Annotated[
        str,
        typer.Option(
            help="from-source-id: place sources by the pixel in their identifier, 0.4 arcmin."
        ),
    ] = "",
    companions: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Columns of gaia_source that come along where they are: all, none, or some of"
            " phot_g_mean_mag, phot_bp_mean_mag, phot_rp_mean_mag, parallax, parallax_error, ruwe,"
            " bp_n_relevant_bases, rp_n_relevant_bases.",
        ),
    ] = "all",
    max_rows: Annotated[
        int | None,
        typer.Option(
            help="Rows of a partition at most; 262,144, or 32,768 with --correlations.",
            min=1,
            show_default=False,
        ),
    ] = None,
    correlations: Annotated[
        bool,
        typer.Option(
            "--correlations", help="Keep the correlations of coefficients: 14 times the bytes."
        ),
    ] = False,
    skip_damaged: Annotated[
        bool,
        typer.Option(
            "--skip-damaged",
            help="Set files aside that cannot be read; exit code 20 if there are any.",
        ),
    ] = False,
    release: ReleaseName = "",
    bands: BandWidths = "",
    columns_map: ColumnNames = "",
    trust_units: TrustUnits = False,
    dry_run: DryRun = False,
    workers: Workers = None,
    scheduler: Scheduler = "",
    resources: Resources = "",
    cluster: ClusterChoice = "",
    log_format: LogFormat = "text",
    metrics_port: MetricsPort = 0,
    metrics_address: MetricsAddress = LOOPBACK,
    json: Json = False,
) -> None:
    """Make a spectra store from archive files, or from what others have made of them; run again to
    resume.
    """
    from xpscale.ingest.place import finished_store
    from xpscale.ingest.plan import plan_ingest
    from xpscale.ingest.run import run_ingest

    plan = plan_ingest(
        source,
        store,
        sources=sources,
        max_rows=max_rows,
        skip_damaged=skip_damaged,
        correlations=correlations,
        **with_choice(stated(release, bands, columns_map, trust_units), positions, companions),
    )
    chosen = chosen_cluster(cluster, scheduler, workers, resources)
    if dry_run:
        finished_store(plan, only_look=True)
        projection = plan.project()
        numbers = {"store": plan.store.url, "max_rows": plan.max_rows, **projection.to_dict()}
        print_json(numbers) if json else print(plan, projection, sep="\n")
        print_jobs(chosen)
        return
    say(str(plan))
    with (
        listeners(log_format, metrics_port, metrics_address) as told,
        executor(at_most(chosen, plan.n_tasks)) as where,
    ):
        made, is_new = run_ingest(plan, executor=where, callbacks=told)
    _report_ingest(made, is_new, json=json)


def _report_ingest(made: SpectraStore, is_new: bool, *, json: bool) -> None:
    """Say what became of the rows; an error if files were set aside."""
    from xpscale.errors import IncompleteError

    report = made.report
    rejected = ", ".join(f"{n:,} {reason}" for reason, n in report["n_rejected"].items()) or "none"
    say("" if is_new else "nothing to do: the store was finished before")
    say(f"{made}\n{report['n_read']:,} read, {report['n_written']:,} written, rejected: {rejected}")
    if json:
        print_json({"store": made.url, "is_new": is_new, "digest": made.digest, **report})
    if report["quarantined"]:
        say(_set_aside(report["quarantined"]))
        raise IncompleteError(
            f"{made.url} is finished without {len(report['quarantined']):,} files that could not be"
            " read",
            "Repair them and ingest into a new store, or go on without them",
        )


def _set_aside(files: Sequence[Mapping[str, str]]) -> str:
    return "\n".join(one_line(f"set aside: {file['name']}: {file['reason']}") for file in files)


@nouns.command()
def info(store: Store, json: Json = False) -> None:
    """Rows, partitions, magnitudes, rejections, provenance."""
    from xpscale.store.info import store_info

    found = store_info(store)
    if json:
        print_json(found.to_json())
    else:
        print(found)


@nouns.command()
def check(store: Store, json: Json = False) -> None:
    """Read everything and verify it: bytes, rows, order, sums.  Exit code 20 if something is
    wrong.
    """
    from xpscale.store.check import check_store
    from xpscale.store.reader import open_store

    found = check_store(open_store(store))
    rejected = (
        ", ".join(f"{n:,} rejected ({reason})" for reason, n in found.n_rejected.items())
        or "0 rejected"
    )
    numbers = (
        f"{found.n_read:,} read, {found.n_written:,} written, {rejected}\n"
        f"{found.n_partitions:,} partitions, {found.n_objects:,} objects,"
        f" {format_bytes(found.n_bytes)}"
    )
    if found.quarantined:
        numbers += f"\n{_set_aside(found.quarantined)}"
    conclude(found, store, numbers, json=json, remedy="Ingest again into a new store")
