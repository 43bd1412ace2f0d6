"""No name in a file of others leads out of its place."""

import json
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xpscale.archive.datalink import read_spectra
from xpscale.archive.members import member_names
from xpscale.catalog.manifest import Snapshot
from xpscale.catalog.snapshots import require_own_tables
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.expansion import zip_member
from xpscale.site.web_server import shown_folders
from xpscale.storage import Storage
from xpscale.storage.object_files import duckdb_name
from xpscale.store.open import open_spectra

OUTSIDE = (
    "../secret",
    "a/../../secret",
    "/etc/passwd",
    "//etc/passwd",
    "a/..",
    "..",
    "file:///etc/passwd",
    "s3://other/secret",
    "a\0b",
    "x" * 5000,
)
METHODS = {
    "read": lambda place, key: place.read(key),
    "read_range": lambda place, key: place.read_range(key, 0, 4),
    "open": lambda place, key: place.open(key),
    "size": lambda place, key: place.size(key),
    "exists": lambda place, key: place.exists(key),
    "list": lambda place, key: place.list(key),
    "objects": lambda place, key: place.objects(key),
    "url_of": lambda place, key: place.url_of(key),
    "create": lambda place, key: place.create(key, b"x"),
    "replace": lambda place, key: place.replace(key, b"x"),
    "delete": lambda place, key: place.delete(key),
    "duckdb_name": duckdb_name,
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "place" / "a").mkdir(parents=True)
    return Storage(str(tmp_path / "place"))


@pytest.mark.parametrize("key", OUTSIDE)
@pytest.mark.parametrize("method", METHODS)
def test_no_key_leads_out_of_a_place(place, method, key):
    with pytest.raises(InvalidInputError, match="no name of an object below"):
        METHODS[method](place, key)


@given(st.lists(st.sampled_from(["..", ".", "a", "", "~"]), min_size=1).map("/".join))
@example("a//b")
def test_a_key_that_is_taken_stays_below(key):
    place = Storage("/place")
    try:
        address = place.url_of(key)
    except InvalidInputError:
        return
    assert address.startswith("/place/")
    assert ".." not in address.split("/")


@pytest.mark.parametrize("key", ["../../secret", "/etc/passwd", "_xpscale/manifests/../x.json", ""])
def test_a_snapshot_names_a_manifest(key):
    fields = {"number": 1, "manifest_key": key, "parent": 0, "created": "", "message": ""}
    with pytest.raises(InvalidInputError, match="no manifest"):
        Snapshot.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "line",
    [
        "hats_primary_table_url=../../secret",
        "hats_primary_table_url=/etc",
        "all_margins=latents_10arcs ../secret",
        "default_margin = ../secret",
        "all_indexes=source_id ../secret",
        "hats_primary_table_url=https://host/table",
    ],
)
def test_a_collection_names_no_table_elsewhere(place, line):
    place.create("collection.properties", f"obs_collection=x\n{line}\n".encode())
    with pytest.raises(InvalidInputError, match="no name of an object below"):
        require_own_tables(place)
    if "primary" in line and "=/" not in line:
        with pytest.raises(InvalidInputError, match="no name of an object below"):
            open_spectra(place)


@pytest.mark.parametrize("address", ["../../../", "/", "../", "%2e%2e/%2e%2e/"])
def test_a_site_shows_no_folder_but_a_catalogue(tmp_path, address):
    (tmp_path / "deep" / "site").mkdir(parents=True)
    (tmp_path / "deep" / "site" / "site.json").write_text(json.dumps({"catalog": address}))
    with pytest.raises(InvalidInputError, match="no catalogue"):
        shown_folders(tmp_path / "deep" / "site")


def external_storage(file, secret):
    values = file.create_dataset(
        "bp_coefficients", (4, 2), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
    )
    assert values.external


def external_link(file, secret):
    file["bp_coefficients"] = h5py.ExternalLink(str(secret), "/values")


def virtual(file, secret):
    layout = h5py.VirtualLayout(shape=(4, 2), dtype="f4")
    layout[:] = h5py.VirtualSource(str(secret), "values", shape=(4, 2))
    file.create_virtual_dataset("bp_coefficients", layout)


@pytest.mark.parametrize("reach", [external_storage, external_link, virtual])
@pytest.mark.parametrize("group", ["", "part/"])
def test_hdf5_holds_its_data_itself(tmp_path, reach, group):
    with h5py.File(tmp_path / "secret", "w") as file:
        file["values"] = np.ones((4, 2), "f4")
    (tmp_path / "in").mkdir()
    with h5py.File(tmp_path / "in" / "x.h5", "w") as file:
        table = file.require_group(group) if group else file
        table["source_id"] = np.arange(4)
        reach(table, tmp_path / "secret")
    place = Storage(str(tmp_path / "in"))
    members, _ = member_names(place, "x.h5")
    for member in ("", *members):
        with pytest.raises(InvalidInputError, match="is not read"):
            read_spectra(place, "x.h5", member)


@pytest.mark.parametrize("link", [h5py.SoftLink("/elsewhere"), h5py.ExternalLink("secret", "/")])
def test_no_group_of_hdf5_is_a_link(tmp_path, link):
    with h5py.File(tmp_path / "secret", "w") as file:
        file["source_id"] = np.arange(4)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["elsewhere"] = h5py.ExternalLink(str(tmp_path / "secret"), "/")
        file["part"] = link
    place = Storage(str(tmp_path))
    with pytest.raises(InvalidInputError, match="is not read"):
        member_names(place, "x.h5")
    with pytest.raises(InvalidInputError, match="is not read"):
        read_spectra(place, "x.h5", "part")


def test_a_link_in_a_zip_is_not_followed(tmp_path):
    link = zipfile.ZipInfo("XP_CONTINUOUS_RAW-1.csv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive, pytest.raises(InvalidInputError):
        zip_member(archive, link.filename, "x.zip")
    with pytest.raises(InvalidInputError, match="is a link"):
        read_spectra(Storage(str(tmp_path)), "x.zip", link.filename)


def test_what_is_not_there_is_still_said_so(place):
    with pytest.raises(NotFoundError):
        place.read("b..c/d")
