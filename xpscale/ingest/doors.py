"""What an ingest can start from, recognised by what lies there.

=====================  ===============================================================================================
bulk archive           ``xp_continuous_mean_spectrum/*.csv.gz`` beside ``gaia_source/*.csv.gz``
DataLink products      CSV, ECSV, FITS, VOTable, or the zip of a bulk request; one or several
sources a file HDF5 copies            ``XpContinuousMeanSpectrum_A-B.hdf5`` with
``GaiaSource_A-B.hdf5`` beside; MyGaiaDB's ``.h5`` Parquet, HATS          see
`xpscale.store.parquet`
=====================  ===============================================================================================

Tables without position and G flux are joined with a table of sources that has them.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpscale.archive.datalink import column_names, is_other_product, member_names
from xpscale.archive.files import tables_of
from xpscale.columns import find_source_columns, find_xp_columns
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.forecast.ingest import XP_BYTES_PER_ROW
from xpscale.formatting import format_bytes
from xpscale.ingest import plan as archive_plan
from xpscale.ingest.build import Pieces, ingest_pieces
from xpscale.ingest.pieces import ParquetPiece, StageParquet, StageTable, TablePiece
from xpscale.ingest.plan import IngestPlan
from xpscale.release import DR3
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.storage import Storage
from xpscale.store.open import open_parquet
from xpscale.store.parquet import ParquetSpectra, RowGroups
from xpscale.store.parquet_files import is_parquet
from xpscale.store.partitions import DEFAULT_MAX_ROWS

if TYPE_CHECKING:
    from xpscale.runtime.events import Callback
    from xpscale.store.reader import SpectraStore
    from xpscale.types import Executor

__all__ = ["DoorPlan", "plan_ingest", "run_ingest"]

FORMATS = {
    "csv": "CSV",
    "ecsv": "ECSV",
    "fits": "FITS",
    "fit": "FITS",
    "xml": "VOTable",
    "vot": "VOTable",
    "votable": "VOTable",
    "zip": "zip",
    "hdf5": "HDF5",
    "h5": "HDF5",
    "parquet": "Parquet",
}
"""Formats by a name's ending, ``.gz`` or not."""

HASHED_BYTES = 1 << 30
"""Files up to this size are told from others by their content, larger ones by their size."""

_RANGE = re.compile(
    r"(?:.*/)?(?P<table>XpContinuousMeanSpectrum|GaiaSource)_(?P<range>\d+-\d+)\.(?P<format>hdf5|h5)"
)


@dataclass(frozen=True)
class DoorPlan:
    """An ingest of other things than the bulk archive, described.

    Parameters
    ----------
    found
        What lies there, in words.
    pieces
        What will be read.
    store
        Where the spectra store will be.
    max_rows
        Rows of a partition at most.
    skip_damaged
        Whether files that cannot be read are set aside.
    """

    found: str
    pieces: Pieces
    store: Storage
    max_rows: int
    skip_damaged: bool = False

    @property
    def n_tasks(self) -> int:
        """Pieces to read."""
        return len(self.pieces.tasks)

    def __str__(self) -> str:
        return (
            f"ingest {self.found}\n  in {self.n_tasks:,} piece{'s' * (self.n_tasks != 1)} to"
            f" {self.store.url}, partitions of at most {self.max_rows:,} rows"
        )


