"""Metadata of a spectra store that lie: rows as they are, or one error of ours; little memory."""

import json
import random

import pytest

from xpscale.errors import XpscaleError
from xpscale.ingest.build import build_store
from xpscale.store.reader import open_store
from xpscale.testing.universe import Universe

VALUES = (None, "x", {}, [], [[]], ["x"], -1, 0, 10**12, 10**30, 1.5, True)


def changes(value, path=()):
    """All that may be elsewhere in a JSON value."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from changes(inner, (*path, key))
    if path:
        yield from ((path, other) for other in VALUES)


def changed(value, path, other):
    copy = inner = json.loads(json.dumps(value))
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return json.dumps(copy)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rows = Universe(5, seed=1).spectra()
    url = str(tmp_path_factory.mktemp("store"))
    return build_store([("all", rows)], url, attributes={"release": "Gaia DR3", "origin": "x"})


@pytest.mark.parametrize("place", ["", "*/*/coefficients/", "*/*/source_id/"])
def test_metadata_that_lie(store, place):
    (path, *_) = store.storage.folder.glob(f"{place}zarr.json")
    sound = path.read_text()
    every = list(changes(json.loads(sound)))
    named = [(where, other) for where, other in every if {"shape", "companions"} & {*where}]
    must = [(where, other) for where, other in named if other in ("x", -1, 1.5)]
    try:
        for where, other in must + random.Random(2).sample(every, 15):
            path.write_text(changed(json.loads(sound), where, other))
            try:
                opened = open_store(store.url)
                opened.read(opened.partitions[0])
            except XpscaleError:
                pass
    finally:
        path.write_text(sound)
