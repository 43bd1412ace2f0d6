import hashlib
import json
from dataclasses import asdict, replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from random_catalog import LAYOUT, PIXELS, ROWS, fill, identity, random_table

from tests.commands import xpscale
from tests.support.web import counted_web
from xpscale.catalog.check import check
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.encoding import encode
from xpscale.catalog.info import catalog_info
from xpscale.catalog.layout import COLLECTION, RUN, part_key
from xpscale.catalog.votable import conform, product_schema
from xpscale.errors import NotFoundError, PermanentError
from xpscale.storage import Storage
from xpscale.types import Part

KEY = part_key("spectra", PIXELS[1])


@pytest.fixture
def published(storage: Storage) -> Storage:
    commit(storage, build_manifest(storage, fill(storage)), "to be damaged")
    return storage


def problems_naming(storage: Storage, key: str, deep: bool) -> list[str]:
    report = check(storage, deep=deep)
    assert report.ok is (report.problems == ())
    return [problem for problem in report.problems if key in problem]


@pytest.mark.parametrize("deep", [True, False])
def test_a_sound_catalogue_has_no_problems(published: Storage, deep: bool):
    report = check(published, deep=deep)
    assert json.loads(report.to_json())["ok"] is True
    assert report.problems == ()
    assert (report.n_parts, report.n_rows, report.snapshot) == (
        2 * len(PIXELS),
        len(PIXELS) * ROWS,
        1,
    )


def test_one_flipped_byte(published: Storage):
    data = bytearray(published.read(KEY))
    data[len(data) // 2] ^= 1  # inside an array: no reader would notice
    published.replace(KEY, data)
    assert any("sha256" in problem for problem in problems_naming(published, KEY, deep=True))
    assert problems_naming(published, KEY, deep=False) == []


@pytest.mark.parametrize("deep", [True, False])
def test_missing_truncated_stray(published: Storage, deep: bool):
    stray = part_key("latents", PIXELS[1]).replace("200", "777")
    published.create(stray, published.read(part_key("latents", PIXELS[1])))
    data = published.read(KEY)
    published.replace(KEY, data[:-1])
    published.delete(part_key("latents", PIXELS[0]))
    assert any(
        f"{len(data) - 1} bytes" in problem for problem in problems_naming(published, KEY, deep)
    )
    assert any("stray" in problem for problem in problems_naming(published, stray, deep))
    assert any(
        "missing" in problem
        for problem in problems_naming(published, part_key("latents", PIXELS[0]), deep)
    )


def test_swapped_parts(published: Storage):
    other = part_key("spectra", PIXELS[2])
    here, there = published.read(KEY), published.read(other)
    published.replace(KEY, there)
    published.replace(other, here)
    for key in (KEY, other):
        assert problems_naming(published, key, deep=True)


def publish_with(storage: Storage, table: pa.Table) -> None:
    """A catalogue whose sink went wrong in one part: the manifest is made of what was written."""
    reports = fill(storage)
    data = encode(table, "spectra")
    storage.replace(KEY, data)
    part = Part(PIXELS[1], KEY, ROWS, len(data), hashlib.sha256(data).hexdigest())
    reports[1] = replace(reports[1], parts=(reports[1].parts[0], part))
    commit(storage, build_manifest(storage, reports))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.take(pa.array([1, 0, *range(2, ROWS)])), "not sorted"),
        (lambda t: t.take(pa.array([0, 0, *range(2, ROWS)])), "1 sources twice"),
        (lambda t: random_table(PIXELS[1], seed=1), "not the same sources"),
        (lambda t: random_table(PIXELS[2]), f"{ROWS} rows outside"),
        (lambda t: t.set_column(2, "ra", t["dec"]), "differ in ra"),
    ],
)
def test_rows_that_are_wrong_though_every_hash_agrees(storage: Storage, change, said: str):
    publish_with(
        storage, conform(change(random_table(PIXELS[1])), product_schema("spectra", LAYOUT))
    )
    assert any(said in problem for problem in problems_naming(storage, KEY, deep=True))
    assert not any("sha256" in problem for problem in check(storage).problems)


@pytest.mark.parametrize("deep", [True, False])
def test_units_that_are_lost(storage: Storage, deep: bool):
    table = conform(random_table(PIXELS[1]), product_schema("spectra", LAYOUT))
    publish_with(storage, table.replace_schema_metadata(None))
    (problem,) = problems_naming(storage, KEY, deep)
    assert "no VOParquet metadata" in problem


@pytest.mark.parametrize("deep", [True, False])
def test_another_schema_in_as_many_bytes(published: Storage, deep: bool):
    n_bytes = published.size(KEY)
    table = pq.read_table(f"{published}/{KEY}", columns=["_healpix_29", "source_id", "ra", "dec"])
    padding, data = n_bytes // 2, b""
    for _ in range(3):
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, table.schema) as writer:
            writer.write_table(table)
            writer.add_key_value_metadata({"padding": "x" * padding})
        data = sink.getvalue().to_pybytes()
        padding += n_bytes - len(data)
    assert len(data) == n_bytes
    published.replace(KEY, data)
    assert any("another schema" in problem for problem in problems_naming(published, KEY, deep))


def test_a_part_without_the_rows_it_was_said_to_have_is_not_published(storage: Storage):
    with pytest.raises(PermanentError, match=f"{KEY} has 399 rows, its manifest says 400"):
        publish_with(
            storage, conform(random_table(PIXELS[1], 399), product_schema("spectra", LAYOUT))
        )


def test_hats_metadata_and_identity_that_do_not_belong(published: Storage):
    text = published.read(COLLECTION).decode()
    digest = next(line for line in text.splitlines() if line.startswith("xpscale_manifest="))
    published.replace(COLLECTION, text.replace(digest, "xpscale_manifest=0").encode())
    published.replace(RUN, json.dumps(asdict(identity(model_id="model-2"))).encode())
    report = check(published, deep=False)
    assert any(f"{COLLECTION} is not what a commit" in problem for problem in report.problems)
    assert any("run.json says model_id is model-2" in problem for problem in report.problems)
    published.delete("latents/dataset/_common_metadata")
    assert any(
        p == "HATS: _common_metadata file does not exist."
        for p in check(published, deep=False).problems
    )


def test_info(published: Storage, tmp_path):
    found = catalog_info(published)
    assert (found.n_rows, found.n_in, found.n_rejected) == (
        len(PIXELS) * ROWS,
        len(PIXELS) * ROWS + 1,
        {"missing BP": 1},
    )
    assert found.partitions_by_order == {2: 1, 3: 2, 5: 1}
    assert found.area_sq_deg == pytest.approx(41252.96 * (1 / 192 + 2 / 768 + 1 / 12288), abs=0.001)
    assert sum(found.n_bytes.values()) == check(published, deep=False).n_bytes
    assert json.loads(found.to_json())["message"] == "to be damaged"
    with pytest.raises(NotFoundError, match="not an xpscale catalogue"):
        catalog_info(Storage(str(tmp_path / "nowhere")))


def test_on_a_web_server_it_is_said_what_is_not_looked_at(published: Storage):
    (published.folder / "latents/dataset/Norder=3/Npix=9.parquet").write_bytes(b"")
    assert not check(published, deep=False).ok
    with counted_web(published.folder) as web:
        done = xpscale("catalog", "check", "--quick", web.url)
    assert done.code == 0, done.err
    assert "web server lists nothing" in done.out
    assert "lists nothing" not in xpscale("catalog", "check", "--quick", published).out
