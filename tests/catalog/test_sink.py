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

from xpscale.catalog.encoding import encode
from xpscale.catalog.footer import footer_sizes, unpacked
from xpscale.catalog.sink import ParquetSink
from xpscale.catalog.votable import conform, product_schema
from xpscale.errors import ConflictError, InvalidInputError, PermanentError
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


def test_encodings_and_row_groups(storage: Storage):
    parts = sink_of(storage).put(PIXEL, random_table(PIXEL, 5_000))
    most_bytes = {"latents": 150_000, "spectra": 1_500_000}
    for part, (product, most) in zip(parts, most_bytes.items(), strict=True):
        metadata = pq.ParquetFile(f"{storage}/{part.key}").metadata
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        assert len({group.num_rows for group in groups[:-1]}) == 1 < len(groups), product
        sizes = [
            sum(group.column(i).total_compressed_size for i in range(metadata.num_columns))
            for group in groups
        ]
        assert most / 2 < max(sizes) <= most
        assert groups[0].sorting_columns == (pq.SortingColumn(0),)
        for i in range(metadata.num_columns):
            column = groups[0].column(i)
            name = column.path_in_schema
            assert column.compression == "ZSTD"
            assert not column.has_dictionary_page
            assert column.is_stats_set is not ("list" in name or name.startswith("latent_"))
            assert column.has_offset_index
            assert column.has_column_index is column.is_stats_set
            if column.physical_type in ("FLOAT", "DOUBLE"):
                assert "BYTE_STREAM_SPLIT" in column.encodings
            if name in ("_healpix_29", "source_id"):
                assert "DELTA_BINARY_PACKED" in column.encodings


def test_the_footer_is_kept_a_second_time_packed(storage: Storage):
    for part in sink_of(storage).put(PIXEL, random_table(PIXEL, 5_000)):
        data = storage.read(part.key)
        end = len(data) - part.footer_bytes
        packed = data[end - part.packed_footer_bytes : end]
        assert unpacked(packed, "") == data[end:]
        assert len(packed) < part.footer_bytes / 2
        with pytest.raises(PermanentError, match="is damaged"):
            unpacked(bytes([packed[0], packed[1] ^ 1, *packed[2:]]), "it")
        without = data[: end - part.packed_footer_bytes] + data[end:]
        assert footer_sizes(without) == (0, 0)
        assert pq.read_table(pa.BufferReader(without)).equals(pq.read_table(pa.BufferReader(data)))


def test_sources_whose_identifier_carries_another_pixel_are_named(storage: Storage):
    table = random_table(PIXEL)
    ids = table["source_id"].to_numpy().copy()
    ids[[3, 90]] = [5, 7 << 35]
    table = table.set_column(1, "source_id", pa.array(ids))
    latents, spectra = sink_of(storage).put(PIXEL, table)
    assert (latents.movers, spectra.movers) == ((5, 7 << 35), None)
    ids[:300] = np.arange(300)
    many = table.set_column(1, "source_id", pa.array(ids))
    assert sink_of(storage / "many").put(PIXEL, many)[0].movers is None


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


def test_rows_that_come_in_pieces_make_the_same_parts(storage: Storage):
    whole = random_table(PIXEL, 3_000)
    at_once = ParquetSink(storage / "whole", LAYOUT).put(PIXEL, whole)
    parts = ParquetSink(storage / "pieces", LAYOUT).open(PIXEL)
    for start in (0, 700, 1400, 2100):
        parts.append(whole.slice(start, min(700, 3_000 - start)))
    parts.append(whole.slice(2_800))
    assert (storage / "pieces").is_empty()
    assert parts.finish() == at_once
    late = ParquetSink(storage / "late", LAYOUT).open(PIXEL)
    late.append(whole.slice(300, 300))
    with pytest.raises(InvalidInputError, match="row 0 comes too late"):
        late.append(whole.slice(0, 300))
