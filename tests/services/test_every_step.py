"""Between every pair of steps of a run: the client dies, or stands still while another does its
work.

In one process, so that no step is left out; `campaign` does the same to real processes, by sample.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.commands import xpscale
from tests.services.field import wait_for
from tests.services.world import infer, objects, verdict
from xpscale.catalog.check import check
from xpscale.catalog.snapshots import snapshots as published
from xpscale.storage import Storage
from xpscale.testing.kill_points import Killed, KillPoints, install


@pytest.fixture
def points(tmp_path):
    points = KillPoints(tmp_path / "points")
    points.arm(-1, "raise")
    undo = install(points)
    yield points
    undo()


@pytest.fixture
def n_steps(world, points, tmp_path):
    """Writes of an undisturbed run."""
    world.reference  # noqa: B018
    points.arm(-1, "raise")
    infer(world, str(tmp_path / "count"))
    return len(points.operations)


def leave_unfinished(operation):
    """What a process that is killed while it writes to a local disk leaves of the object."""
    _, method, where = operation.split(" ", 2)
    if method != "delete":
        left = Path(f"{where}#1")
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half of")


def test_killed_between_any_two_steps_and_run_again(world, points, n_steps, tmp_path):
    assert n_steps > 30
    named = 0
    for step in range(n_steps):
        catalog = Storage(str(tmp_path / f"catalog-{step}"))
        points.arm(step, "raise")
        with pytest.raises(Killed):
            infer(world, catalog.url)
        leave_unfinished(points.operations[-1])
        assert not published(catalog) or check(catalog).ok
        infer(world, catalog.url)
        found = verdict(world, catalog)
        assert found.is_good, (points.operations[step], found)
        named += len(found.strays)
    assert named > 5  # of model, ledger and metadata: those of parts are removed by the commit


def test_a_zombie_that_wakes_when_another_has_done_its_work(world, points, n_steps, tmp_path):
    for step in range(n_steps):
        catalog = Storage(str(tmp_path / f"catalog-{step}"))
        points.arm(step, "pause")
        with ThreadPoolExecutor(1) as thread:
            zombie = thread.submit(infer, world, catalog.url)
            points.wait()
            first = infer(world, catalog.url)
            before = objects(catalog)
            points.resume()
            assert zombie.result() == first
        assert objects(catalog) == before
        found = verdict(world, catalog)
        assert found.is_good, (points.operations[step], found)


def test_what_a_process_killed_in_a_write_leaves_is_named_and_removed(world, tmp_path):
    catalog = Storage(str(tmp_path / "catalog"))
    infer(world, catalog.url)
    whole = objects(catalog)
    key = next(key for key in sorted(whole) if key.startswith("latents/dataset/Norder"))
    code = (
        "import sys; from xpscale.storage import Storage; Storage(sys.argv[1]).create(sys.argv[2],"
        " bytes(2**30))"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, catalog.url, f"{key}.too"])
    wait_for(lambda: objects(catalog) > whole)
    writer.kill()
    assert writer.wait() == -9
    (stray,) = objects(catalog) - whole
    assert stray.startswith(f"{key}.too#")
    checked = xpscale("catalog", "check", catalog.url)
    assert checked.code == 20
    assert f"{stray}: a temporary file of a process that was killed, which readers" in checked.out
    assert stray in xpscale("catalog", "clean", catalog.url, "--older-than", 0).out
    assert xpscale("catalog", "clean", catalog.url, "--older-than", 0, "--yes").code == 0
    assert objects(catalog) == whole
    assert xpscale("catalog", "check", catalog.url).code == 0