def plan_ingest(
    source_url: str,
    store_url: str,
    *,
    sources: str = "",
    max_rows: int | None = None,
    skip_damaged: bool = False,
    correlations: bool = False,
) -> IngestPlan | DoorPlan:
    """Recognise what lies at ``source_url`` and say what ingesting it will take.  Writes nothing.

    Parameters
    ----------
    source_url
        A folder, a file, ``s3://``; the bulk archive also over ``https://``.
    store_url
        Where the spectra store will be.
    sources
        A table (Parquet, CSV, ECSV, FITS, VOTable, HDF5) with ``source_id``, ``ra``, ``dec`` and
        ``phot_g_mean_flux`` for spectra that come without.
    max_rows
        Rows of a partition at most; 262,144 if not given, or 32,768 with correlations.
    skip_damaged
        Whether files that cannot be read are set aside and named in the store's report.
    correlations
        Whether to keep the correlations of coefficients; only from the bulk archive.

    Raises
    ------
    NotFoundError
        Nothing that can be ingested is there.
    InvalidInputError
        It cannot be ingested as it is; the message says what is missing.
    """
    storage, files = _listing(source_url, sources)
    xp = tables_of(DR3)["xp"]
    if storage.url.startswith("http") or any(
        xp.pixels(key.removeprefix(f"{xp.folder}/")) for key in files
    ):
        if sources:
            raise InvalidInputError(
                f"{source_url} is a bulk archive with its own gaia_source", "Leave out --sources"
            )
        return archive_plan.plan_ingest(
            source_url,
            store_url,
            max_rows=max_rows,
            skip_damaged=skip_damaged,
            correlations=correlations,
        )
    if correlations:
        raise InvalidInputError(
            f"correlations are kept from the bulk archive only, and {source_url} is none",
            "Leave out --correlations",
        )
    max_rows = max_rows or DEFAULT_MAX_ROWS
    spectra = {key: n for key, n in files.items() if _format(key) and not _is_beside(key)}
    parquet = {key: n for key, n in spectra.items() if is_parquet(key)}
    if not spectra:
        raise NotFoundError(
            f"{source_url} holds no archive file, and no table of spectra",
            "Give a folder with xp_continuous_mean_spectrum/ and gaia_source/, DataLink products,"
            " HDF5 or Parquet files",
        )
    if parquet and len(parquet) < len(spectra):
        other = next(key for key in spectra if key not in parquet)
        raise InvalidInputError(
            f"{source_url} holds Parquet files and others, {next(iter(parquet))} and {other}",
            "Give one kind of them",
        )
    store = Storage(store_url)
    if parquet and not sources:
        reader = open_parquet(source_url)
        return DoorPlan(str(reader), _parquet_pieces(store, reader), store, max_rows, skip_damaged)
    return DoorPlan(
        _describe(source_url, files, spectra, sources),
        _table_pieces(store, storage, files, spectra, sources),
        store,
        max_rows,
        skip_damaged,
    )


def run_ingest(
    plan: IngestPlan | DoorPlan,
    *,
    executor: Executor | None = None,
    callbacks: Iterable[Callback] = (),
) -> tuple[SpectraStore, bool]:
    """Make the spectra store of a plan, or finish making it; see
    `xpscale.ingest.plan.run_ingest`.
    """
    if isinstance(plan, IngestPlan):
        return archive_plan.run_ingest(plan, executor=executor, callbacks=callbacks)
    where = executor or SerialExecutor()
    return ingest_pieces(
        plan.pieces,
        plan.store,
        plan.max_rows,
        where,
        list(callbacks),
        skip_damaged=plan.skip_damaged,
    )


# -- what is there


def _listing(source_url: str, sources: str) -> tuple[Storage, dict[str, int]]:
    """The storage and its files with sizes; of a single file its folder and that one.  The sources
    are left out.
    """
    storage = Storage(source_url)
    if storage.url.startswith("http"):
        return storage, {}
    folder = Storage(storage.url.rpartition("/")[0])
    if _format(storage.name) and (n_bytes := folder.size(storage.name)) is not None:
        return folder, {storage.name: n_bytes}
    if storage.exists("zarr.json"):
        raise InvalidInputError(
            f"{source_url} is a spectra store (or another Zarr group)", "It needs no ingest"
        )
    own = Storage(sources).url if sources else ""
    return storage, {key: n for key, n in storage.list().items() if f"{storage.url}/{key}" != own}


def _format(key: str) -> str:
    """``"CSV"`` and so on; empty for a name that tells of no table, as hidden files and
    ``_metadata`` do.
    """
    base = key.rsplit("/", 1)[-1]
    if base.startswith(("_", ".")):
        return ""
    return FORMATS.get(base.lower().removesuffix(".gz").rpartition(".")[2], "")


def _is_beside(key: str) -> bool:
    """Whether a file lies beside spectra without being any: other DataLink products, GaiaSource
    files.
    """
    match = _RANGE.fullmatch(key)
    return is_other_product(key) or (match is not None and match["table"] == "GaiaSource")


