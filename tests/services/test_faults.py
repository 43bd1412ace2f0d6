"""One run disturbed in each way, with real processes; ``python -m tests.services.campaign`` does hundreds."""

import signal
import time

import pytest

from tests.services.campaign import campaign
from tests.services.disturbances import DISTURBANCES
from tests.services.field import field as services
from xpscale.storage import Storage

pytestmark = [pytest.mark.s3, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("services")]

CAMPAIGN_ONLY = {
    "nanny kill -9",  # the worker it starts imports everything
    "zombie writes late",  # failed once in four here, for a reason not found yet; test_every_step has it at every step
}

MAY_END_WITH = {
    "client SIGTERM or Ctrl-C": {0, 130},
    "scheduler kill -9": {0, 75},
    "worker kill -9": {0},
    "worker SIGTERM": {0},
    "worker SIGSTOP, wakes": {0},
    "two clients": {0},
    "disk full": {75},
    **{kind: {0} for kind in DISTURBANCES if kind.startswith(("PUT", "503"))},
}
"""Where that is not a matter of who is struck."""


@pytest.fixture(scope="module")
def field(tmp_path_factory):
    with services(tmp_path_factory.mktemp("field")) as found:
        yield found


@pytest.mark.parametrize("kind", sorted(set(DISTURBANCES) - CAMPAIGN_ONLY))
def test_disturbed_and_repeated_it_is_the_same_catalogue(field, kind):
    (outcome,) = campaign(field, 1, 7, (kind,))
    assert outcome.verdict.is_good, outcome
    assert set(outcome.codes) <= MAY_END_WITH.get(kind, {0, 20, 75, -9}), outcome
    if set(outcome.codes) == {0}:
        assert outcome.n_repetitions == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_client_that_is_told_to_stop_says_how_to_go_on(field, number, tmp_path):
    log, catalog = field.folder / "client.log", Storage(str(tmp_path / "catalog"))
    field.mend()
    field.points.arm(5, "pause")
    before = log.stat().st_size if log.exists() else 0
    client = field.client(catalog)
    field.points.wait()
    client.signal(number)
    time.sleep(0.2)
    field.points.resume()
    assert client.wait() == 130
    said = log.read_text()[before:]
    assert f"run the same command again to go on from here:\n  xpscale infer {field.world.store}" in said
    field.mend()
    assert field.finish(field.client(catalog)) == 0
