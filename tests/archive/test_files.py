"""The archive's files: real values against independent readers, names, pairs, MD5 sums, and the
web.
"""

import ast
import contextlib
import dataclasses
import functools
import http.server
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.support.archive_files import write_archive
from xpscale.archive import files, reading
from xpscale.archive.files import FilePair, open_archive
from xpscale.archive.parse import parse_spectra
from xpscale.archive.reading import open_file, verified_stream
from xpscale.archive.sources import match_sources
from xpscale.archive.verify import verify_archive
from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.testing.universe import Universe


def test_every_number_of_the_real_files_is_what_pandas_reads(real_archive):
    import pandas as pd

    archive = open_archive(str(real_archive))
    assert len(archive.pairs) == 27
    n_rows = 0
    for pair in archive.pairs:
        with open_file(archive.storage, pair.spectra) as stream:
            parsed = parse_spectra(stream, pair.spectra.name)
        table = pd.read_csv(
            real_archive / pair.spectra.name, comment="#", dtype=str, keep_default_na=False
        )
        assert parsed.source_id.tolist() == table["source_id"].astype("int64").tolist()
        for what in ("coefficients", "coefficient_errors"):
            for band, columns in (
                ("bp", slice(0, parsed.bands.n_bp)),
                ("rp", slice(parsed.bands.n_bp, None)),
            ):
                texts = table[f"{band}_{what}"]
                values = getattr(parsed, what)[:, columns]
                missing = (texts == "null").to_numpy()
                assert np.array_equal(missing, np.isnan(values).all(1))
                assert np.isnan(values[missing]).all()
                expected = [ast.literal_eval(text) for text in texts[~missing]]
                assert np.array_equal(values[~missing].ravel(), np.ravel(expected).astype("f4"))
        with open_file(archive.storage, pair.sources) as stream:
            matched = match_sources(stream, pair.sources.name, parsed.source_id)
        columns = ["source_id", "ra", "dec", "phot_g_mean_flux"]
        sources = pd.read_csv(real_archive / pair.sources.name, comment="#", usecols=columns)
        expected = sources.set_index("source_id").loc[parsed.source_id]
        assert matched.found.all()
        for name in columns[1:]:
            assert np.array_equal(matched.values[name], expected[name], equal_nan=True)
        n_rows += len(parsed.source_id)
    assert n_rows == 2_052


def test_one_real_file_is_what_astropy_reads(real_archive):
    from astropy.table import Table

    archive = open_archive(str(real_archive))
    pair = next(pair for pair in archive.pairs if pair.key.startswith("614517-614573"))
    wanted = ["source_id", "bp_coefficients", "rp_coefficients"]
    table = Table.read(
        real_archive / pair.spectra.name,
        format="ascii.ecsv",
        fill_values=("null", "0"),
        include_names=wanted,
    )
    with open_file(archive.storage, pair.spectra) as stream:
        parsed = parse_spectra(stream, "x")
    assert parsed.source_id.tolist() == table["source_id"].tolist()
    for row, values in zip(table, parsed.coefficients, strict=True):
        if np.isfinite(values[0]):
            assert np.array_equal(
                values[: parsed.bands.n_bp], np.asarray(row["bp_coefficients"], "f4")
            )
        assert np.array_equal(values[parsed.bands.n_bp :], np.asarray(row["rp_coefficients"], "f4"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_archive(Universe(400, seed=5), str(tmp_path_factory.mktemp("archive")), n_files=3)


def copy_of(small, tmp_path):
    import shutil

    return Path(shutil.copytree(small.url, tmp_path / "archive"))


def test_pairs_digest_and_keys_follow_the_files(small, tmp_path):
    archive = open_archive(small.url)
    assert [pair.key.split(".")[0] for pair in archive.pairs] == list(small.rows)
    assert archive.n_bytes == sum(path.stat().st_size for path in Path(small.url).glob("*/*.gz"))
    path = copy_of(small, tmp_path)
    assert open_archive(str(path)).digest == archive.digest
    sums = path / "gaia_source/_MD5SUM.txt"
    text = sums.read_text().replace("GaiaSource", "*GaiaSource").upper()
    sums.write_text(text.replace("GAIASOURCE", "GaiaSource")
                    .replace(".CSV.GZ", ".csv.gz"))  # fmt: skip
    assert open_archive(str(path)).digest == archive.digest  # sums as other tools write them
    sums.write_text(re.sub("^.", lambda m: "0" if m[0] != "0" else "1", sums.read_text(), count=1))
    changed = open_archive(str(path))
    assert changed.digest != archive.digest
    assert [a.key == b.key for a, b in zip(changed.pairs, archive.pairs, strict=True)] == [
        False,
        True,
        True,
    ]
    for folder in ("gaia_source", "xp_continuous_mean_spectrum"):
        (path / folder / "_MD5SUM.txt").unlink()
    bare = open_archive(str(path))
    assert {pair.sources.md5 for pair in bare.pairs} == {""}
    name = (
        path / bare.pairs[1].spectra.name
    )  # without sums, the CRC-32 at the end tells a file from one of equal size
    data = name.read_bytes()
    name.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])
    changed = open_archive(str(path))
    assert [a.key == b.key for a, b in zip(changed.pairs, bare.pairs, strict=True)] == [
        True,
        False,
        True,
    ]


