"""What a file says that it holds is compared with its bytes before memory is taken."""

import gzip
import io
import json
import re
import zipfile
from dataclasses import asdict, replace

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from xpscale.archive import hdf5
from xpscale.archive.datalink import read_spectra
from xpscale.archive.ecsv import EcsvReader
from xpscale.archive.tables import open_tables
from xpscale.bands import Bands
from xpscale.catalog.manifest import RunIdentity
from xpscale.errors import InvalidInputError, XpscaleError
from xpscale.json_files import parse_json, read_value
from xpscale.model.card import Architecture, ModelCard
from xpscale.model.checkpoint import load_model
from xpscale.model.scaling import Scaling
from xpscale.query.user_table import read_table
from xpscale.storage import Storage, readable
from xpscale.types import TaskReport

ROW = b"source_id" + b"0" * 9990 + b",b\n"
ZEROS = 200_000_000 // len(ROW) * len(ROW)
TOO_MUCH = r"of memory for|more than .* characters|field larger|damaged"


def gzipped_zeros() -> bytes:
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as file:
        file.write(ROW * (ZEROS // len(ROW)))
    return out.getvalue()


def zipped(name: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, ROW * (ZEROS // len(ROW)))
    return out.getvalue()


def wide_hdf5() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["source_id"] = np.arange(4)
        file.create_dataset("bp_coefficients", (10**6, 10**5), "f4", chunks=(100, 100))
    return out.getvalue()


def long_parquet() -> bytes:
    out = io.BytesIO()
    schema = pa.schema({"source_id": pa.int64(), "flux": pa.float64()})
    rows = pa.table([np.zeros(10**6, np.int64), np.zeros(10**6)], schema=schema)
    with pq.ParquetWriter(out, schema) as writer:
        for _ in range(20):
            writer.write_table(rows)
    return out.getvalue()


def long_lists() -> bytes:
    out = io.BytesIO()
    offsets = np.array([0, 2 * 10**7], np.int32)
    lists = pa.ListArray.from_arrays(offsets, np.zeros(2 * 10**7, np.float32))
    pq.write_table(pa.table({"source_id": [1], "bp_coefficients": lists}), out)
    return out.getvalue()


def repeated_text(listed: bool = False) -> bytes:
    out = io.BytesIO()
    text = pa.DictionaryArray.from_arrays(np.zeros(10**4, np.int32), ["x" * 10**6])
    if listed:
        text = pa.ListArray.from_arrays(np.arange(10**4 + 1, dtype=np.int32), text)
    pq.write_table(pa.table({"source_id": np.arange(10**4), "bp_coefficients": text}), out)
    return out.getvalue()


def shared_heap() -> bytes:
    out = io.BytesIO()
    rows = np.array([np.zeros(10**6, np.float32)] + [np.zeros(1, np.float32)] * 9999, object)
    columns = [
        fits.Column("source_id", "K", array=np.arange(10**4)),
        fits.Column("bp_coefficients", "PE()", array=rows),
    ]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(out)
    return out.getvalue()


def many_rows() -> bytes:
    small = fits.BinTableHDU.from_columns([fits.Column("source_id", "K", array=np.arange(4))])
    out = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), small]).writeto(out)
    head = b"NAXIS2  =                    4"
    return out.getvalue().replace(head, b"NAXIS2  =" + b"9999999999999".rjust(21))


def votable(nrows: str = "2", arraysize: str = "55") -> bytes:
    return (
        f'<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE nrows="{nrows}">'
        f'<FIELD name="source_id" datatype="long"/>'
        f'<FIELD name="bp_coefficients" datatype="float" arraysize="{arraysize}"/>'
        "<DATA><TABLEDATA><TR><TD>1</TD><TD/></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"
    ).encode()


FILES = {
    "zeros.csv.gz": gzipped_zeros,
    "wide.h5": wide_hdf5,
    "long.parquet": long_parquet,
    "lists.parquet": long_lists,
    "text.parquet": repeated_text,
    "texts.parquet": lambda: repeated_text(listed=True),
    "heap.fits": shared_heap,
    "rows.fits": many_rows,
    "rows.xml": lambda: votable(nrows="9" * 12),
    "array.vot": lambda: votable(arraysize="100000x100000"),
    "line.csv": lambda: b"source_id,ra\n" + b"1" * (1 << 25),
    "head.csv": lambda: b"x" * (1 << 25),
}


@pytest.mark.parametrize("name", FILES)
def test_no_file_takes_far_more_memory_than_it_has_bytes(name):
    stream = io.BytesIO(FILES[name]())
    with pytest.raises(InvalidInputError, match=TOO_MUCH):
        read_all(stream, name)


def read_all(stream, name):
    for table in open_tables(stream, name):
        for column in table.names:
            table.vectors(column)


@pytest.mark.parametrize(
    "name", sorted(FILES.keys() - {"wide.h5", "array.vot", "line.csv", "head.csv"})
)
def test_nor_does_a_table_of_the_user(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name]())
    with pytest.raises(InvalidInputError, match=TOO_MUCH):
        read_table(tmp_path / name)


