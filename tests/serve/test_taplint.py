"""Debian's STILTS finds no error in the service, and reads it."""

import re
import subprocess

from tests.debian import debian_command


def test_taplint_finds_no_error(service):
    stilts = debian_command("stilts")
    done = subprocess.run(
        [stilts, "taplint", f"tapurl={service}/tap", "report=EWF"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    (errors, warnings) = re.search(r"Errors: (\d+); Warnings: (\d+)", done.stdout).groups()
    assert (errors, warnings) == ("0", "0"), done.stdout
    failures = re.findall("^F-.*", done.stdout, re.M)
    assert failures == ["F-LOC-NOTP-1 No table with name ivoa.obsplan"], "we observe nothing"


def test_stilts_uploads_a_table(service, example, tmp_path):
    stilts = debian_command("stilts")
    rows = example.rows.slice(0, 20)
    (tmp_path / "mine.csv").write_text(
        "star,ra,dec\n"
        + "".join(
            f"{i},{ra},{dec}\n"
            for i, (ra, dec) in enumerate(
                zip(rows["ra"].to_pylist(), rows["dec"].to_pylist(), strict=True)
            )
        )
    )
    query = (
        "SELECT m.star, l.source_id FROM TAP_UPLOAD.mine AS m JOIN latents AS l ON"
        " 1=CONTAINS(POINT('ICRS', l.ra, l.dec), CIRCLE('ICRS', m.ra, m.dec, 0.0001))"
    )
    done = subprocess.run(
        [
            *(stilts, "tapquery", f"tapurl={service}/tap", f"adql={query}", "nupload=1"),
            *("upload1=mine.csv", "ufmt1=csv", "upname1=mine", "out=found.csv"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "found.csv").read_text().split()[1:]
    assert {tuple(map(int, line.split(","))) for line in lines} >= set(
        enumerate(rows["source_id"].to_pylist())
    )
