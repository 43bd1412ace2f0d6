"""Before every write of a run the client dies, or pauses while another client does its work.

In one process, so that no write is left out; `campaign` takes a sample of them in real processes.
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.commands import xpscale
from tests.services.scenario import Scenario, infer, objects, verdict
from tests.services.services import wait_for
from tests.small_maps import small_maps
from tests.support.kill_points import Killed, KillPoints, install
from xpscale.catalog.check import check
from xpscale.catalog.snapshots import snapshots as published
from xpscale.storage import Storage


@pytest.fixture(scope="module")
def scenario(tmp_path_factory):
    """One of its own, of few and small objects: each of them is a run of the test."""
    with small_maps():
        yield Scenario.make(tmp_path_factory.mktemp("steps"), n_partitions=2)


@pytest.fixture
def points(tmp_path):
    points = KillPoints(tmp_path / "points")
    points.arm(-1, "raise")
    undo = install(points)
    yield points
    undo()


@pytest.fixture
def n_writes(scenario, points, tmp_path):
    """Number of writes of a run without faults."""
    scenario.published  # noqa: B018
    points.arm(-1, "raise")
    infer(scenario, str(tmp_path / "count"))
    return len(points.operations)


def leave_unfinished(operation):
    """Make what a process that is killed during a write to a local disk leaves of the object."""
    _, method, where = operation.split(" ", 2)
    if method != "delete":
        left = Path(f"{where}#1")
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half of")


def test_a_run_killed_before_any_write_and_repeated(scenario, points, n_writes, tmp_path):
    assert n_writes > 30
    n_strays = 0
    for number in range(n_writes):
        catalog = Storage(str(tmp_path / f"catalog-{number}"))
        points.arm(number, "raise")
        with pytest.raises(Killed):
            infer(scenario, catalog.url)
        leave_unfinished(points.operations[-1])
        assert not published(catalog) or check(catalog).ok
        infer(scenario, catalog.url)
        found = verdict(scenario, catalog, completed=False)
        assert found.is_good, (points.operations[number], found)
        n_strays += len(found.strays)
    assert n_strays > 5  # of model, ledger and metadata; the commit removes those of parts


def test_a_client_that_goes_on_after_another_has_done_its_work(
    scenario, points, n_writes, tmp_path
):
    for number in range(n_writes):
        catalog = Storage(str(tmp_path / f"catalog-{number}"))
        points.arm(number, "pause")
        with ThreadPoolExecutor(1) as thread:
            zombie = thread.submit(infer, scenario, catalog.url)
            points.wait()
            first = infer(scenario, catalog.url)
            before = objects(catalog)
            points.resume()
            assert zombie.result() == first
        assert objects(catalog) == before
        found = verdict(scenario, catalog, completed=False)
        assert found.is_good, (points.operations[number], found)


def test_what_a_process_killed_in_a_write_leaves_is_reported_and_removed(scenario, tmp_path):
    catalog = Storage(str(tmp_path / "catalog"))
    infer(scenario, catalog.url)
    whole = objects(catalog)
    key = next(key for key in sorted(whole) if key.startswith("latents/dataset/Norder"))
    code = (
        "import sys; from xpscale.storage import Storage; Storage(sys.argv[1]).create(sys.argv[2],"
        " bytes(2**30))"
    )
    other = re.sub(r"Npix=\d+", "Npix=47", key)
    writer = subprocess.Popen([sys.executable, "-c", code, catalog.url, other])
    wait_for(lambda: objects(catalog) > whole)
    writer.kill()
    assert writer.wait() == -9
    (stray,) = objects(catalog) - whole
    assert stray.startswith(f"{other}#")
    checked = xpscale("catalog", "check", catalog.url)
    assert checked.code == 20
    assert f"{stray}: a temporary file of a process that was killed, which readers" in checked.out
    assert stray in xpscale("catalog", "clean", catalog.url, "--older-than", 0).out
    assert xpscale("catalog", "clean", catalog.url, "--older-than", 0, "--yes").code == 0
    assert objects(catalog) == whole
    assert xpscale("catalog", "check", catalog.url).code == 0
