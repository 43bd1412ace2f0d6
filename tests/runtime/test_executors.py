"""All executors keep the same contract."""

import pytest

from tests.support.executor_contract import ExecutorContract
from xpscale.runtime.executors.dask import WINDOW_PER_WORKER, DaskExecutor
from xpscale.runtime.executors.serial import SerialExecutor
from xpscale.runtime.executors.threads import ThreadsExecutor


class TestSerialExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self):
        return SerialExecutor()


class TestThreadsExecutor(ExecutorContract):
    most_in_flight = 3

    @pytest.fixture
    def executor(self):
        return ThreadsExecutor(3)


class TestDaskExecutor(ExecutorContract):
    most_in_flight = 2 * WINDOW_PER_WORKER

    @pytest.fixture
    def executor(self, client):
        client.wait_for_workers(2, timeout=60)
        return DaskExecutor(client)

    def test_it_says_how_many_workers_it_has(self, executor):
        assert executor.n_workers == 2
