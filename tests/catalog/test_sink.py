import hashlib
import pickle
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from random_catalog import LAYOUT, PIXELS, C, L, random_table

from xpscale.catalog.sink import ROW_GROUP_SIZE, ParquetSink, encode
from xpscale.catalog.votable import conform, product_schema
from xpscale.errors import ConflictError, InvalidInputError
from xpscale.release import DR3
from xpscale.schema import TableLayout
from xpscale.storage import Storage

PIXEL = PIXELS[1]


def sink_of(storage: Storage) -> ParquetSink:
    return pickle.loads(pickle.dumps(ParquetSink(storage, LAYOUT)))


@pytest.mark.parametrize("n", [1, 400])
def test_parts_hold_what_came_in(storage: Storage, n: int):
    table = random_table(PIXEL, n)
    parts = sink_of(storage).put(PIXEL, table)
    assert [part.key for part in parts] == [
        f"{p}/dataset/Norder=3/Dir=0/Npix=200.parquet" for p in ("latents", "spectra")
    ]
    for part, product in zip(parts, ("latents", "spectra"), strict=True):
        data = storage.read(part.key)
        assert (part.n_rows, part.n_bytes, part.sha256) == (
            n,
            len(data),
            hashlib.sha256(data).hexdigest(),
        )
        found = pq.read_table(pa.BufferReader(data))
        assert found.schema.equals(product_schema(product, LAYOUT), check_metadata=True)
        assert found.equals(table.select(found.column_names).cast(found.schema))


def test_only_the_chosen_columns_are_written(storage: Storage):
    sink = ParquetSink(storage, TableLayout(L, C, DR3, ("latents", "scatter"), "0.01"))
    parts = sink.put(PIXEL, random_table(PIXEL).drop_columns(["reconstruction"]))
    found = pq.read_table(pa.BufferReader(storage.read(parts[1].key)))
    assert found.column_names == ["_healpix_29", "source_id", "ra", "dec", "scatter"]
    assert b"within 0.01 of itself" in found.schema.field("scatter").metadata[b"description"]
    alone = ParquetSink(storage / "latents", TableLayout(L, C, DR3, ("latents",)))
    (part,) = alone.put(PIXEL, random_table(PIXEL).drop_columns(["nll", "reduced_chi2"]))
    assert not {"nll", "reduced_chi2"} & {*pq.read_schema(f"{alone.catalog}/{part.key}").names}


def test_no_rows_no_part(storage: Storage):
    assert sink_of(storage).put(PIXEL, random_table(PIXEL, 0)) == ()
    assert storage.is_empty()


@settings(max_examples=10, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=4))
def test_equal_tables_make_equal_bytes(cuts: list[int]):
    whole = random_table(PIXEL, 3000)
    edges = [0, *sorted(cuts), 3000]
    pieces = pa.concat_tables(whole.slice(a, b - a) for a, b in pairwise(edges))
    sliced = pa.concat_tables([random_table(PIXEL, 7), whole]).combine_chunks().slice(7)
    for product in ("latents", "spectra"):
        target = product_schema(product, LAYOUT)
        hashes = {
            hashlib.sha256(encode(conform(t, target), product)).digest()
            for t in (whole, pieces, sliced)
        }
        assert len(hashes) == 1


def test_encodings(storage: Storage):
    n = ROW_GROUP_SIZE + 10
    table = random_table(PIXEL, n)
    latents, spectra = (
        pq.ParquetFile(f"{storage}/{part.key}").metadata
        for part in sink_of(storage).put(PIXEL, table)
    )
    assert [latents.row_group(i).num_rows for i in range(latents.num_row_groups)] == [
        ROW_GROUP_SIZE,
        10,
    ]
    for metadata in (latents, spectra):
        for i in range(metadata.num_columns):
            column = metadata.row_group(0).column(i)
            assert column.compression == "ZSTD"
            assert not column.has_dictionary_page
            is_array = "list" in column.path_in_schema
            assert column.is_stats_set is not is_array
            if column.physical_type in ("FLOAT", "DOUBLE"):
                assert "BYTE_STREAM_SPLIT" in column.encodings
            if column.path_in_schema in ("_healpix_29", "source_id"):
                assert "DELTA_BINARY_PACKED" in column.encodings


