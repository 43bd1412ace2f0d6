"""``xpscale catalog info|check|complete|clean|log|diff``."""

from __future__ import annotations

import json as json_module
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from xpscale.cli.common import (
    ClusterChoice,
    Json,
    Overwrite,
    RowsOutput,
    Scheduler,
    Workers,
    chosen_cluster,
    conclude,
    executor,
    print_json,
    say,
)
from xpscale.cli.infer import Catalog
from xpscale.formatting import format_bytes
from xpscale.safe_text import one_line

if TYPE_CHECKING:
    from xpscale.catalog.manifest import Quarantined

__all__ = ["register"]

NOT_SEEN = (
    "not looked at, since a web server lists nothing: what else lies among the parts, and whether"
    " each HATS file is as it was written; check the folder or bucket itself for that"
)

nouns = typer.Typer(
    no_args_is_help=True,
    help="Look at a derived catalogue, verify it, complete it, clean it up, or list its versions.",
)


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.add_typer(nouns, name="catalog")


@nouns.command()
def info(catalog: Catalog, json: Json = False) -> None:
    """The current version in numbers."""
    from xpscale.bands import Bands
    from xpscale.catalog.info import catalog_info
    from xpscale.storage import Storage

    found = catalog_info(Storage(catalog))
    if json:
        print_json(found.to_json())
        return
    orders = ", ".join(f"{n} of order {order}" for order, n in found.partitions_by_order.items())
    sizes = ", ".join(
        f"{product} {format_bytes(n_bytes)}" for product, n_bytes in found.n_bytes.items()
    )
    rejected = ", ".join(f"{n:,} {reason}" for reason, n in found.n_rejected.items()) or "none"
    print(
        f"{found.n_rows:,} sources over {found.area_sq_deg:,.0f} square degrees; rejected:"
        f" {rejected}"
    )
    print(
        f"{found.release}, {Bands(found.n_bp, found.n_rp)} coefficients, {found.n_latents} latents"
    )
    print(f"{found.n_partitions:,} partitions: {orders}\n{sizes}")
    print(f"snapshot {found.snapshot}, {one_line(found.created)}: {one_line(found.message)}")
    print("".join(f"{_left_out(task)}\n" for task in found.quarantined), end="")
    print(f"model {found.model_id}\ninput {found.input_digest}\n{found.software}")


@nouns.command()
def check(
    catalog: Catalog,
    quick: Annotated[
        bool, typer.Option("--quick", help="Sizes, rows and schemas only: do not read every byte.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare every part with the manifest, and the metadata with the standard.  Exit code 20 if
    something is wrong.
    """
    from xpscale.catalog.check import check as check_catalog
    from xpscale.storage import Storage

    found = check_catalog(Storage(catalog), deep=not quick)
    numbers = (
        f"snapshot {found.snapshot}: {found.n_rows:,} sources, {found.n_parts:,} parts,"
        f" {format_bytes(found.n_bytes)}"
    )
    lines = [
        numbers,
        *map(_left_out, found.quarantined),
        *(f"stray: {stray}" for stray in found.strays),
        *([] if found.is_listed else [NOT_SEEN]),
    ]
    conclude(
        found,
        catalog,
        "\n".join(lines),
        json=json,
        remedy=(
            "Strays go with 'xpscale catalog clean'; for the rest write the catalogue anew to"
            " another place"
        ),
    )


@nouns.command()
def complete(
    catalog: Catalog,
    workers: Workers = None,
    scheduler: Scheduler = "",
    cluster: ClusterChoice = "",
) -> None:
    """Make what a HATS collection has beside the parts: statistics, a margin of 10 arcsec, an index
    of identifiers.  'xpscale infer' does it; run it again after damage, or after it was killed.
    """
    from xpscale.inference.complete import complete as complete_catalog
    from xpscale.runtime.progress import TerminalProgress

    with executor(chosen_cluster(cluster, scheduler, workers)) as started:
        say(str(complete_catalog(catalog, executor=started, callbacks=[TerminalProgress()])))


@nouns.command()
def clean(
    catalog: Catalog,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove them; otherwise they are only listed.")
    ] = False,
    older_than: Annotated[
        float,
        typer.Option(help="Hours; what is younger may belong to a run that is under way.", min=0),
    ] = 1.0,
    json: Json = False,
) -> None:
    """List objects that no version of the catalogue needs, and remove them with --yes."""
    from xpscale.catalog.clean import clean as clean_catalog
    from xpscale.storage import Storage

    found = clean_catalog(Storage(catalog), older_than_s=older_than * 3600, dry_run=not yes)
    if json:
        print_json(found.to_json())
        return
    for stray in found.removed:
        print(f"{'removed' if yes else 'would remove'} {stray} ({format_bytes(stray.n_bytes)})")
    for stray in found.young:
        print(f"kept {stray} ({stray.age_s / 60:.0f} minutes old: --older-than)")
    if not found.removed:
        print("nothing to remove")
    elif not yes:
        print("nothing was removed: add --yes")


@nouns.command()
def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A catalogue: a folder or URL.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one, or the same.")],
    snapshot_a: Annotated[
        int | None, typer.Option(metavar="N", help="Version of A; the newest if not given.")
    ] = None,
    snapshot_b: Annotated[
        int | None, typer.Option(metavar="N", help="Version of B; the newest if not given.")
    ] = None,
    output: RowsOutput = "",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Which sources differ between two catalogues or versions, and by how much; -o lists them."""
    import pyarrow as pa

    from xpscale.query.catalog import open_catalog
    from xpscale.query.difference import Difference
    from xpscale.query.write import require_writable, write

    if output:
        require_writable(output, overwrite=overwrite)
    found = Difference(open_catalog(a, snapshot_a), open_catalog(b, snapshot_b))
    batches = (batch for table in found.tables() for batch in table.to_batches())
    if output:
        reader = pa.RecordBatchReader.from_batches(found.schema, batches)
        words = found.b.provenance(f"difference B - A, A being {found.a.storage} {found.a!r}")
        say(f"{write(reader, output, words, overwrite=overwrite):,} sources: {output}")
    else:
        for _ in batches:
            pass  # the numbers are what is asked for
    print_json(found.to_dict()) if json else print(found)


def _left_out(task: Quarantined) -> str:
    n_rows = f" {task.n_rows:,} sources:" if task.n_rows else ""
    return f"left out: {task.task}:{n_rows} {task.reason}"


@nouns.command()
def log(catalog: Catalog, json: Json = False) -> None:
    """Published versions, newest first."""
    from xpscale.catalog.identity import read_identity
    from xpscale.catalog.snapshots import snapshots
    from xpscale.storage import Storage

    storage = Storage(catalog)
    read_identity(storage)
    versions = snapshots(storage)[::-1]
    if json:
        print(json_module.dumps([asdict(version) for version in versions], indent=1))
        return
    for version in versions:
        manifest = version.manifest_key.rsplit("/", 1)[-1].removesuffix(".json")
        print(
            one_line(
                f"{version.number:>4}  {version.created}  manifest {manifest[:12]} "
                f" {version.message}"
            )
        )
