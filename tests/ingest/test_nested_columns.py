"""Columns inside structs, and columns that only the user can name: the same store as of flat
tables. Case F17.
"""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.commands import xpscale
from tests.support.datalink_files import table_bytes
from tests.support.parquet_files import spectra_table, write_hats_spectra
from xpscale.column_names import known_columns
from xpscale.errors import InvalidInputError
from xpscale.ingest.build import build_store
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.release import DR3
from xpscale.store.open import open_spectra
from xpscale.testing.universe import Universe

ROWS = Universe(60, seed=31).spectra()
FLAT = spectra_table(ROWS, "joined")


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    url = str(tmp_path_factory.mktemp("expected") / "store")
    return build_store([("all", ROWS)], url, attributes={"release": "Gaia DR3", "origin": "u"})


def nested(structs, table=FLAT):
    """The table with fields in structs: ``{"struct.field": "column"}``, other columns as they
    are.
    """
    taken = set(structs.values())
    arrays = {name: table[name].combine_chunks() for name in table.column_names}
    columns = {name: array for name, array in arrays.items() if name not in taken}
    for struct in dict.fromkeys(path.rpartition(".")[0] for path in structs):
        fields = {
            p.rpartition(".")[2]: arrays[c] for p, c in structs.items() if p.startswith(struct)
        }
        columns[struct] = pa.StructArray.from_arrays(list(fields.values()), list(fields))
    return pa.table(columns)


