"""Fixtures for all tests: where real data are, and hypothesis profiles."""

import os
import runpy
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]

settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


LONGEST_FIRST = ("e2e", "docs", "services", "clusters", "serve", "demo", "inference")
"""Folders of tests whose files take minutes: begun last, they would keep one process waiting."""


def pytest_collection_modifyitems(items):
    """The longest begin."""

    def rank(item):
        folder = item.path.relative_to(ROOT / "tests").parts[0]
        return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=rank)


def data_path(name: str) -> Path:
    """A file or folder of the shared real data; skips the test if it is missing."""
    path = Path(os.environ.get("XPSCALE_DATA", ROOT.parent / "shared" / "data")) / name
    if not path.exists():
        pytest.skip(f"no {name} in ../shared/data or $XPSCALE_DATA")
    return path


@pytest.fixture(scope="session")
def real_archive():
    """The mirror of the bulk archive: 27 file pairs, 2,052 genuine spectra."""
    return data_path("archive")


@pytest.fixture(scope="session")
def published_weights():
    """The weights that Laroche & Speagle released."""
    return data_path("published_model/weight.pt")


@pytest.fixture
def gpu():
    """The name of the GPU as a device; skips the test if there is none."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return "cuda"


@pytest.fixture(params=["cpu", "cuda"])
def device(request):
    """Each kind of device that this machine has."""
    return request.param if request.param == "cpu" else request.getfixturevalue("gpu")


@pytest.fixture(scope="session")
def small_demo(tmp_path_factory):
    """A folder with a small `demo-out`, as documents and light installations use it."""
    # by its path: gwcs, which specutils needs, installs a package that is called docs
    make_example = runpy.run_path(str(ROOT / "docs/example.py"))["make_example"]
    place = tmp_path_factory.mktemp("reader")
    make_example(place / "demo-out", n_stars=3_000, epochs=1)
    return place
