"""The scanner of bulk files against Python's own float, and everything that can be wrong with a row
or a file.
"""

import gzip
import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xpscale.archive import ecsv
from xpscale.archive.ecsv import EcsvReader
from xpscale.archive.parse import parse_spectra
from xpscale.errors import InvalidInputError

HEAD = b"# %ECSV 1.0\n# ---\n# datatype: []\nid,skipped,x,arr,tail,last\n"


def read(text, *, raw=None, tail=("x",)):
    data = gzip.compress(text, mtime=0) if raw is None else raw
    reader = EcsvReader(
        io.BytesIO(data), "file.csv.gz", integers=["id"], floats=list(tail), arrays=["arr"]
    )
    chunks = list(reader.chunks())
    join = lambda parts, empty: np.concatenate(parts) if parts else empty  # noqa: E731
    return (
        join([c.integers[:, 0] for c in chunks], np.empty(0, np.int64)),
        join([c.floats for c in chunks], np.empty((0, 1))),
        join([padded(c.arrays[0]) for c in chunks], np.empty((0, 8))),
        join([c.lengths[:, 0] for c in chunks], np.empty(0, int)),
    )


def padded(array):
    return np.pad(array, ((0, 0), (0, 8 - array.shape[1])), constant_values=np.nan)


@pytest.fixture(autouse=True, scope="module")
def short_arrays():
    """Room for 2 elements at first, and 8 at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecsv, "FIRST_WIDTH", 2)
        patch.setattr(ecsv, "MAX_ARRAY", 8)
        yield


def spellings(value):
    """The same float as Java, Python and numpy may write it."""
    plain = repr(value)
    java = plain.upper().replace("E+", "E").replace("E-0", "E-")
    return st.sampled_from([plain, java, f"{value:.17E}", f" {plain}"])


# the archive's magnitudes; 17 significant digits make the float64 that was printed
NUMBERS = st.floats(
    allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12, allow_subnormal=False
)
FIELDS = st.one_of(
    NUMBERS.flatmap(lambda v: st.tuples(spellings(v), st.just(v))),
    st.sampled_from(
        [
            ("null", math.nan),
            ("", math.nan),
            ("nan", math.nan),
            ("NaN", math.nan),
            ("Infinity", math.inf),
        ]
    ),
    st.integers(-(10**15), 10**15).map(lambda i: (str(i), float(i))),
)
ARRAYS = st.one_of(
    st.sampled_from([("null", []), ("", []), ('"[]"', []), ('""', [])]),
    st.lists(FIELDS.filter(lambda f: f[0] != ""), min_size=1, max_size=8).map(
        lambda fields: (
            f'"[{",".join(text for text, _ in fields)}]"',
            [value for _, value in fields],
        )
    ),
)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 2**63 - 1),
        st.sampled_from(["", '"a,b\'c"', "plain", "null"]),
        FIELDS,
        ARRAYS,
    ),
    max_size=12,
)


@given(
    rows=ROWS,
    newline=st.sampled_from(["\n", "\r\n"]),
    ends=st.booleans(),
    chunk=st.sampled_from([64, 256, 1 << 20]),
)
def test_numbers_are_those_that_python_reads(rows, newline, ends, chunk):
    body = newline.join(f'{i},{s},{x[0]},{a[0]},"[1,2]",{s}' for i, s, x, a in rows)
    text = HEAD.replace(b"\n", newline.encode()) + (body + newline * ends).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ecsv, "CHUNK_BYTES", chunk)
        ids, floats, arrays, lengths = read(text)
    assert ids.tolist() == [row[0] for row in rows]
    assert lengths.tolist() == [len(row[3][1]) for row in rows]
    for got, (_, value) in zip(floats[:, 0], (row[2] for row in rows), strict=True):
        assert got == pytest.approx(value, rel=3e-16, abs=1e-300, nan_ok=True)
    for got, (_, values) in zip(arrays, (row[3] for row in rows), strict=True):
        expected = np.full(8, np.nan, np.float32)
        expected[: len(values)] = np.array(values, np.float64).astype(np.float32)
        assert np.array_equal(got, expected, equal_nan=True)


@given(st.one_of(st.floats(0, 360), st.floats(-90, 90), st.floats(1e-3, 1e12)))
def test_positions_and_fluxes_are_exact(value):
    for text in (np.format_float_positional(value, unique=True), f"{value:.17f}"[:19]):
        _, floats, *_ = read(HEAD + f"1,,{text},null,,".encode())
        digits = text.strip("-").replace(".", "").lstrip("0")
        exact = len(digits) <= 19 and len(text.partition(".")[2]) <= 22
        assert (
            floats[0, 0] == float(text)
            if exact
            else floats[0, 0] == pytest.approx(float(text), rel=4e-16)
        )


DIGITS = st.from_regex(r"\A-?[0-9]{1,22}(\.[0-9]{0,26})?(E-?[0-9]{1,2})?\Z")


@given(st.lists(DIGITS, min_size=1, max_size=8), st.booleans())
def test_however_many_digits_a_number_has(texts, is_array_alone):
    *_, arrays, lengths = read(
        HEAD + f'1,,2,"[{",".join(texts)}]",,{"" if is_array_alone else "x" * 99}\n'.encode()
    )
    assert lengths.tolist() == [len(texts)]
    with np.errstate(over="ignore"):
        expected = np.array([float(text) for text in texts]).astype(np.float32)
    for got, value, text in zip(arrays[0], expected, texts, strict=False):
        digits, _, power = text.strip("-").partition("E")
        n_behind = len(digits.partition(".")[2]) - int(power or 0)
        exact = len(digits.replace(".", "").lstrip("0")) <= 19 and 0 <= n_behind <= 22
        assert got == value if exact else got == pytest.approx(value, rel=2e-7, abs=1e-44)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (b"3,a,1.0,null,x", "row 2 has another number of columns"),
        (b"3,a,1.0,null,x,y,z", "row 2 has another number of columns"),
        (b'3,a,1.0,"[1,2]",x,"y",z', "row 2 has another number of columns"),
        (b"3", "row 2 has another number of columns"),
        (b"3,a,1.0x,null,x,y", "row 2, column x, cannot be read"),
        (b"3,a,--1,null,x,y", "row 2, column x, cannot be read"),
        (b"3,a,1e,null,x,y", "row 2, column x, cannot be read"),
        (b"3,a,nul,null,x,y", "row 2, column x, cannot be read"),
        (b"3,a,icy,null,x,y", "row 2, column x, cannot be read"),
        (b"3.5,a,1,null,x,y", "row 2, column id, cannot be read"),
        (b"9223372036854775808,a,1,null,x,y", "row 2, column id, cannot be read"),
        (b'3,a,1,"[1,oops]",x,y', "row 2, column arr, cannot be read"),
        (b'3,a,1,"[1,2,3,4,5,6,7,8,9]",x,y', "row 2, column arr, cannot be read"),
        (b'3,a,1,"[1,2]"x,x,y', "row 2, column arr, cannot be read"),
        (b'3,a,1,"[1,2],x,y', "row 2"),
        (b'3,a,1,null,"x,y', "row 2"),
    ],
)
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_bad_rows_are_named(row, says, chunk, monkeypatch):
    monkeypatch.setattr(ecsv, "CHUNK_BYTES", chunk)
    good = b'1,"a",2.0,"[1]",x,y\n'
    with pytest.raises(InvalidInputError, match=r"file\.csv\.gz: row 2") as raised:
        read(HEAD + good + row + b"\n" + good * 20)
    assert says in str(raised.value)


WHOLE = gzip.compress(
    HEAD + b"".join(b'%d,"a",2.5,"[1,2]",x,y\n' % i for i in range(1, 4000)), mtime=0
)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (WHOLE[: len(WHOLE) // 2], "truncated"),
        (WHOLE[:-4], "truncated"),
        (WHOLE[:5], "truncated"),
        (b"", "no header"),
        (b"<html>404</html>", "not a sound gzip"),
        (WHOLE[:3000] + bytes([WHOLE[3000] ^ 0x55]) + WHOLE[3001:], "file.csv.gz"),
        (WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:], "not a sound gzip"),
        (WHOLE + b"junk", "truncated"),
        (WHOLE + b"junk" * 9, "not a sound gzip"),
        (WHOLE + bytes(9) + gzip.compress(b"4000,a,1,null,x,y\n")[:-1], "truncated"),
        (gzip.compress(b"# only\n# comments\n", mtime=0), "no header"),
        (gzip.compress(b"id,x\n1,2\n", mtime=0), "no column arr"),
    ],
)
def test_damaged_files_are_refused(raw, says):
    with pytest.raises(InvalidInputError, match=says):
        read(b"", raw=raw)


@pytest.mark.parametrize("padding", [0, 5, 300_000])
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_several_gzip_members_are_one_file(padding, chunk, monkeypatch):
    monkeypatch.setattr(ecsv, "CHUNK_BYTES", chunk)
    rows = [b'%d,"a",2.5,"[1,2]",x,y\n' % i for i in range(4000, 4100)]
    members = [
        gzip.compress(row, mtime=0) + bytes(padding) for row in rows[: 100 if padding < 10 else 2]
    ]
    ids, *_ = read(b"", raw=WHOLE + bytes(padding) + b"".join(members))
    assert ids.tolist() == list(range(1, 4000 + len(members)))


def spectrum_file(rows):
    names = (
        "source_id,bp_coefficients,bp_coefficient_errors,rp_coefficients,rp_coefficient_errors,tail"
    )
    return io.BytesIO(gzip.compress("\n".join([names, *rows]).encode()))


def test_arrays_of_unequal_length_are_refused_with_their_row():
    good = '7,"[1,2]","[1,1]","[3]","[1]",x'
    parsed = parse_spectra(spectrum_file([good, '8,null,null,"[3]","[1]",x']), "f")
    assert (parsed.bands.n_bp, parsed.coefficients.shape) == (2, (2, 3))
    assert np.isfinite(parsed.coefficients[0]).all()
    assert np.isnan(parsed.coefficients[1, :2]).all()
    for bad in ('8,"[1]","[1]","[3]","[1]",x', '8,"[1,2]","[1]","[3]","[1]",x'):
        with pytest.raises(InvalidInputError, match="f: row 2 has"):
            parse_spectra(spectrum_file([good, bad]), "f")
    with pytest.raises(InvalidInputError, match="no rows"):
        parse_spectra(spectrum_file([]), "f")
