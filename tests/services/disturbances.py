"""What is done to a run: each disturbance starts a client, strikes once or more, and returns the
client's exit codes.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.services.field import Field, is_alive, wait_for, wake
from xpscale.storage import Storage
from xpscale.testing.faults import Fault, make_room
from xpscale.testing.processes import Process

N_STEPS = 37  # writes of a run
RUN_S = 2.5  # about what one takes
ROOM = 400_000  # bytes, less than a catalogue takes

Disturbance = Callable[[Field, random.Random, Storage], list[int]]


def start(field: Field, rng: random.Random, catalog: Storage) -> Process:
    """A client, at a good moment for a strike: one of the run's writes, which waits for `strike`;
    or just any.
    """
    at_step = field.is_at_steps or rng.random() < 0.5
    field.points.arm(rng.randrange(N_STEPS) if at_step else -1, "pause")
    client = field.client(catalog)
    if at_step:
        field.wait_for_strike(client)
    else:
        time.sleep(rng.uniform(0, RUN_S))
    return client


def strike(field: Field, client: Process, blow: Callable[[], object]) -> None:
    """Strike, and let whoever waited for it go on; it counts if the run was not over."""
    field.n_injected += client.is_running
    blow()
    field.points.resume()


def killed_at_a_step(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    """Whoever does the step, client or worker, kills itself."""
    field.points.arm(rng.randrange(N_STEPS), "die", after=rng.random() < 0.5)
    code = field.finish(field.client(catalog))
    field.n_injected += bool(field.points.reached)
    return [code]


def client_killed(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    return signalled(field, rng, catalog, signal.SIGKILL)


def client_terminated(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    return signalled(field, rng, catalog, rng.choice([signal.SIGTERM, signal.SIGINT]))


def signalled(field: Field, rng: random.Random, catalog: Storage, number: int) -> list[int]:
    client = start(field, rng, catalog)
    strike(field, client, lambda: client.signal(number))
    return [field.finish(client)]


def worker_killed(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    client, pid = start(field, rng, catalog), rng.choice(field.cluster.worker_pids)
    strike(field, client, lambda: field.cluster.kill_worker(pid))
    return [field.finish(client)]


def worker_terminated(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    client, pid = start(field, rng, catalog), rng.choice(field.cluster.worker_pids)
    strike(field, client, lambda: os.kill(pid, signal.SIGTERM))
    wait_for(lambda: not is_alive(pid))
    return [field.finish(client)]


def nanny_killed(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    pid = field.cluster.start_worker(nanny=True)
    client = start(field, rng, catalog)
    strike(field, client, lambda: os.kill(pid, signal.SIGKILL))
    return [field.finish(client)]


def scheduler_killed(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    client = start(field, rng, catalog)
    strike(field, client, field.cluster.kill_scheduler)
    try:
        code = client.wait()
    finally:
        field.cluster.start_scheduler()
        field.renew_workers()
    return [code]


def server_killed(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    client = start(field, rng, catalog)
    strike(field, client, field.s3.kill)
    time.sleep(rng.uniform(0, 2))
    field.s3.restart()
    return [field.finish(client)]


def worker_slow(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    """Somebody stands still at a step for a while."""
    field.points.arm(rng.randrange(N_STEPS), "pause")
    client = field.client(catalog)
    field.wait_for_strike(client)
    strike(field, client, lambda: time.sleep(rng.uniform(0, 1.5)))
    return [field.finish(client)]


def zombie(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    """A worker stands still before it writes a part or a report; its task is done elsewhere; it
    goes on.
    """
    field.points.arm(
        rng.randrange(4),
        "pause",
        of=rng.choice(["latents/dataset/N", "spectra/dataset/N", "/ledger/"]),
    )
    client = field.client(catalog)
    field.wait_for_strike(client)
    code, pid = field.finish(client), field.points.reached
    field.points.resume()
    wait_for(lambda: field.points.has_gone_on or not is_alive(pid))
    field.n_injected += field.points.has_gone_on
    return [code]


def worker_stopped(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    """A whole process stands still, heartbeats and all, and wakes when the run is over."""
    client, pid = start(field, rng, catalog), rng.choice(field.cluster.worker_pids)
    strike(field, client, lambda: os.kill(pid, signal.SIGSTOP))
    code = field.finish(client)
    wake(pid)
    time.sleep(0.5)
    return [code]


def two_clients(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    first = start(field, rng, catalog)
    second = field.client(catalog)
    strike(field, first, lambda: time.sleep(rng.uniform(0, RUN_S)))
    return [field.finish(first), field.finish(second)]


def put(kind: str, n: tuple[int, int] = (1, 3)) -> Disturbance:
    """A fault of the proxy, at a PUT."""

    def disturb(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
        seconds, before = (
            3.0 if kind == "hang" else rng.uniform(0.1, 2.5),
            field.proxy.struck.get(kind, 0),
        )
        field.proxy.arm(Fault(kind, rng.randrange(N_STEPS - 2), rng.randint(*n), seconds))
        code = field.finish(field.client(catalog))
        time.sleep(seconds if kind == "held up" else 0)
        field.n_injected += field.proxy.struck.get(kind, 0) - before
        return [code]

    return disturb


def disk_full(field: Field, rng: random.Random, catalog: Storage) -> list[int]:
    """On a disk of `ROOM` bytes, which is given more for the repetition."""
    code = field.finish(field.client(catalog))
    field.n_injected += code != 0
    make_room(Path(catalog.url), 100 * ROOM)
    return [code]


ON_DISK = {"disk full": disk_full}

DISTURBANCES: dict[str, Disturbance] = {
    "killed at a step": killed_at_a_step,
    "client kill -9": client_killed,
    "client SIGTERM or Ctrl-C": client_terminated,
    "worker kill -9": worker_killed,
    "worker SIGTERM": worker_terminated,
    "nanny kill -9": nanny_killed,
    "scheduler kill -9": scheduler_killed,
    "S3 server kill -9": server_killed,
    "slow": worker_slow,
    "worker SIGSTOP, wakes": worker_stopped,
    "zombie writes late": zombie,
    "two clients": two_clients,
    "PUT lost": put("lost"),
    "PUT late": put("late", (1, 2)),
    "PUT held up": put("held up"),
    "PUT twice": put("twice", (1, 9)),
    "PUT torn": put("torn"),
    "PUT hangs": put("hang", (1, 2)),
    "503 storm": put("busy", (4, 12)),
    "503, but stored": put("busy after"),
    **ON_DISK,
}
