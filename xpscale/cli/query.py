"""``xpscale query``, ``xpscale sql``, ``xpscale spectrum``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpscale.cli.common import (
    Json,
    Overwrite,
    RowsOutput,
    SnapshotNumber,
    print_json,
    print_table,
    save_figure,
    say,
)
from xpscale.cli.infer import Catalog
from xpscale.cli.regions import Box, Cone, Moc, Pixel, Polygon, inside

if TYPE_CHECKING:
    from xpscale.query.catalog import Catalog as OpenedCatalog
    from xpscale.query.frames import Rows
    from xpscale.query.reconstruct import Spectra
    from xpscale.query.selection import Selection

__all__ = ["choose", "register"]


def register(app: typer.Typer) -> None:
    """Add this file's commands."""
    app.command()(query)
    app.command()(sql)
    app.command()(spectrum)


def query(
    catalog: Catalog,
    cone: Cone = "",
    box: Box = "",
    polygon: Polygon = "",
    moc: Moc = "",
    pixel: Pixel = "",
    ids: Annotated[
        str,
        typer.Option(
            metavar="ID[,ID..]|@FILE",
            help="Sources by Gaia source_id; FILE is text, CSV, Parquet, FITS or VOTable.",
        ),
    ] = "",
    where: Annotated[
        str, typer.Option(metavar="SQL", help="A condition: 'reduced_chi2 < 1.5'.")
    ] = "",
    columns: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Columns, also of spectra and labels; all of latents if not given.",
        ),
    ] = "",
    like: Annotated[
        str,
        typer.Option(metavar="SOURCE_ID", help="Sources nearest to this one in latent space."),
    ] = "",
    outliers: Annotated[
        bool, typer.Option("--outliers", help="Sources that the model knows least.")
    ] = False,
    n: Annotated[
        int | None,
        typer.Option("-n", help="How many sources at most; 100 with --like or --outliers.", min=0),
    ] = None,
    flags_in_words: Annotated[
        bool, typer.Option("--flags-in-words", help="A column more: the quality bits as words.")
    ] = False,
    snapshot: SnapshotNumber = None,
    output: RowsOutput = "",
    overwrite: Overwrite = False,
) -> None:
    """Select sources from a catalogue; of several conditions, all hold.

    For instance:

      xpscale query CATALOG --cone '05:34:31.9 +22:00:52,10arcmin' -o crab.fits

      xpscale query CATALOG --moc survey.fits --where 'flags = 0' --columns source_id,ra,dec

      xpscale query CATALOG --like 4295806720 -n 100 -o like.parquet
    """
    from xpscale.errors import InvalidInputError
    from xpscale.query import flag_words
    from xpscale.query.catalog import open_catalog
    from xpscale.query.write import require_writable, write

    if output:
        require_writable(output, overwrite=overwrite)
    opened = open_catalog(catalog, snapshot)
    regions = {"cone": cone, "box": box, "polygon": polygon, "moc": moc, "pixel": pixel}
    chosen = choose(opened, regions, ids=ids, where=where, columns=columns)
    if like and outliers:
        raise InvalidInputError("--like and --outliers exclude each other", "Give one of them")
    found: Rows = chosen if n is None else chosen.limit(n)
    if like or outliers:
        most = 100 if n is None else n
        found = _like(chosen, like, most) if like else chosen.outliers(most)
    if flags_in_words:
        found = flag_words.flags_in_words(found)
    if output:
        say(f"{write(found, output, overwrite=overwrite):,} sources: {output}")
    else:
        table = found.to_table()
        print_table(table)
        say(f"{table.num_rows:,} sources")
    if len(chosen.missing):
        n_asked = 0 if chosen.source_ids is None else len(chosen.source_ids)
        shown = ", ".join(map(str, chosen.missing[:5]))
        say(
            f"{len(chosen.missing)} of {n_asked} ids are not in this catalogue:"
            f" {shown}{' ...' * (len(chosen.missing) > 5)}"
        )


