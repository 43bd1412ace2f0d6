"""``kill -9`` of workers and of the client at random moments: the store ends in the bytes of an
undisturbed ingest.

Twenty kills in the two tests together.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ingest.test_ingest import contents
from tests.support.archive_files import Defects, write_archive
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
from xpscale.testing.universe import Universe

pytestmark = pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="finds worker processes in /proc"
)

MAX_ROWS = 120

CLIENT = """
import sys
from xpscale.cli.common import chosen_cluster, executor
from xpscale.ingest.plan import plan_ingest
from xpscale.ingest.run import run_ingest
if __name__ == "__main__":
    plan = plan_ingest(sys.argv[1], sys.argv[2], max_rows=int(sys.argv[3]))
    with executor(chosen_cluster("local", workers=int(sys.argv[4]))) as where:
        where.n_workers  # starts them
        print("ready", flush=True)
        run_ingest(plan, executor=where)
        print("finished", flush=True)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """8 file pairs, so that there are moments enough, with rows to reject in them."""
    folder = str(tmp_path_factory.mktemp("kill") / "archive")
    defects = Defects(missing_bp=3, missing_source=3, duplicate=5, duplicate_across=5)
    return write_archive(
        Universe(900, seed=8, mover_fraction=0.02), folder, n_files=8, defects=defects
    ).url


@pytest.fixture(scope="module")
def reference(archive, tmp_path_factory):
    """The contents of the store that an undisturbed serial ingest makes."""
    path = tmp_path_factory.mktemp("reference") / "store"
    run_ingest(plan_ingest(archive, str(path), max_rows=MAX_ROWS))
    return contents(path)


@pytest.fixture
def start(archive, tmp_path):
    """Starts a client with worker processes of its own; whatever is left of them ends with the
    test.
    """
    started = []

    def client(store, n_workers):
        script = tmp_path / "client.py"
        script.write_text(CLIENT)
        command = [sys.executable, str(script), archive, str(store), str(MAX_ROWS), str(n_workers)]
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                text=True,
                env=environment(),
            )
        started.append(process)
        assert process.stdout.readline() == "ready\n", (tmp_path / "log").read_text()[-2000:]
        return process

    yield client
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def environment():
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def workers(process):
    """Process ids of the client's Dask workers."""
    found = []
    for task in Path(f"/proc/{process.pid}/task").glob("*/children"):
        for pid in task.read_text().split():
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and b"spawn_main" in command.read_bytes():
                found.append(int(pid))
    return found


def n_objects(store):
    return sum(len(files) for _, _, files in os.walk(store))


def wait_for(store, process, n):
    """Until the store holds ``n`` objects or the client has ended; whether it still runs."""
    while process.poll() is None:
        if n_objects(store) >= n:
            return True
        time.sleep(0.002)
    return False


def kill_all(victims, n_workers, rng, start, folder, reference):
    """Run ingests and kill the victims in turn; a store that is finished too early is compared, and
    another one begun.
    """
    killed, n_stores, process = {"worker": 0, "client": 0}, 0, None
    store = folder / "store-0"
    while victims:
        process = process or start(store, n_workers)
        if not wait_for(store, process, n_objects(store) + rng.randrange(30)):
            finish(process, store, reference)
            n_stores += 1
            process, store = None, folder / f"store-{n_stores}"
            continue
        time.sleep(rng.random() * 0.02)
        victim = victims[-1]
        running = workers(process) if victim == "worker" else [process.pid]
        if not running or process.poll() is not None:
            continue  # it ended, or its last worker is just being replaced
        os.kill(rng.choice(running), signal.SIGKILL)
        killed[victims.pop()] += 1
        if victim == "client":
            process.wait()
            process.stdout.close()
            process = None
    finish(process or start(store, n_workers), store, reference)
    return killed


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_and_client_killed_on_a_cluster(reference, start, tmp_path):
    victims = ["worker", "worker", "worker", "client", "worker", "worker", "worker"]
    assert kill_all(victims, 2, random.Random(20), start, tmp_path, reference) == {
        "worker": 6,
        "client": 1,
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_client_without_workers_killed(reference, start, tmp_path):
    assert kill_all(["client"] * 13, 0, random.Random(21), start, tmp_path, reference) == {
        "worker": 0,
        "client": 13,
    }


def finish(process, store, reference):
    said = process.stdout.read()
    assert process.wait() == 0
    assert said == "finished\n"
    assert contents(store) == reference
    shutil.rmtree(store)
