"""Whatever a path is, the answer is one line that says so; empty values are none."""

import os

import pytest

from tests.commands import xpscale
from tests.support.parquet_files import write_parquet_files
from xpscale.errors import ConflictError, InvalidInputError, NotFoundError
from xpscale.query.identifiers import parse_ids
from xpscale.query.pixel_region import moc_cells
from xpscale.query.user_table import read_table
from xpscale.release import DR3
from xpscale.storage.single_file import require_free
from xpscale.testing.universe import Universe

LONG = "x" * 300


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """A folder with odd paths in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("text")
    os.symlink("nowhere", "dead")
    os.symlink("loop", "loop")
    return tmp_path


COMMANDS = {
    "place": ("status", "@"),
    "model": ("model", "info", "@"),
    "store": ("store", "info", "@"),
    "settings": ("settings", "check", "@.toml"),
    "columns": ("ingest", "x", "out", "--columns-map", "@"),
    "release": ("plan", "x", "m", "c", "--release", "@.toml"),
    "weights": ("model", "import", "@", "out"),
}
PATHS = ["nowhere", "dead", "loop", LONG, "file/x", "~nobody-of-that-name", ".", "/dev/zero"]
REFUSED = (InvalidInputError.exit_code, NotFoundError.exit_code)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("path", PATHS)
def test_an_input_that_is_none_is_refused_for_what_it_is(odd, name, path):
    result = xpscale(*(word.replace("@", path) for word in COMMANDS[name]))
    assert result.code in REFUSED, result
    assert 1 <= len(result.err.splitlines()) <= 2, result
    assert "network" not in result.err
    assert sorted(os.listdir()) == ["dead", "file", "loop"]


@pytest.mark.parametrize("read", [read_table, moc_cells, lambda path: parse_ids(f"@{path}", DR3)])
@pytest.mark.parametrize("path", PATHS)
def test_so_is_a_table(odd, read, path):
    with pytest.raises((InvalidInputError, NotFoundError)):
        read(path)


@pytest.mark.parametrize("path", ["file", "dead", "loop", "file/x", LONG, "/dev/null"])
@pytest.mark.parametrize(
    "words",
    [("settings", "init", "@.toml"), ("certificates", "make", "@"), ("ingest", "IN", "@")],
    ids=" ".join,
)
def test_an_output_where_none_can_be_is_refused_and_nothing_is_left(odd, words, path, spectra):
    os.symlink("nowhere.toml", "dead.toml")
    os.symlink("loop.toml", "loop.toml")
    (odd / "file.toml").write_text("text")
    before = sorted(os.listdir())
    if "/dev" in path and "@.toml" in words:
        return
    result = xpscale(*(word.replace("@", path).replace("IN", spectra) for word in words))
    assert result.code in (*REFUSED, ConflictError.exit_code), result
    assert sorted(os.listdir()) == before
    assert (odd / "file").read_text() == (odd / "file.toml").read_text() == "text"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("device", ["/dev/full", "/dev/null", "pipe"])
def test_no_device_is_replaced_by_a_file(odd, device, overwrite):
    os.mkfifo("pipe")
    before = os.stat(device)
    with pytest.raises(InvalidInputError, match="device or a pipe"):
        require_free(device, overwrite=overwrite)
    assert os.stat(device) == before


@pytest.fixture(scope="module")
def spectra(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("spectra"))
    write_parquet_files(Universe(20, seed=1).spectra(), folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("query", "catalog", "--ids", ""),
        ("download", "catalog", "out", "--where", " "),
        ("train", "store", "model", "--sample", ""),
        ("evaluate", "model", "store", "-o", ""),
        ("status", ""),
        ("ingest", "spectra", ""),
        ("doctor", "s3://bucket", ""),
    ],
    ids=" ".join,
)
def test_an_empty_value_is_no_value(odd, words):
    """A variable of the shell that is not set must not mean the whole catalogue."""
    result = xpscale(*words)
    assert result.code == InvalidInputError.exit_code
    assert "is empty" in result.err + result.out


@pytest.mark.parametrize(
    "words",
    [
        ("train", "store", "model", "--seed", 10**30),
        ("train", "store", "model", "--workers", 10**9),
        ("sample", "store", "-o", "x", "--seed", -(10**20)),
        ("query", "catalog", "-n", 10**30),
    ],
    ids=str,
)
def test_a_number_that_is_none_is_refused_first(odd, words):
    result = xpscale(*words)
    assert result.code == InvalidInputError.exit_code
    assert 1 <= len(result.err.splitlines()) <= 2, result
    assert "no spectra" not in result.err