def test_what_was_verified_is_not_hashed_again_until_it_is_touched(small, tmp_path, monkeypatch):
    path = copy_of(small, tmp_path)
    assert not any(pair.spectra.is_verified for pair in open_archive(str(path)).pairs)
    for _ in range(2):
        assert verify_archive(str(path)).ok
    assert len((path / ".fetched").read_text().splitlines()) == 6
    archive = open_archive(str(path))
    assert all(pair.spectra.is_verified and pair.sources.is_verified for pair in archive.pairs)
    assert archive.digest == open_archive(small.url).digest
    sums = path / "gaia_source/_MD5SUM.txt"
    sums.write_text(re.sub("^.", lambda m: "0" if m[0] != "0" else "1", sums.read_text(), count=1))
    (path / archive.pairs[1].sources.name).touch()
    assert [pair.sources.is_verified for pair in open_archive(str(path)).pairs] == [
        False,
        False,
        True,
    ]

    def read(file):
        with verified_stream(archive.storage, file) as stream:
            return len(parse_spectra(stream, "x").source_id)

    spectra = archive.pairs[0].spectra
    assert read(dataclasses.replace(spectra, is_verified=False)) == read(spectra) > 0
    wrong = dataclasses.replace(spectra, is_verified=False, md5="0" * 32)
    with pytest.raises(InvalidInputError, match=f"has MD5 {spectra.md5}, _MD5SUM.txt says 000"):
        read(wrong)
    monkeypatch.setattr(reading, "_HashingReader", None)
    assert read(spectra) > 0


def test_what_is_no_archive_is_named(small, tmp_path):
    with pytest.raises(NotFoundError, match="holds no archive file"):
        open_archive(str(tmp_path))
    path = copy_of(small, tmp_path)
    first = sorted((path / "gaia_source").glob("*.gz"))[0]
    first.rename(path / "hidden")
    with pytest.raises(NotFoundError, match=f"lacks {first.name}"):
        open_archive(str(path))
    (path / "hidden").rename(path / "xp_continuous_mean_spectrum" / first.name)
    with pytest.raises(InvalidInputError, match="wrong folder"):
        open_archive(str(path))


def test_sources_missing_repeated_and_in_any_order(small):
    archive = open_archive(small.url)
    with open_file(archive.storage, archive.pairs[0].spectra) as stream:
        ids = parse_spectra(stream, "x").source_id
    asked = np.concatenate([ids[::-1], ids[:3], [12345]])
    with open_file(archive.storage, archive.pairs[0].sources) as stream:
        matched = match_sources(stream, "x", asked)
    truth = Universe(400, seed=5).spectra()
    where = {i: row for row, i in enumerate(truth.source_id.tolist())}
    rows = [where[i] for i in asked[:-1].tolist()]
    assert matched.found.tolist() == [True] * len(rows) + [False]
    assert np.array_equal(matched.values["ra"][:-1], truth.ra[rows])
    assert np.array_equal(matched.values["phot_g_mean_flux"][:-1], truth.phot_g_mean_flux[rows])
    assert np.isnan(matched.values["dec"][-1])
    with open_file(archive.storage, archive.pairs[0].sources) as stream:
        assert len(match_sources(stream, "x", np.empty(0, np.int64)).found) == 0


class Web(http.server.SimpleHTTPRequestHandler):
    """A file server that lists nothing and serves ranges, as the archive's does."""

    def do_GET(self):
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        if match := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            start, stop, status, size = int(match[1]), int(match[2]) + 1, 206, len(data)
            data = data[start:stop]
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Mon, 13 Jun 2022 10:00:00 GMT")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(folder):
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Web, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_archive_on_the_web_is_listed_by_its_md5_sums_and_read_in_blocks(small, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 10_007)
    with serving(small.url) as url:
        archive, local = open_archive(url), open_archive(small.url)
        strip = lambda pairs: [  # noqa: E731
            (p.spectra.name, p.spectra.md5, p.sources.name, p.sources.md5) for p in pairs
        ]
        assert strip(archive.pairs) == strip(local.pairs)
        pair = archive.pairs[1]
        here_file = local.pairs[1].spectra
        with (
            verified_stream(archive.storage, pair.spectra) as there,
            open_file(local.storage, here_file) as here,
        ):
            remote, expected = parse_spectra(there, "x"), parse_spectra(here, "x")
        assert np.array_equal(remote.coefficients, expected.coefficients)
        gone = FilePair(
            files.ArchiveFile("xp_continuous_mean_spectrum/gone", 0, 1, 0, ""), pair.sources
        )
        with pytest.raises(InvalidInputError, match="gone does not exist"):
            open_file(archive.storage, gone.spectra)
    with pytest.raises((TryAgainError, NotFoundError)):
        open_archive(url)


def test_esas_own_folders_are_found(small, tmp_path):
    archive = copy_of(small, tmp_path)
    spectra = archive / "xp_continuous_mean_spectrum"
    before = open_archive(str(archive))
    (archive / "Spectroscopy").mkdir()
    spectra.rename(archive / "Spectroscopy" / spectra.name)
    with serving(archive) as url:
        found = open_archive(url)
        assert [pair.key[:13] for pair in found.pairs] == [pair.key[:13] for pair in before.pairs]
        with verified_stream(found.storage, found.pairs[0].spectra) as stream:
            assert len(parse_spectra(stream, "first").source_id)
