"""Whose place it is: markers, links and litter, and objects planted after the look."""

import os

import pytest

from xpscale.errors import ConflictError, InvalidInputError
from xpscale.storage import Storage
from xpscale.storage.identity import claim


@pytest.mark.s3
@pytest.mark.parametrize("markers", [("",), ("", "sub/"), ("sub/deep/",)])
@pytest.mark.parametrize("theirs", ["", "notes.txt", "zarr.json", "sub/x/notes.txt", "empty"])
def test_a_marker_is_nothing_and_hides_nothing(bucket, markers, theirs):
    """Case F09: a folder marker in a bucket."""
    place, put = bucket
    for marker in markers:
        put(marker, b"")
    if theirs:
        put(theirs, b"" if theirs == "empty" else b"theirs")
    assert place.is_empty() is (not theirs)
    assert list(place.list()) == [theirs] * bool(theirs)
    if theirs:
        with pytest.raises(ConflictError, match=f"holds something else: {theirs}"):
            claim(place, "_xpscale/run.json", {}, "run")
        assert list(place.list()) == [theirs]
    else:
        assert claim(place, "_xpscale/run.json", {}, "run")


@pytest.mark.parametrize("target", ["theirs", "nowhere", "file", "."])
def test_a_folder_that_holds_only_a_link_is_not_empty(tmp_path, target):
    """Case F24: a folder of links only."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "file").write_bytes(b"theirs")
    (tmp_path / "place" / "sub").mkdir(parents=True)
    place = Storage(str(tmp_path / "place"))
    assert place.is_empty()
    (tmp_path / "place" / "sub" / "Norder=0").symlink_to(tmp_path / target)
    assert place.first_key() == "sub/Norder=0"
    with pytest.raises(ConflictError, match="Norder=0"):
        claim(place, "_xpscale/run.json", {}, "run")
    place.remove()
    assert (tmp_path / "theirs").exists()
    assert (tmp_path / "file").read_bytes() == b"theirs"


def test_what_a_killed_claim_left_is_nothing_and_any_other_such_name_is_something(tmp_path):
    place = Storage(str(tmp_path))
    (tmp_path / "_xpscale").mkdir()
    (tmp_path / "_xpscale" / "run.json#1").write_bytes(b"{")
    assert claim(place, "_xpscale/run.json", {}, "run")
    other = Storage(str(tmp_path / "other"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes#1").write_bytes(b"theirs")
    with pytest.raises(ConflictError, match="notes#1"):
        claim(other, "_xpscale/run.json", {}, "run")


def test_links_are_followed_once_and_those_to_nothing_are_named(tmp_path):
    """Case F07: links to folders and to nothing."""
    for key in ("place/a.csv", "elsewhere/b.csv", "elsewhere/deep/c.csv"):
        Storage(str(tmp_path)).create(key, key.encode())
    place = Storage(str(tmp_path / "place"))
    (tmp_path / "place" / "more").symlink_to("../elsewhere")
    (tmp_path / "place" / "d.csv").symlink_to("../elsewhere/b.csv")
    (tmp_path / "elsewhere" / "up").symlink_to("../place")
    (tmp_path / "place" / ".#lock").symlink_to("nobody@nowhere")
    assert list(place.list()) == ["a.csv", "d.csv", "more/b.csv", "more/deep/c.csv"]
    assert place.read("more/deep/c.csv") == b"elsewhere/deep/c.csv"
    for target in ("/not/mounted/e.csv", "e.csv"):
        (tmp_path / "place" / "e.csv").symlink_to(target)
        with pytest.raises(InvalidInputError, match=r"place/e\.csv is a link to nothing"):
            place.list()
        (tmp_path / "place" / "e.csv").unlink()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "more").mkdir(mode=0)
    with pytest.raises(InvalidInputError, match=r"no permission for .*/more"):
        Storage(str(tmp_path)).list()
    with pytest.raises(InvalidInputError, match=r"no permission for .*/more"):
        Storage(str(tmp_path)).is_empty()


@pytest.mark.parametrize("name", ["lost+found", ".Trashes"])
def test_folders_of_the_system_that_may_not_be_read_are_passed_over(tmp_path, monkeypatch, name):
    (tmp_path / name).mkdir()
    scan = os.scandir

    def refusing(path):
        if os.path.basename(path) in (name, "more"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert Storage(str(tmp_path)).is_empty()
    (tmp_path / "more").mkdir()
    with pytest.raises(InvalidInputError, match=r"no permission for .*/more"):
        Storage(str(tmp_path)).list()


@pytest.mark.s3
def test_what_is_planted_while_we_look_stays(bucket):
    place, put = bucket
    put("key", b"ours 1")

    def looks_away(there):
        if there == b"ours 1":
            put("key", b"theirs")
        return there.startswith(b"ours")

    with pytest.raises(ConflictError, match="key is there, and xpscale did not write it"):
        place.replace("key", b"ours 2", looks_away)
    assert place.read("key") == b"theirs"
