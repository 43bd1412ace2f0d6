"""One fault of each family in real processes; ``python -m tests.services.campaign`` does all."""

import signal
import time

import pytest

from tests.services.campaign import run_with_fault
from tests.services.services import start_services
from xpscale.storage import Storage

pytestmark = [
    pytest.mark.s3,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

KINDS = {
    "killed at a write": {0, -9},
    "worker kill -9": {0},
    "scheduler kill -9": {0, 75},
    "S3 server kill -9": {0, 20, 75},
    "slow": {0},
    "zombie writes late": {0},
    "two clients": {0},
    "PUT lost": {0},
    "503, but stored": {0},
    "disk full": {20, 75},
}
"""With the exit codes that the run with the fault may have; its repetition ends with 0."""


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    with start_services(tmp_path_factory.mktemp("services")) as found:
        found.only_at_writes = True
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_with_a_fault_repeated_makes_the_same_catalogue(services, kind):
    outcome = run_with_fault(services, kind, list(KINDS).index(kind), seed=11)
    assert outcome.n_injected, outcome
    assert outcome.verdict.is_good, outcome
    assert outcome.verdict.rows_in == outcome.verdict.rows_out > 0
    assert set(outcome.codes) <= KINDS[kind], outcome


def start_and_pause(services, catalog, number_of_write):
    """A client, paused before one of its run's writes."""
    services.restore()
    services.points.arm(number_of_write, "pause")
    client = services.client(catalog)
    services.wait_for_kill_point(client)
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_is_stopped_says_how_to_go_on(services, number, tmp_path):
    log, catalog = services.client_log, Storage(str(tmp_path / "catalog"))
    before = log.stat().st_size if log.exists() else 0
    client = start_and_pause(services, catalog, 5)
    client.signal(number)
    time.sleep(0.2)
    services.points.resume()
    assert client.wait() == 130
    output = log.read_text()[before:]
    assert (
        f"run the same command again to go on from here:\n  xpscale infer {services.scenario.store}"
        in output
    )
    services.restore()
    assert services.finish(services.client(catalog)) == 0