def test_the_first_writer_wins_and_the_loser_reports_the_winner(storage: Storage):
    first = sink_of(storage).put(PIXEL, random_table(PIXEL))
    before = {part.key: storage.read(part.key) for part in first}
    # The same sources on another device: other last bits.
    table = random_table(PIXEL)
    nll = table.schema.get_field_index("nll")
    other = table.set_column(
        nll, table.schema.field(nll), pa.array(np.nextafter(table["nll"].to_numpy(), np.float32(0)))
    )
    assert sink_of(storage).put(PIXEL, other) == first
    assert {part.key: storage.read(part.key) for part in first} == before


def test_a_damaged_or_foreign_winner_is_named_and_kept(storage: Storage):
    sink, table = sink_of(storage), random_table(PIXEL)
    key = sink.put(PIXEL, random_table(PIXEL, seed=1))[0].key
    with pytest.raises(ConflictError, match=f"{key}.*not the 400 sources"):
        sink.put(PIXEL, table)
    storage.replace(key, storage.read(key)[:-100])
    with pytest.raises(ConflictError, match=f"{key}.*cannot be read"):
        sink.put(PIXEL, table)


def test_rows_out_of_place_are_refused_before_anything_is_written(storage: Storage):
    sink, table = sink_of(storage), random_table(PIXEL)
    for below, above in (PIXELS[:2], PIXELS[1:3]):
        for pixel, other in ((below, above), (above, below)):
            with pytest.raises(InvalidInputError, match=r"row 0 of .* lies outside"):
                sink.put(pixel, random_table(other))
    with pytest.raises(InvalidInputError, match="not sorted"):
        sink.put(PIXEL, table.take(pa.array([1, 0])))
    with pytest.raises(InvalidInputError, match="lacks the columns scatter"):
        ParquetSink(storage, LAYOUT).put(PIXEL, table.drop_columns(["scatter"]))
    assert storage.is_empty()


def test_astropy_sees_units_ucds_and_arrays(storage: Storage):
    for part, product in zip(
        sink_of(storage).put(PIXEL, random_table(PIXEL, 20)), ("latents", "spectra"), strict=True
    ):
        found = Table.read(f"{storage}/{part.key}", format="parquet.votable")
        for column in LAYOUT.columns(product):
            assert found[column.name].meta["ucd"] == column.ucd
            assert found[column.name].description == column.description
        assert found["ra"].unit == "deg"
    assert found["reconstruction"].shape == (20, C)
    assert found["scatter"].unit.to_string() == "electron / s"


def test_the_votable_is_valid_by_astropy():
    from io import BytesIO

    from astropy.io import votable as astropy_votable

    from xpscale.catalog.votable import votable

    for product in ("latents", "spectra"):
        document = votable(product, LAYOUT.columns(product), DR3)
        parsed = astropy_votable.parse(
            BytesIO(document), verify="exception"
        )  # raises on any deviation
        fields = parsed.get_first_table().fields
        assert [field.name for field in fields] == [
            column.name for column in LAYOUT.columns(product)
        ]
        assert {field.ref for field in fields if field.name in ("ra", "dec")} == {"icrs"}


def test_rows_that_come_row_group_by_row_group_make_the_same_parts(storage: Storage):
    whole = random_table(PIXEL, ROW_GROUP_SIZE + 300)
    at_once = ParquetSink(storage / "whole", LAYOUT).put(PIXEL, whole)
    parts = ParquetSink(storage / "pieces", LAYOUT).open(PIXEL)
    for start in (0, ROW_GROUP_SIZE):
        parts.append(whole.slice(start, ROW_GROUP_SIZE))
    assert (storage / "pieces").is_empty()
    assert parts.finish() == at_once
    late = ParquetSink(storage / "late", LAYOUT).open(PIXEL)
    late.append(whole.slice(300, 300))
    with pytest.raises(InvalidInputError, match="row 0 comes too late"):
        late.append(whole.slice(0, 300))
