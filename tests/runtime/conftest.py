"""Tasks that do what their name says, importable by worker processes, and a cluster to run
them on.
"""

import pytest

from xpscale.runtime.executors.dask import local_cluster


@pytest.fixture(scope="module")
def client():
    with local_cluster(2) as client:
        yield client