def test_a_group_of_hdf5_has_a_bounded_number_of_arrays_and_no_other_is_looked_at(monkeypatch):
    monkeypatch.setattr(hdf5, "MOST_ARRAYS", 5)
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for number in range(4):
            file[f"part/c{number}"] = file[f"other/c{number}"] = np.ones(3)
    with pytest.raises(InvalidInputError, match="more than 5 arrays"):
        next(open_tables(out, "x.h5"))
    assert len(next(open_tables(out, "x.h5", "part")).names) == 4


def laughing(n):
    """Each line holds the line before nine times."""
    lines = ["- a0: &a0 [x]"]
    lines += [f"- a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, n)]
    return "\n".join(f"# {line}" for line in ["meta: !!omap", *lines])


@pytest.mark.parametrize(
    "meta",
    [
        laughing(12),
        "# meta: &a {b: *a}",
        f"# meta: {{a: {'x' * (1 << 21)}}}",
        "# meta: " + "[" * 5000,
    ],
)
def test_the_head_of_an_ecsv_file_ends(tmp_path, meta):
    columns = "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: source_id, datatype: int64}\n"
    (tmp_path / "x.ecsv").write_text(f"{columns}{meta}\nsource_id\n1\n")
    with pytest.raises(InvalidInputError):
        read_table(tmp_path / "x.ecsv")
    (tmp_path / "y.ecsv").write_text(f"{columns}{laughing(3)}\nsource_id\n1\n")
    assert read_table(tmp_path / "y.ecsv")["source_id"].to_pylist() == [1]


def test_nor_does_a_member_of_a_zip_whatever_its_head_says(tmp_path):
    name = "XP_CONTINUOUS_RAW-1.csv"
    honest = zipped(name)
    (tmp_path / "x.zip").write_bytes(honest)
    # the size in the central directory: the last 4 bytes before the lengths of the name
    lying = re.sub(ZEROS.to_bytes(4, "little"), (1000).to_bytes(4, "little"), honest)
    (tmp_path / "y.zip").write_bytes(lying)
    for key in ("x.zip", "y.zip"):
        with pytest.raises(InvalidInputError):
            read_spectra(Storage(str(tmp_path)), key, name)


def test_a_row_of_the_archive_ends():
    data = io.BytesIO(gzip.compress(b"source_id,a\n1," + b"2" * (1 << 25)))
    with pytest.raises(InvalidInputError, match="has more than"):
        list(EcsvReader(data, "x.csv.gz", integers=["source_id"]).chunks())


@pytest.mark.parametrize("names", [("mu", "sig"), ("mu",), ()])
def test_a_scaling_is_of_a_bounded_size(tmp_path, names):
    np.savez_compressed(tmp_path / "a.npz", **{name: np.zeros(12_000_000) for name in names})
    with pytest.raises(InvalidInputError):
        Scaling.from_npz(tmp_path / "a.npz", Bands(55, 55))


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 10**6,
        b"[]," * 10**6,
        b'{"a":' * 10**5,
        b"[" + b"[]," * 10**6 + b"[]]",
        b" " * (readable.MAX_DOCUMENT + 1),
        b"\xff\xfe",
        b"nonsense",
        b"",
    ],
)
def test_json_is_of_a_bounded_size_and_depth(text):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_json(text)
    assert not isinstance(caught.value, RecursionError)


@pytest.mark.parametrize("key", ["card.json", "a/hats.properties", "properties", "_MD5SUM.txt"])
def test_a_document_is_of_a_bounded_size(tmp_path, key):
    path = tmp_path / key
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(InvalidInputError, match="of at most"):
        Storage(str(tmp_path)).read(key)


@pytest.mark.parametrize(
    "changed",
    [
        {"hidden": (10**9,)},
        {"hidden": (2,) * 100},
        {"n_latents": 10**9},
        {"bands": {"n_bp": 10**9, "n_rp": 1}},
    ],
)
def test_a_card_asks_for_no_impossible_network(changed):
    card = json.loads(ModelCard(Architecture(Bands(3, 3))).to_json())
    card["architecture"].update(changed)
    with pytest.raises(InvalidInputError):
        ModelCard.from_json(json.dumps(card))


def test_a_card_of_another_width_allocates_nothing(tmp_path, saved_model, monkeypatch):
    """The hash of such a model is right: whoever makes it can compute it."""
    import xpscale.model.folder as folder

    card = json.loads((saved_model / "card.json").read_text())
    card["architecture"]["hidden"] = [8000, 8000]
    card["model_id"] = "same"
    for path in saved_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "card.json").write_text(json.dumps(card))
    monkeypatch.setattr(folder, "content_hash", lambda *_: "same")
    with pytest.raises(InvalidInputError, match="is damaged"):
        load_model(str(tmp_path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_a_value_or_one_error(value):
    text = json.dumps(value)
    for kind in (RunIdentity, TaskReport, ModelCard):
        with pytest.raises(XpscaleError):
            read_value(kind.from_json, text, "x.json", "value")


def test_a_field_of_another_type_is_refused(identity):
    fields = json.loads(json.dumps(asdict(identity)))
    for name, value in fields.items():
        for other in ({"a": 1}, 10**30, None, 1.5):
            if type(other) is type(value) and other == value:
                continue
            text = json.dumps({**fields, name: other})
            with pytest.raises(InvalidInputError, match=name):
                read_value(RunIdentity.from_json, text, "run.json", "identity of a run")
    assert RunIdentity.from_json(json.dumps(fields)) == identity
    assert replace(identity) == identity
