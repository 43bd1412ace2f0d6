"""A way of each family to disturb a run, with real processes; ``python -m tests.services.campaign``
does all.
"""

import signal
import time

import pytest

from tests.services.campaign import disturbed
from tests.services.field import field as services
from xpscale.storage import Storage

pytestmark = [
    pytest.mark.s3,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("services"),
]

KINDS = {
    "killed at a step": {0, -9},
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
"""With the exit codes that the disturbed run may have; its repetition ends with 0."""


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    with services(tmp_path_factory.mktemp("field")) as found:
        found.is_at_steps = True
        yield found


@pytest.mark.parametrize("kind", KINDS)
def test_disturbed_and_repeated_it_is_the_same_catalogue(field, kind):
    outcome = disturbed(field, kind, list(KINDS).index(kind), seed=11)
    assert outcome.n_injected, outcome
    assert outcome.verdict.is_good, outcome
    assert outcome.verdict.rows_in == outcome.verdict.rows_out > 0
    assert set(outcome.codes) <= KINDS[kind], outcome


def started_and_paused(field, catalog, step):
    """A client that is about to do a write of its run."""
    field.mend()
    field.points.arm(step, "pause")
    client = field.client(catalog)
    field.wait_for_strike(client)
    return client


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_is_told_to_stop_says_how_to_go_on(field, number, tmp_path):
    log, catalog = field.client_log, Storage(str(tmp_path / "catalog"))
    before = log.stat().st_size if log.exists() else 0
    client = started_and_paused(field, catalog, 5)
    client.signal(number)
    time.sleep(0.2)
    field.points.resume()
    assert client.wait() == 130
    said = log.read_text()[before:]
    assert (
        f"run the same command again to go on from here:\n  xpscale infer {field.world.store}"
        in said
    )
    field.mend()
    assert field.finish(field.client(catalog)) == 0
