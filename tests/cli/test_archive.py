"""``xpscale archive fetch|verify``: from a web server to a store."""

import json

from tests.archive.faulty_web import Fault, faulty_web
from tests.commands import done, xpscale
from tests.support.archive_files import write_archive
from xpscale.testing.universe import Universe


def test_fetch_verify_ingest(tmp_path):
    written = write_archive(Universe(200, seed=3), str(tmp_path / "archive"), n_files=2)
    to = tmp_path / "to"
    with faulty_web(tmp_path / "archive") as web:
        first = done("archive", "fetch", web.url, to, "--files", "0-0", "--connections", 2)
        assert "fetch 2 of 2 files" in first.err
        assert "free" in first.err
        assert "2 files fetched and verified" in first.err
        assert first.out == ""
        rest = done("archive", "fetch", web.url, to)
        assert "2 are there" in rest.err
        assert "2 were there and right" in rest.err
        assert (
            "nothing to do: all 4 files are there and right"
            in done("archive", "fetch", web.url, to).err
        )
    assert "4 files, 2 pairs" in done("archive", "verify", to).out
    found = json.loads(done("archive", "verify", to, "--json").out)
    assert (found["ok"], found["n_pairs"], found["problems"]) == (True, 2, [])
    done("ingest", to, tmp_path / "store", "--workers", 0)
    assert (
        json.loads(done("store", "check", tmp_path / "store", "--json").out)["n_written"]
        == written.n_rows
    )


def test_what_is_wrong_is_named_with_its_exit_code(tmp_path):
    write_archive(Universe(200, seed=3), str(tmp_path / "archive"), n_files=2)
    key = sorted(
        path.relative_to(tmp_path / "archive").as_posix()
        for path in (tmp_path / "archive").glob("*/*.gz")
    )[0]
    to = tmp_path / "to"
    with faulty_web(tmp_path / "archive") as web:
        web.always[key] = Fault(wrong_byte=True)
        failed = xpscale("archive", "fetch", web.url, to)
        assert failed.code == 2
        assert key in failed.err
        assert "Traceback" not in failed.err
        bad = xpscale("archive", "verify", to)
        assert bad.code == 20
        assert f"{key} is missing" in bad.out
        web.heads[key] = Fault(declared=10**18)
        assert xpscale("archive", "fetch", web.url, to).code == 4
        for option, words in (("9-1", "no range of pixels"), ("all", "no range of pixels")):
            result = xpscale("archive", "fetch", web.url, to, "--files", option)
            assert (result.code, words in result.err) == (2, True)
        assert (
            "no table 'rvs'" in xpscale("archive", "fetch", web.url, to, "--tables", "xp,rvs").err
        )
    assert xpscale("archive", "verify", tmp_path / "nowhere").code == 3
