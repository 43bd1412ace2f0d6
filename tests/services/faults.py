"""The faults that are injected into a run.

Each function starts a client, injects its fault once or more, and returns the clients' exit codes.
"""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.services.services import Services, is_alive, send, wait_for
from tests.support.faults import Fault, make_room
from tests.support.processes import Process
from xpscale.storage import Storage

N_WRITES = 37  # of a run
RUN_S = 2.5  # about how long a run takes
DISK_BYTES = 400_000  # less than a catalogue takes

FaultFunction = Callable[[Services, random.Random, Storage], list[int]]


def start(services: Services, rng: random.Random, catalog: Storage) -> Process:
    """A client at the moment of the fault: paused before a write of its run, or at any time."""
    at_write = services.only_at_writes or rng.random() < 0.5
    services.points.arm(rng.randrange(N_WRITES) if at_write else -1, "pause")
    client = services.client(catalog)
    if at_write:
        services.wait_for_kill_point(client)
    else:
        time.sleep(rng.uniform(0, RUN_S))
    return client


def inject(services: Services, client: Process, fault: Callable[[], object]) -> None:
    """Inject a fault and let the paused process go on; it counts if the run had not ended."""
    services.n_injected += client.is_running
    fault()
    services.points.resume()


def killed_at_a_write(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    """The process that does the write, client or worker, kills itself."""
    services.points.arm(rng.randrange(N_WRITES), "die", after=rng.random() < 0.5)
    code = services.finish(services.client(catalog))
    services.n_injected += bool(services.points.reached)
    return [code]


def client_killed(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    return signalled(services, rng, catalog, signal.SIGKILL)


def client_terminated(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    return signalled(services, rng, catalog, rng.choice([signal.SIGTERM, signal.SIGINT]))


def signalled(services: Services, rng: random.Random, catalog: Storage, number: int) -> list[int]:
    client = start(services, rng, catalog)
    inject(services, client, lambda: client.signal(number))
    return [services.finish(client)]


def worker_killed(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    client, pid = start(services, rng, catalog), rng.choice(services.cluster.worker_pids)
    inject(services, client, lambda: services.cluster.kill_worker(pid))
    return [services.finish(client)]


def worker_terminated(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    client, pid = start(services, rng, catalog), rng.choice(services.cluster.worker_pids)
    inject(services, client, lambda: send(pid, signal.SIGTERM))
    wait_for(lambda: not is_alive(pid))
    return [services.finish(client)]


def nanny_killed(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    pid = services.cluster.start_worker(nanny=True)
    client = start(services, rng, catalog)
    inject(services, client, lambda: send(pid, signal.SIGKILL))
    return [services.finish(client)]


def scheduler_killed(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    client = start(services, rng, catalog)
    inject(services, client, services.cluster.kill_scheduler)
    try:
        code = client.wait()
    finally:
        services.cluster.start_scheduler()
        services.replace_all_workers()
    return [code]


def server_killed(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    client = start(services, rng, catalog)
    inject(services, client, services.s3.kill)
    time.sleep(rng.uniform(0, 2))
    services.s3.restart()
    return [services.finish(client)]


def worker_slow(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    """One process pauses before a write for a while."""
    services.points.arm(rng.randrange(N_WRITES), "pause")
    client = services.client(catalog)
    services.wait_for_kill_point(client)
    inject(services, client, lambda: time.sleep(rng.uniform(0, 1.5)))
    return [services.finish(client)]


def zombie(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    """A worker pauses before it writes a part or a report, and goes on after another worker has
    done its task.
    """
    services.points.arm(
        rng.randrange(4),
        "pause",
        of=rng.choice(["latents/dataset/N", "spectra/dataset/N", "/ledger/"]),
    )
    client = services.client(catalog)
    services.wait_for_kill_point(client)
    code, pid = services.finish(client), services.points.reached
    services.points.resume()
    wait_for(lambda: services.points.has_gone_on or not is_alive(pid))
    services.n_injected += services.points.has_gone_on
    return [code]


def worker_stopped(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    """A whole process is stopped, with its heartbeats, and continues when the run has ended."""
    client, pid = start(services, rng, catalog), rng.choice(services.cluster.worker_pids)
    inject(services, client, lambda: send(pid, signal.SIGSTOP))
    code = services.finish(client)
    send(pid, signal.SIGCONT)
    time.sleep(0.5)
    return [code]


def two_clients(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    first = start(services, rng, catalog)
    second = services.client(catalog)
    inject(services, first, lambda: time.sleep(rng.uniform(0, RUN_S)))
    return [services.finish(first), services.finish(second)]


def put(kind: str, n: tuple[int, int] = (1, 3)) -> FaultFunction:
    """A fault of the proxy at a PUT request, for a number of requests between the limits ``n``."""

    def fault(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
        seconds = 3.0 if kind == "hang" else rng.uniform(0.1, 2.5)
        before = services.proxy.struck.get(kind, 0)
        services.proxy.arm(Fault(kind, rng.randrange(N_WRITES - 2), rng.randint(*n), seconds))
        code = services.finish(services.client(catalog))
        time.sleep(seconds if kind == "held up" else 0)
        services.n_injected += services.proxy.struck.get(kind, 0) - before
        return [code]

    return fault


def disk_full(services: Services, rng: random.Random, catalog: Storage) -> list[int]:
    """On a disk of `DISK_BYTES`, which is enlarged before the run is repeated."""
    code = services.finish(services.client(catalog))
    services.n_injected += code != 0
    make_room(Path(catalog.url), 100 * DISK_BYTES)
    return [code]


ON_DISK = {"disk full": disk_full}

FAULTS: dict[str, FaultFunction] = {
    "killed at a write": killed_at_a_write,
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
