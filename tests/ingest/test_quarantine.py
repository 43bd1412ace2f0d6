"""``--skip-damaged``: what cannot be read is set aside and named, the rest becomes a store, and the
exit code says so.
"""

import json
import shutil
from pathlib import Path

import pytest

from tests.commands import xpscale
from tests.support.archive_files import Defects, write_archive
from xpscale.errors import ConflictError, IncompleteError, InvalidInputError, NotFoundError
from xpscale.ingest import run as module
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.store.check import check_store
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

FILES = Defects(
    truncated_file=True, wrong_md5=True, missing_source_file=True, foreign_file=True, missing_bp=2
)
REASONS = {
    "truncated_file": "is truncated",
    "wrong_md5": "_MD5SUM.txt says",
    "missing_source_file": "GaiaSource_",
    "foreign_file": "has no column bp_coefficients",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Seven file pairs, four of them damaged, each in its own way."""
    return write_archive(
        Universe(700, seed=6), str(tmp_path_factory.mktemp("damaged")), n_files=7, defects=FILES
    )


@pytest.fixture(scope="module")
def skipped(written, tmp_path_factory):
    """What the command says, and the store it makes."""
    path = tmp_path_factory.mktemp("skipped") / "store"
    command = ("ingest", written.url, path, "--max-rows", 150, "--workers", 0)
    return xpscale(*command, "--skip-damaged"), path


def test_the_rest_becomes_a_store_that_names_what_it_lacks(written, skipped):
    result, path = skipped
    assert result.code == IncompleteError.exit_code == 20
    store = open_store(str(path))
    found = {
        file["name"].rsplit("_", 1)[-1].removesuffix(".csv.gz"): file["reason"]
        for file in store.report["quarantined"]
    }
    assert set(found) == set(written.damaged.values())
    for defect, its_range in written.damaged.items():
        assert REASONS[defect] in found[its_range]
        assert f"{its_range}.csv.gz" in result.err
    rows = {name: n for name, n in written.rows.items() if name not in found}
    assert store.report["n_read"] == sum(rows.values())
    assert (store.n_rows, store.report["n_rejected"]) == (sum(rows.values()), {})
    assert len(store.report["files"]) == len(rows) == 3
    assert store.attributes["n_quarantined"] == 4


def test_check_and_info_show_it(skipped):
    path = skipped[1]
    checked, info = xpscale("store", "check", path), xpscale("store", "info", path)
    assert checked.code == 0  # the store is sound; it is what was asked for
    for text in (checked.out, info.out):
        assert text.count("set aside: xp_continuous_mean_spectrum/") == 4
    assert len(json.loads(xpscale("store", "info", path, "--json").out)["quarantined"]) == 4
    report = json.loads((path / "_xpscale/report.json").read_text())
    copy = Path(shutil.copytree(path, path.parent / "forgetful"))
    (copy / "_xpscale/report.json").write_text(json.dumps({**report, "quarantined": []}))
    assert any("set aside" in problem for problem in check_store(open_store(str(copy))).problems)


def test_a_finished_store_stays_as_it_is(written, skipped, tmp_path):
    archive = Path(shutil.copytree(written.url, tmp_path / "archive"))
    store = Path(shutil.copytree(skipped[1], tmp_path / "store"))
    command = ("ingest", archive, store, "--max-rows", 150, "--workers", 0, "--skip-damaged")
    again = xpscale(*command)
    assert again.code == IncompleteError.exit_code
    assert "finished before" in again.err
    name = f"GaiaSource_{written.damaged['missing_source_file']}.csv.gz"
    shutil.copy(next((archive / "gaia_source").glob("*.gz")), archive / "gaia_source" / name)
    mended = xpscale(*command)
    assert mended.code == ConflictError.exit_code
    assert "ingest into a new store" in mended.err


def test_without_the_option_nothing_is_left_out(written, tmp_path):
    with pytest.raises(NotFoundError, match="lacks GaiaSource_"):
        plan_ingest(written.url, str(tmp_path / "store"))
    archive = Path(shutil.copytree(written.url, tmp_path / "archive"))
    next(
        (archive / "xp_continuous_mean_spectrum").glob(
            f"*{written.damaged['missing_source_file']}*"
        )
    ).unlink()
    with pytest.raises(InvalidInputError, match=r"and 2 more.*--skip-damaged"):
        run_ingest(plan_ingest(str(archive), str(tmp_path / "store"), max_rows=150))
    store, is_new = run_ingest(
        plan_ingest(str(archive), str(tmp_path / "store"), max_rows=150, skip_damaged=True)
    )
    assert (is_new, len(store.report["quarantined"])) == (True, 3)


def test_a_file_mended_while_partitions_are_written_is_not_half_taken(tmp_path, monkeypatch):
    """Without MD5 sums the archive looks the same after the mending; what was set aside is
    remembered.
    """
    archive, store = tmp_path / "archive", str(tmp_path / "store")
    write_archive(Universe(300, seed=6), str(archive), n_files=3, md5=False)
    file = sorted((archive / "gaia_source").glob("*.gz"))[1]
    whole = file.read_bytes()
    file.write_bytes(bytes(len(whole)))
    plan = plan_ingest(str(archive), store, max_rows=150, skip_damaged=True)
    with monkeypatch.context() as patch:
        patch.setattr(
            module, "seal_store", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run_ingest(plan)
    file.write_bytes(whole)
    with pytest.raises(ConflictError, match="have changed since"):
        run_ingest(plan)
