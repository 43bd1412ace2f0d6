"""An archive with every defect there is, from the command line to the report: each found, counted
and named.
"""

import json

import pytest

from tests.commands import xpscale
from tests.support.archive_defects import Defects
from tests.support.archive_files import write_archive
from xpscale.archive.files import open_archive
from xpscale.archive.verify import verify_archive
from xpscale.errors import IncompleteError
from xpscale.row_rules import RULES
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

DEFECTS = Defects(
    missing_bp=2,
    missing_rp=1,
    missing_position=3,
    missing_source=4,
    missing_flux=5,
    bad_coefficient=6,
    not_finite=7,
    not_positive=8,
    duplicate=9,
    duplicate_across=3,
    truncated_file=True,
    wrong_md5=True,
    missing_source_file=True,
    foreign_file=True,
)
FILES = {
    "truncated_file": "is truncated",
    "wrong_md5": "_MD5SUM.txt says",
    "missing_source_file": "GaiaSource_",
    "foreign_file": "has no column bp_coefficients",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    universe = Universe(1_200, seed=9, mover_fraction=0.02)
    return write_archive(
        universe, str(tmp_path_factory.mktemp("spoilt")), n_files=8, defects=DEFECTS
    )


@pytest.fixture(scope="module")
def ingested(written, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "store"
    return (
        xpscale("ingest", written.url, store, "--max-rows", 150, "--workers", 0, "--skip-damaged"),
        store,
    )


def test_every_defect_is_planted():
    assert all(DEFECTS.of_rows.values())
    assert set(DEFECTS.of_files) == set(FILES)


def test_every_row_is_written_or_counted_under_its_reason(written, ingested):
    report = open_store(str(ingested[1])).report
    sound = {name: n for name, n in written.rows.items() if name not in written.damaged.values()}
    # correlations are not kept here; test_correlations spoils them
    assert report["n_rejected"] == written.rejected
    of_rows = {rule.reason for rule in RULES if not rule.of_whole}
    assert set(report["n_rejected"]) == of_rows - {
        *("bad_correlations", "no_spectrum"),
        "no_source_id",  # the archive has none such; test_identifier_columns has
    }
    assert (
        report["n_read"]
        == sum(sound.values())
        == report["n_written"] + sum(written.rejected.values())
    )
    in_files = {
        file["name"].rsplit("_", 1)[-1].removesuffix(".csv.gz"): file for file in report["files"]
    }
    assert {name: file["n_read"] for name, file in in_files.items()} == sound
    for file in in_files.values():
        assert file["n_read"] == file["n_written"] + sum(file["n_rejected"].values())
    assert report["n_movers"] == sum(file["n_movers"] for file in in_files.values()) > 0


def test_every_damaged_file_is_named_with_its_reason(written, ingested):
    result, store = ingested
    assert result.code == IncompleteError.exit_code
    found = {file["name"]: file["reason"] for file in open_store(str(store)).report["quarantined"]}
    assert len(found) == len(FILES)
    for defect, says in FILES.items():
        reason = next(reason for name, reason in found.items() if written.damaged[defect] in name)
        assert says in reason


def test_check_and_info_tell_the_same(written, ingested):
    checked, info = (xpscale("store", command, ingested[1]) for command in ("check", "info"))
    assert checked.code == 0
    for reason, n in written.rejected.items():
        assert f"{n} rejected ({reason})" in checked.out
        assert f"{n} {reason} " in info.out
    as_json = json.loads(xpscale("store", "info", ingested[1], "--json").out)
    assert as_json["n_rejected"] == written.rejected


def test_verify_names_the_files_whose_bytes_are_wrong(written):
    problems = verify_archive(written.url).problems
    for defect in ("truncated_file", "wrong_md5", "missing_source_file"):
        assert any(written.damaged[defect] in problem for problem in problems), problems
    verified = {
        pair.spectra.name
        for pair in open_archive(written.url, allow_unpaired=True).pairs
        if pair.spectra.is_verified
    }
    assert len(verified) == len(written.rows) - 2