def _like(chosen: Selection, source_id: str, n: int) -> Rows:
    """The nearest sources, with a bar on standard error while all are compared."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    total = sum(part.n_rows for part in chosen.parts)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("comparing", total=total)
        return chosen.like(source_id, n, lambda n_rows: bar.advance(task, n_rows))


def choose(
    opened: OpenedCatalog,
    regions: Mapping[str, str] | None = None,
    *,
    ids: str = "",
    where: str = "",
    columns: str = "",
) -> Selection:
    """The selection that options ask for.

    Parameters
    ----------
    opened
        The catalogue.
    regions
        What the options ``cone``, ``box``, ``polygon``, ``moc`` and ``pixel`` say, by their names.
    ids, where, columns
        As of ``xpscale query``.
    """
    from xpscale.query.identifiers import parse_ids

    chosen = inside(opened.select(), regions or {})
    if ids:
        chosen = chosen.at(parse_ids(ids, opened.release))
    if where:
        chosen = chosen.where(where)
    if columns:
        chosen = chosen.columns(*(name.strip() for name in columns.split(",")))
    return chosen


def sql(
    catalog: Catalog,
    statement: Annotated[
        str,
        typer.Argument(metavar="SELECT", help="One SELECT over the tables latents and spectra."),
    ],
    table: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILE", help="A table of yours, and what the SELECT calls it; repeatable."
        ),
    ] = None,
    snapshot: SnapshotNumber = None,
    output: RowsOutput = "",
    overwrite: Overwrite = False,
) -> None:
    """Run one SQL statement (DuckDB's dialect), read only.

    For instance:

      xpscale sql CATALOG 'SELECT * FROM latents JOIN mine USING (source_id)' --table mine=stars.csv
    """
    from xpscale.query.catalog import open_catalog
    from xpscale.query.write import require_writable, write

    if output:
        require_writable(output, overwrite=overwrite)
    opened = open_catalog(catalog, snapshot)
    found = opened.sql(statement, _named_files(table or []))
    if output:
        n_rows = write(found, output, opened.provenance(statement), overwrite=overwrite)
        say(f"{n_rows:,} rows: {output}")
    else:
        print_table(found)


def _named_files(given: list[str]) -> dict[str, str]:
    """Files by the names that ``NAME=FILE`` gives them."""
    from xpscale.errors import InvalidInputError

    found: dict[str, str] = {}
    for text in given:
        name, is_pair, path = text.partition("=")
        if not (is_pair and path) or name in found:
            raise InvalidInputError(
                f"--table {text!r} names no table, or one twice", "Give NAME=FILE: mine=stars.csv"
            )
        found[name] = path
    return found


def spectrum(
    catalog: Catalog,
    source_id: Annotated[str, typer.Argument(help="Gaia source_id.")],
    plot: Annotated[
        str,
        typer.Option(metavar="OUT.png", help="Draw it, with the band of its error."),
    ] = "",
    store: Annotated[
        str, typer.Option(help="The spectra store, to draw the observed spectrum with it.")
    ] = "",
    snapshot: SnapshotNumber = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Reconstructed coefficients of one source and the parts of their error: intrinsic scatter, and
    the posterior's where the catalogue has correlations.  In the archive's units.
    """
    import numpy as np
    import pyarrow as pa

    from xpscale.errors import InvalidInputError, NotFoundError
    from xpscale.query.catalog import open_catalog
    from xpscale.query.identifiers import parse_ids
    from xpscale.query.reconstruct import reconstruct
    from xpscale.storage.single_file import require_free

    if plot:
        require_free(plot, overwrite=overwrite)
    opened = open_catalog(catalog, snapshot)
    ids = parse_ids(source_id, opened.release)
    if len(ids) > 1:
        raise InvalidInputError(f"{source_id!r} holds {len(ids)} identifiers", "Give one")
    chosen = opened.at(ids)
    if len(chosen.missing):
        raise NotFoundError(
            f"source_id {source_id} is not in {catalog}",
            f"Check the identifier; it must be one of {opened.release}",
        )
    found = reconstruct(chosen)
    shown = {"reconstruction": found.mean, "scatter": found.scatter}
    if found.posterior_error is not None:
        shown |= {"posterior_error": found.posterior_error, "total_error": found.total_error}
    of_one = {name: values[0].astype(float) for name, values in shown.items()}
    if plot:
        save_figure(_draw(found, store, chosen.provenance), plot, overwrite=overwrite)
    if json:
        row = chosen.to_table().to_pylist()[0]
        print_json({**row, **{name: values.tolist() for name, values in of_one.items()}})
    elif not plot:
        print_table(pa.table({"coefficient": np.arange(found.bands.n_coefficients), **of_one}))


def _draw(found: Spectra, store: str, provenance: dict[str, str]) -> Any:
    """The spectrum against wavelength where GaiaXPy can calibrate it, else its coefficients."""
    from xpscale.errors import InvalidInputError, PermanentError
    from xpscale.plots.spectra import spectra as draw
    from xpscale.query.wavelength import sample_batch
    from xpscale.store.reader import open_store

    opened = open_store(store) if store else None
    observed: Any = opened.find(found.source_id.tolist()) if opened else None
    figure: Any
    try:
        sampled = found.at_wavelengths()
        observed = sample_batch(observed, opened.release) if opened else None
    except (PermanentError, InvalidInputError) as error:
        say(f"drawn as coefficients: {error}")
        figure, _ = draw(found, observed, provenance=provenance)
    else:
        figure, _ = draw(sampled, observed, provenance=provenance)
    return figure