XP = {
    "spectral_coefficients.coeff": "coefficients",
    "spectral_coefficients.coeff_error": "coefficient_errors",
}
PUBLIC = {**XP, "photometry.phot_g_mean_flux": "phot_g_mean_flux"}
FORMS = {
    "identifier": FLAT.rename_columns({"source_id": "object_id"}),
    "spectra": nested(XP),
    "flux": nested({"photometry.phot_g_mean_flux": "phot_g_mean_flux"}),
    "position": nested({"astrometry.ra": "ra", "astrometry.dec": "dec"}),
    "all": nested(PUBLIC, FLAT).rename_columns({"source_id": "object_id"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_structs_are_read_like_columns(form, expected, tmp_path):
    pq.write_table(FORMS[form], tmp_path / "in.parquet", row_group_size=25)
    made, _ = run_ingest(plan_ingest(str(tmp_path / "in.parquet"), str(tmp_path / "store")))
    assert made.digest == expected.digest
    reader = open_spectra(tmp_path / "in.parquet")
    found = reader.read(reader.partitions[0])
    again = expected.find(found.source_id.tolist())
    order = np.argsort(again.source_id)[np.argsort(np.argsort(found.source_id))]
    np.testing.assert_array_equal(found.coefficients, again.coefficients[order])


def test_a_hats_catalogue_with_structs(expected, tmp_path):
    write_hats_spectra(expected, str(tmp_path / "hats"), "joined")
    for leaf in (tmp_path / "hats").rglob("Npix=*.parquet"):
        pq.write_table(nested(PUBLIC, pq.read_table(leaf, partitioning=None)), leaf)
    made, _ = run_ingest(plan_ingest(str(tmp_path / "hats"), str(tmp_path / "store")))
    assert made.digest == expected.digest


def test_the_user_names_columns(expected, tmp_path):
    """In structs, with others of the same name, in the spectra and in the table of sources."""
    odd = nested({"xp.x": "coefficients", "xp.dx": "coefficient_errors"}).append_column(
        "coeff", pa.array([[0.0]] * len(ROWS))
    )
    odd = odd.drop_columns(["ra", "dec", "phot_g_mean_flux"]).rename_columns({"source_id": "star"})
    pq.write_table(odd, tmp_path / "in.parquet")
    sources = nested({"gaia.a": "ra", "gaia.d": "dec", "gaia.g": "phot_g_mean_flux"})
    sources = sources.drop_columns(["coefficients", "coefficient_errors"])
    pq.write_table(sources.append_column("ra", pa.array([0.0] * len(ROWS))), tmp_path / "s.parquet")
    of_sources = '[sources]\nra = "gaia.a"\ndec = "gaia.d"\nphot_g_mean_flux = "gaia.g"\n'
    of_spectra = 'source_id = "star"\ncoefficients = "xp.x"\ncoefficient_errors = "xp.dx"\n'
    arguments = ["ingest", tmp_path / "in.parquet", tmp_path / "store", "--workers", 0]
    arguments += ["--sources", tmp_path / "s.parquet"]
    arguments += ["--columns-map", tmp_path / "map.toml"]
    for text, seen in {
        "": "lacks dec, phot_g_mean_flux or phot_g_mean_mag; candidates are gaia.a, gaia.d, gaia.g",
        of_sources: "has no source_id; its columns are star, ",
    }.items():
        (tmp_path / "map.toml").write_text(text)
        refused = xpscale(*arguments)
        assert refused.code == InvalidInputError.exit_code
        assert seen in refused.err
        assert "--columns-map FILE" in refused.err
    (tmp_path / "map.toml").write_text(of_spectra + of_sources)
    assert xpscale(*arguments).code == 0
    assert open_spectra(tmp_path / "store").digest == expected.digest


@pytest.mark.parametrize("form", ["csv", "fits", "hdf5"])
def test_the_user_names_columns_of_other_formats(form, expected, tmp_path):
    more = {"object_id": ROWS.source_id, "flux": ROWS.phot_g_mean_flux, "ra": ROWS.ra}
    more = {**more, "dec": ROWS.dec, "source_id": np.arange(len(ROWS))}
    (tmp_path / f"in.{form}").write_bytes(table_bytes(more, ROWS, form))
    (tmp_path / "map.toml").write_text('source_id = "object_id"\nphot_g_mean_flux = "flux"\n')
    arguments = ["ingest", tmp_path / f"in.{form}", tmp_path / "store", "--workers", 0]
    assert xpscale(*arguments, "--columns-map", tmp_path / "map.toml").code == 0
    assert open_spectra(tmp_path / "store").digest == expected.digest


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (nested({"a.x": "coefficients"}), "no XP coefficients; candidates are coefficient_errors"),
        (nested({"spec.y": "coefficients"}), "candidates are .*spec.y"),
        (nested({"p.lon": "ra", "p.lat": "dec"}), "lacks ra, dec; candidates are p.lon, p.lat"),
        (FLAT.rename_columns({"phot_g_mean_flux": "g_flx"}), "lacks phot_g_mean_flux or .* g_flx"),
    ],
)
def test_a_refusal_lists_the_candidates(table, match, tmp_path):
    pq.write_table(table, tmp_path / "in.parquet")
    with pytest.raises(InvalidInputError, match=match):
        open_spectra(tmp_path / "in.parquet")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('source = "a"', "'source', which is not known"),
        ("source_id = 3", "source_id is 3"),
        ('source_id = "gone"', "has no column gone, said to be its source_id; candidates are"),
        ('coefficients = "gone"', "has no column gone"),
        ('[sources]\nbp_coefficients = "a"', "bp_coefficients.*not known"),
        ("nonsense", "is not TOML"),
    ],
)
def test_a_wrong_map_is_refused(text, match, tmp_path):
    pq.write_table(FLAT, tmp_path / "in.parquet")
    (tmp_path / "map.toml").write_text(text)
    options = ["--workers", 0, "--columns-map", tmp_path / "map.toml"]
    result = xpscale("ingest", tmp_path / "in.parquet", tmp_path / "store", *options)
    assert result.code == InvalidInputError.exit_code
    assert re.search(match, result.err)
    assert not (tmp_path / "store").exists()


NAMES = st.lists(
    st.sampled_from(["ra", "dec", "a.ra", "b.ra", "a.dec", "a.b.ra", "x", "a.x"]), unique=True
)


@given(NAMES)
def test_a_field_is_known_by_its_own_name_where_that_is_unique(names):
    known = known_columns(names, "t", DR3, {})
    for name in ("ra", "dec", "x"):
        fields = [each for each in names if each.endswith(f".{name}")]
        wanted = name if name in names else fields[0] if len(fields) == 1 else None
        assert known.get(name) == wanted
    assert {*known.values()} == {*names}