def _describe(
    source_url: str, files: Mapping[str, int], spectra: Mapping[str, int], sources: str
) -> str:
    formats = Counter(_format(key) for key in spectra)
    kinds = ", ".join(f"{n:,} {name}" for name, n in sorted(formats.items()))
    n_beside = len(files) - len(spectra)
    aside = f"; {n_beside:,} other file{'s' * (n_beside != 1)} left aside" if n_beside else ""
    joined = f", positions from {sources}" if sources else ""
    return f"tables of spectra: {kinds}, {format_bytes(sum(spectra.values()))}{joined} · {source_url}{aside}"


# -- pieces


def _table_pieces(
    store: Storage,
    storage: Storage,
    files: Mapping[str, int],
    spectra: Mapping[str, int],
    sources: str,
) -> Pieces:
    beside = {
        match["range"]: key
        for key in files
        if (match := _RANGE.fullmatch(key)) and match["table"] == "GaiaSource"
    }
    content = _content(*_split(sources)) if sources else ""
    pieces: list[TablePiece] = []
    for key, n_bytes in spectra.items():
        url, its_content = sources, content
        match = _RANGE.fullmatch(key)
        if not sources and match is not None and match["range"] in beside:
            partner = beside[match["range"]]
            url, its_content = f"{storage.url}/{partner}", str(files[partner])
        members = member_names(storage, key) if _format(key) in ("zip", "HDF5") else [""]
        own = _content(storage, key, n_bytes)
        n_rows = max(1, n_bytes // XP_BYTES_PER_ROW // len(members))
        pieces += [
            TablePiece(len(pieces) + i, key, m, own, url, its_content, n_rows)
            for i, m in enumerate(members)
        ]
    _require_positions(storage, pieces[0])
    return _as_pieces(
        "tables", pieces, [f"{piece.name} {piece.content} {piece.sources_content}" for piece in pieces],
        StageTable(store, storage), "tables in the form of DataLink products",
    )  # fmt: skip


def _require_positions(storage: Storage, piece: TablePiece) -> None:
    """Refuse early what every task would refuse."""
    where = f"{storage.url}/{piece.name}"
    names = column_names(storage, piece.file, piece.member)
    find_xp_columns(names, where)
    if not piece.sources and find_source_columns(names, where) is None:
        raise InvalidInputError(
            f"{where} has no ra, dec and phot_g_mean_flux, as is usual for DataLink products",
            "Give a table that has them: --sources FILE; the Gaia archive's answer to 'SELECT"
            " source_id, ra, dec, phot_g_mean_flux FROM gaiadr3.gaia_source WHERE source_id IN"
            " (...)' is one",
        )


def _parquet_pieces(store: Storage, reader: ParquetSpectra) -> Pieces:
    pieces: list[ParquetPiece] = []
    for file in reader.files:
        held: list[int] = []
        rows = 0
        for number, n_rows in enumerate(file.row_group_rows):
            held.append(number)
            rows += n_rows
            following = file.row_group_rows[number + 1 : number + 2]
            if not following or rows + following[0] > DEFAULT_MAX_ROWS:
                groups = RowGroups(file.key, file.n_bytes, tuple(held))
                pieces.append(
                    ParquetPiece(
                        len(pieces), groups, len(file.row_group_rows), file.footer_sha256, rows
                    )
                )
                held, rows = [], 0
    lines = [f"{file.key} {file.n_bytes} {file.footer_sha256}" for file in reader.files]
    return _as_pieces(
        "parquet", pieces, lines, StageParquet(store, reader), str(reader).rpartition(" · ")[0]
    )


def _as_pieces(
    kind: str,
    pieces: Sequence[TablePiece] | Sequence[ParquetPiece],
    contents: Sequence[str],
    stage: StageTable | StageParquet,
    origin: str,
) -> Pieces:
    names = hashlib.sha256("\n".join(piece.name for piece in pieces).encode()).hexdigest()
    digest = hashlib.sha256("\n".join(contents).encode()).hexdigest()
    return Pieces(
        pieces,
        stage,
        identity={"kind": kind, "files": names, "n_files": len(pieces)},
        digest=digest,
        attributes={"release": "Gaia", "origin": origin, "input_digest": digest},
        rows=lambda piece: piece.n_rows,
    )


def _split(url: str) -> tuple[Storage, str]:
    folder, _, key = Storage(url).url.rpartition("/")
    return Storage(folder), key


def _content(storage: Storage, key: str, n_bytes: int = 0) -> str:
    if n_bytes > HASHED_BYTES:
        return f"{n_bytes} bytes"
    with storage.open(key) as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()
