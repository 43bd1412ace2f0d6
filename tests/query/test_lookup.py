from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from xpscale.catalog.manifest import Manifest
from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.query.catalog import Catalog
from xpscale.query.engine import connected
from xpscale.query.identifiers import parse_ids
from xpscale.query.lookup import candidates, locate
from xpscale.release import DR3, UNSTATED, find_release


def test_every_source_is_found_where_it_lies(cat, example):
    ids = example.rows["source_id"].to_numpy()
    location = locate(cat, ids)
    assert len(location.missing) == 0
    assert location.parts == cat.manifest.of("latents")


def test_rows_come_in_the_order_asked_for(cat, example):
    rng = np.random.default_rng(0)
    ids = rng.permutation(example.rows["source_id"].to_numpy())[:50]
    absent = [17, 2**63 - 1]
    for selection in (
        cat.at([*ids, *absent, *ids[:3]]),
        cat.at(iter([*ids.tolist(), *absent])).with_spectra(),
    ):
        assert selection.to_table()["source_id"].to_pylist() == ids.tolist()
        assert selection.missing.tolist() == absent
        assert selection.count() == 50
    one = cat.at(int(ids[0]))
    assert one.to_table()["source_id"].to_pylist() == [ids[0]]
    assert len(one.parts) == 1


def test_movers_are_found_away_from_their_number(cat, example):
    found = cat.at(example.movers)
    parts = cat.manifest.of("latents")
    away = [
        mover
        for mover in example.movers
        if not set(cat.at(mover).parts) & set(candidates(parts, np.array([mover])))
    ]
    assert len(away) > len(example.movers) / 2
    assert found.to_table()["source_id"].to_pylist() == example.movers.tolist()
    assert len(found.missing) == 0


def test_an_absent_identifier_opens_one_part_or_none(cat, example, monkeypatch):
    opened = []
    monkeypatch.setattr(
        "xpscale.query.lookup.connected",
        lambda catalog, parts, what: opened.append(list(parts)) or connected(catalog, parts, what),
    )
    ids, movers = example.rows["source_id"].to_numpy(), example.movers
    for absent in (np.setdiff1d(ids + 1, ids)[7], movers[0] + 1):
        assert cat.at(absent).missing.tolist() == [absent]
        assert [len(parts) for parts in opened] == [1]
        opened.clear()
    assert cat.at(2**63 - 1).missing.tolist() == [2**63 - 1]
    assert not opened


def test_a_catalogue_that_names_no_movers_finds_them_all_the_same(cat, example):
    parts = tuple(replace(part, movers=None) for part in cat.manifest.parts)
    old = Manifest.from_json(replace(cat.manifest, parts=parts).to_json())
    assert old.parts == parts
    catalog = Catalog(cat.storage, cat.snapshot, old)
    wanted = [*example.movers.tolist(), 17]
    assert catalog.at(wanted).to_table().equals(cat.at(wanted).to_table())
    assert catalog.at(wanted).missing.tolist() == [17]


def test_missing_means_absent_not_filtered_out(cat, example):
    ids = example.rows["source_id"].to_pylist()[:4]
    selection = cat.at([*ids, 99]).where("ra > 400")
    assert selection.missing.tolist() == [99]
    assert selection.to_table().num_rows == 0


def test_parse_ids(tmp_path):
    assert parse_ids("1, Gaia DR3 4295806720,1", DR3).tolist() == [1, 4295806720]
    file = tmp_path / "ids.txt"
    file.write_text("# stars\n4295806720  # the first\n\n  gaia dr3 2\n")
    assert parse_ids(f"@{file}", DR3).tolist() == [4295806720, 2]
    assert parse_ids(f"@{file}", DR3).dtype == np.int64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2x", "entry 2: '2x' is no Gaia source_id"),
        ("1.0", "entry 1"),
        ("-4", "entry 1"),
        (str(2**63), "entry 1"),
        (" , ", "holds no source_id"),
        ("1 2x", "entry 1: '1 2x' is no Gaia source_id"),
        ("Gaia DR3 x", "entry 1"),
    ],
)
def test_bad_entries_are_named(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_ids(text, DR3)


def test_bad_files_are_named(tmp_path):
    file = tmp_path / "ids.txt"
    file.write_text("1\nabc\n")
    with pytest.raises(InvalidInputError, match=r"ids.txt, line 2: 'abc'"):
        parse_ids(f"@{file}", DR3)
    with pytest.raises(NotFoundError, match="no file"):
        parse_ids(f"@{tmp_path}/none", DR3)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="not a text file"):
        parse_ids(f"@{file}", DR3)


@pytest.mark.parametrize(
    ("prefix", "release"),
    [
        ("Gaia DR2", DR3),
        ("gaia edr3", DR3),
        ("Gaia DR3", find_release("dr4")),
        ("Gaia DR4", UNSTATED),
    ],
)
def test_identifiers_of_another_release_are_refused_with_both_named(prefix, release):
    with pytest.raises(InvalidInputError, match=rf"{prefix}.*{re.escape(release.name)}"):
        parse_ids(f"5,{prefix}  123", release)


def test_the_prefix_is_that_of_the_release():
    assert parse_ids("gaia  DR4 123, 7", find_release("dr4")).tolist() == [123, 7]
