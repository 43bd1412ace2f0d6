"""The commit protocol as a state machine: workers, commits and cleaners whose every access to
storage may be the next one.

Each actor is a thread that stands still before each of its accesses until hypothesis lets it go on,
or kills it there."""

import os
import tempfile
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from random_catalog import PIXELS, identity, random_table

from tests.support.kill_points import Killed
from xpscale.catalog import hats
from xpscale.catalog.check import check
from xpscale.catalog.clean import MINIMUM_AGE_S, clean
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.identity import claim
from xpscale.catalog.layout import LEDGER, MANIFESTS
from xpscale.catalog.sink import ParquetSink
from xpscale.catalog.snapshots import numbers, read_manifest, snapshots
from xpscale.errors import ConflictError, IncompleteError
from xpscale.runtime.attempt import Attempt
from xpscale.runtime.ledger import Ledger
from xpscale.storage import Storage
from xpscale.types import TaskReport, TaskStatus

TASKS = PIXELS[:2]
ROWS = 5
ACCESSES = ("create", "replace", "delete", "read", "list", "objects")


class Actor:
    """A thread that does one access to storage at a time, when it is told."""

    here = threading.local()

    def __init__(self, name, work):
        self.name, self._work, self._dies = name, work, False
        self._go, self._stands = threading.Semaphore(0), threading.Semaphore(0)
        self.result: Future = Future()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stands.acquire()

    def _run(self):
        Actor.here.actor = self
        try:
            self.result.set_result(self._work())
        except Killed:
            self.result.set_result(None)
        except BaseException as error:
            self.result.set_exception(error)
        self._stands.release()

    def stand(self):
        """Called in its thread, before an access."""
        self._stands.release()
        self._go.acquire()
        if self._dies:
            raise Killed

    def step(self, dies=False):
        """Let it do one access, or die instead; it stands before the next one, or has ended, when
        this returns.
        """
        self._dies = dies
        self._go.release()
        self._stands.acquire()

    @property
    def is_over(self):
        return self.result.done()


@pytest.fixture(autouse=True, scope="module")
def accesses_of_actors_wait(small_maps):
    originals = {name: getattr(Storage, name) for name in ACCESSES}

    def waiting(original):
        def access(self, *arguments):
            actor = getattr(Actor.here, "actor", None)
            if actor is not None and not getattr(Actor.here, "inside", False):
                actor.stand()
                Actor.here.inside = True  # what it does by way of others is the same access
                try:
                    return original(self, *arguments)
                finally:
                    Actor.here.inside = False
            return original(self, *arguments)

        return access

    for name, original in originals.items():
        setattr(Storage, name, waiting(original))
    yield
    for name, original in originals.items():
        setattr(Storage, name, original)


def encoded(pixel, device):
    """The rows of a pixel; another device rounds otherwise."""
    table = random_table(pixel, ROWS)
    at = table.column_names.index("nll")
    return table.set_column(at, table.field(at), pa.array([device] * ROWS, table.field(at).type))


class Protocol(RuleBasedStateMachine):
    """Several of each kind at once; what holds at every moment, and in the end."""

    @initialize()
    def begin(self):
        self.folder = tempfile.TemporaryDirectory()
        self.storage = Storage(f"{self.folder.name}/catalog")
        who = identity(n_tasks=len(TASKS))
        claim(self.storage, who)
        self.sink = ParquetSink(self.storage, who.layout)
        self.ledger = Ledger(self.storage / LEDGER)
        self.actors, self.crashed_commit = [], False

    def work(self, pixel, device):
        def write(task):
            parts = self.sink.put(task, encoded(task, device))
            return TaskReport(task.key, TaskStatus.WRITTEN, parts, n_in=ROWS, n_out=ROWS)

        return Attempt(write, self.ledger)(pixel)

    def publish(self):
        """Commit what is done, without what is not."""
        done = self.ledger.finished()
        left_out = [
            TaskReport(p.key, TaskStatus.QUARANTINED, error="bad")
            for p in TASKS
            if p.key not in done
        ]
        manifest = build_manifest(self.storage, [*done.values(), *left_out], skip_damaged=True)
        return commit(self.storage, manifest)

    @rule(task=st.sampled_from(TASKS), device=st.integers(0, 1))
    def start_worker(self, task, device):
        self.actors.append(Actor("worker", lambda: self.work(task, device)))

    @rule()
    def start_commit(self):
        self.actors.append(Actor("commit", self.publish))

    def standing(self, kind=""):
        return [actor for actor in self.actors if not actor.is_over and actor.name.startswith(kind)]

    @precondition(lambda self: self.standing())
    @rule(data=st.data(), n=st.integers(1, 40))
    def go_on(self, data, n):
        actor = data.draw(st.sampled_from(self.standing()))
        while n and not actor.is_over:
            actor.step()
            n -= 1

    @precondition(lambda self: self.standing())
    @rule(data=st.data())
    def kill(self, data):
        actor = data.draw(st.sampled_from(self.standing()))
        self.crashed_commit |= actor.name == "commit"
        actor.step(dies=True)

    @precondition(lambda self: not self.standing("commit"))
    @rule()
    def an_hour_passes(self):
        """Workers may sleep through it; a commit takes less."""
        before = time.time() - 2 * MINIMUM_AGE_S
        for path in Path(self.storage.url).rglob("*.*"):
            os.utime(path, (before, before))

    @rule()
    def clean(self):
        clean(self.storage, dry_run=False)

    @invariant()
    def every_version_is_whole(self):
        published = numbers(self.storage)
        assert published == list(range(1, len(published) + 1))
        for snapshot in snapshots(self.storage):
            manifest = read_manifest(self.storage, snapshot)
            assert all(self.storage.size(part.key) == part.n_bytes for part in manifest.parts)
            assert len({part.key for part in manifest.parts}) == len(manifest.parts)

    def teardown(self):
        """All go on to their ends; then one run more publishes everything, once, and leaves nothing
        behind.
        """
        while standing := self.standing():
            for actor in standing:
                actor.step()
        for actor in self.actors:
            error = actor.result.exception()
            assert error is None or (
                actor.name == "commit" and isinstance(error, (ConflictError, IncompleteError))
            ), error
        if numbers(self.storage) and not self.crashed_commit:
            newest = read_manifest(self.storage, snapshots(self.storage)[-1])
            assert hats.hats_differences(self.storage, newest) == ()
        clean(self.storage, older_than_s=0, dry_run=False)
        for pixel in TASKS:
            assert self.work(pixel, 0).status.is_done
        self.publish()
        report = check(self.storage)
        assert report.ok, report.problems
        assert (report.n_rows, report.quarantined) == (ROWS * len(TASKS), ())
        clean(self.storage, older_than_s=0, dry_run=False)
        named = {snapshot.manifest_key for snapshot in snapshots(self.storage)}
        assert set(self.storage.list(MANIFESTS)) == named
        self.folder.cleanup()


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
