"""A small archive with every defect of a row, and a cluster of two worker processes."""

import pytest

from tests.support.archive_files import Defects, write_archive
from xpscale.runtime.executors.dask import DaskExecutor, local_cluster
from xpscale.testing.universe import Universe

DEFECTS = Defects(
    missing_bp=2,
    missing_source=3,
    missing_flux=4,
    not_finite=5,
    not_positive=6,
    duplicate=7,
    duplicate_across=3,
)
UNIVERSE = Universe(1_200, seed=4, mover_fraction=0.02)


@pytest.fixture(scope="session")
def universe():
    return UNIVERSE


@pytest.fixture(scope="session")
def spoilt(tmp_path_factory):
    """1,200 sources in 6 file pairs, 30 of them spoilt."""
    return write_archive(
        UNIVERSE, str(tmp_path_factory.mktemp("spoilt")), n_files=6, defects=DEFECTS
    )


@pytest.fixture(scope="session")
def two_processes():
    with local_cluster(2) as client:
        yield DaskExecutor(client)
