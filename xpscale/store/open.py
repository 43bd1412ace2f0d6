"""Open spectra, whoever made them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from xpscale.bands import Bands
from xpscale.column_names import ColumnChoice, lacking_source_columns
from xpscale.columns import (
    SourceColumns,
    XpColumns,
    find_source_columns,
    find_xp_columns,
)
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.release import DR3, Release, release_of, require_same_release
from xpscale.stated_release import agreed_release, release_in_name
from xpscale.storage import Storage
from xpscale.store.hats_listing import hats_pixel
from xpscale.store.layout import INGEST
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.store.parquet_files import (
    ParquetFile,
    content_digest,
    footers,
    is_parquet,
    list_files,
    require_all_rows,
)
from xpscale.store.parquet_widths import first_rows, vector_widths
from xpscale.store.partitions import DEFAULT_MAX_ROWS
from xpscale.store.reader import SpectraStore, open_store
from xpscale.table_bands import StatedBands, bands_of, bands_of_numbers
from xpscale.units import check_units

__all__ = ["dataset_of", "open_parquet", "open_spectra", "with_hats_position"]

NO_CATALOGUES = ("margin", "index", "association", "map")
"""Kinds of HATS that hold no sources of their own."""

MOST_FILES = 16
"""Files of which the first rows are looked at for their units."""


def open_spectra(
    url: str | Storage,
    *,
    bands: Bands | None = None,
    release: Release | None = None,
    columns: ColumnChoice | None = None,
    trust_units: bool = False,
    skip_damaged: bool = False,
) -> SpectraStore | ParquetSpectra:
    """Open a spectra store, or a Parquet folder, Parquet file or HATS catalogue with XP spectra.

    ``str()`` of what is returned says what it is.

    Parameters
    ----------
    url
        Where it is.
    bands, release, columns, trust_units, skip_damaged
        As in `open_parquet`; of a store they must be what it says itself.

    Raises
    ------
    NotFoundError
        Nothing of the kind is there.
    InvalidInputError
        It is there, but cannot be read; the message says why.
    """
    storage = url if isinstance(url, Storage) else Storage(url)
    if storage.exists("zarr.json") or storage.exists(INGEST):
        store = open_store(storage)
        if release is not None:
            require_same_release(storage.url, store.release, "--release", release)
        if bands not in (None, store.bands):
            raise InvalidInputError(f"{storage.url} has {store.bands} coefficients, not {bands}")
        return store
    try:
        return open_parquet(
            storage,
            bands=bands,
            release=release,
            columns=columns,
            trust_units=trust_units,
            skip_damaged=skip_damaged,
        )
    except NotFoundError:
        raise NotFoundError(
            f"{storage.url} has neither a spectra store nor Parquet files",
            "Check the address, or make a store: 'xpscale ingest'",
        ) from None


def open_parquet(
    url: str | Storage,
    *,
    max_rows: int = DEFAULT_MAX_ROWS,
    bands: Bands | None = None,
    release: Release | None = None,
    columns: ColumnChoice | None = None,
    trust_units: bool = False,
    skip_damaged: bool = False,
) -> ParquetSpectra:
    """Open a Parquet file, a folder of them, or a HATS catalogue or collection, with XP spectra.

    Reads every file's footer, and of one file what tells the number of coefficients.

    Parameters
    ----------
    url
        Where it is: a file, a folder, or ``s3://``.
    max_rows
        Rows of a partition at most; a HATS catalogue has its own.
    bands
        The numbers of BP and RP coefficients, for tables that hold both in one array and are of a
        release without fixed bands.
    release
        The data release; if not given, what the files say, else that of their bands.
    columns
        What the files' columns are called, where that is not known by name.
    trust_units
        Whether to take the values for what they are, though their sizes are not those of the
        archive's units.
    skip_damaged
        Whether files that are not whole may be there; reading their rows fails.

    Raises
    ------
    NotFoundError
        There is no Parquet file.
    InvalidInputError
        A file is damaged, differs from the others, or has no spectra.
    """
    storage, root, properties = dataset_of(url)
    sizes = list_files(storage, root)
    if not sizes:
        raise NotFoundError(
            f"{storage.url}/{root} holds no Parquet file".replace("/ ", " "), "Check the address"
        )
    everything = footers(storage, sizes, skip_damaged=skip_damaged)
    files = [file for file in everything if not file.damage]
    require_all_rows(storage.url, properties, everything)
    spectra, sources = _columns(storage, files, properties, release or DR3, columns)
    release = agreed_release(release, _named_releases(storage, files, properties))
    found = _bands(storage, files, spectra, properties, StatedBands(bands, release=release))
    release = release or release_of("", found)
    release.require_bands(found, storage.url)
    reader = ParquetSpectra(
        storage,
        root,
        spectra,
        sources,
        found,
        release,
        content_digest(everything),
        all(hats_pixel(file.key) is not None for file in files),
        max_rows,
        everything,
    )
    if not trust_units:
        _require_units(reader)
    return reader


def _require_units(reader: ParquetSpectra) -> None:
    """Look at the first rows of some files."""
    files = [file for file in reader.files if file.n_rows]
    for file in files[:: -(-len(files) // MOST_FILES) or 1]:
        first = next(i for i, n_rows in enumerate(file.row_group_rows) if n_rows)
        rows = reader.read_row_groups(RowGroups(file.key, file.n_bytes, (first,)))
        check_units(next(rows), f"{reader.storage.url}/{file.key}")


def dataset_of(url: str | Storage) -> tuple[Storage, str, dict[str, str]]:
    """Where the data files are: a place, and a folder or file below it; and properties of HATS."""
    storage = url if isinstance(url, Storage) else Storage(url)
    if is_parquet(storage.name):
        folder, _, name = storage.url.rpartition("/")
        return Storage(folder), name, {}
    table, properties = _hats_properties(storage)
    kind = properties.get("dataproduct_type", "object")
    if kind in NO_CATALOGUES:
        raise InvalidInputError(
            f"{storage.url} is, as its hats.properties says, of the kind {kind}: it holds copies of"
            " some rows, or none",
            "Give the catalogue that it belongs to",
        )
    return storage, f"{table}/dataset".lstrip("/") if properties else "", properties


def _columns(
    storage: Storage,
    files: Sequence[ParquetFile],
    properties: Mapping[str, str],
    layout: Release,
    columns: ColumnChoice | None,
) -> tuple[XpColumns, SourceColumns]:
    """The columns of spectra and of sources, which all files must have."""
    where = f"{storage.url}/{files[0].key}"
    names, choice = files[0].columns, with_hats_position(columns, properties, files[0].columns)
    spectra = find_xp_columns(names, where, layout, choice)
    sources = find_source_columns(names, where, layout, choice)
    if sources is None:
        raise InvalidInputError(
            lacking_source_columns(names, where, layout),
            "Join them from gaia_source, give them to 'xpscale ingest' with --sources, or say what"
            " they are called: --columns-map FILE",
        )
    needed = {*spectra.names, *replace(sources, companions=()).names}
    companions = dict(sources.companions)
    for columns_of, key in {file.columns: file.key for file in reversed(files)}.items():
        if lacking := sorted(needed - set(columns_of)):
            raise InvalidInputError(
                f"{storage.url}/{key} has no column {lacking[0]}, {where} has",
                "Give it the columns of the others, or take it out of the folder",
            )
        its = find_source_columns(columns_of, f"{storage.url}/{key}", layout, choice)
        companions = {**dict(its.companions if its else ()), **companions}
    ordered = tuple((name, companions[name]) for name in choice.companions if name in companions)
    return spectra, replace(sources, companions=ordered)


def with_hats_position(
    choice: ColumnChoice | None, properties: Mapping[str, str], names: Sequence[str]
) -> ColumnChoice:
    """A choice of columns, completed by what the properties of HATS say of positions.

    Parameters
    ----------
    choice
        What the user says.
    properties
        Of the catalogue; empty if it is none.
    names
        Its columns.
    """
    choice = choice or ColumnChoice()
    said = {name: properties.get(f"hats_col_{name}", "") for name in ("ra", "dec")}
    known = {name: column for name, column in said.items() if column in names}
    return replace(choice, spectra={**known, **choice.spectra})


def _named_releases(
    storage: Storage, files: Sequence[ParquetFile], properties: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """What says of which release it is: metadata of files, properties of HATS, designations."""
    yield f"{storage.url}/hats.properties", properties.get("xpscale_release", "")
    for file in files:
        yield f"{storage.url}/{file.key}", file.release
    column = next((name for name in files[0].columns if name.lower() == "designation"), "")
    if column and (table := first_rows(storage, files, [column])):
        texts = (str(text) for text in table[column].to_pylist() if text)
        yield f"{storage.url}/{files[0].key}", release_in_name(next(texts, ""))


def _bands(
    storage: Storage,
    files: Sequence[ParquetFile],
    spectra: XpColumns,
    properties: Mapping[str, str],
    stated: StatedBands,
) -> Bands:
    widths = vector_widths(storage, files, spectra.coefficients)
    if len(widths) == 1:
        by_columns = None
        if spectra.n_parameters and (table := first_rows(storage, files, spectra.n_parameters)):
            columns = (table[name].to_numpy() for name in spectra.n_parameters)
            by_columns = bands_of_numbers([column.astype(np.float64) for column in columns])
        n_bp = files[0].n_bp or properties.get("xpscale_n_bp", "")
        stated = replace(stated, by_columns=by_columns, n_bp=int(n_bp) if n_bp else None)
    return bands_of(spectra, widths, f"{storage.url}/{files[0].key}", stated)


def _hats_properties(storage: Storage) -> tuple[str, dict[str, str]]:
    """The folder of a HATS catalogue below ``storage`` and its properties, both empty if it is
    none.
    """
    collection = _properties(storage, "collection.properties")
    table = collection.get("hats_primary_table_url", "")
    place = storage / table if table else storage
    return table, _properties(place, "hats.properties") or _properties(place, "properties")


def _properties(storage: Storage, key: str) -> dict[str, str]:
    try:
        lines = storage.read(key).decode(errors="replace").splitlines()
    except NotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}
