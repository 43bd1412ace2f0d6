import itertools

import pytest

from tests.support.services import seaweedfs
from xpscale.storage import Storage

NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with (
        seaweedfs(tmp_path_factory.mktemp("weed"), ("xpscale",)) as service,
        service.apply(),
    ):
        yield service


@pytest.fixture
def bucket(s3):
    """A fresh prefix, and what puts an object or a folder's marker below it."""
    place = Storage(f"s3://xpscale/place-{next(NUMBERS)}")
    s3fs = place.upath.fs

    def put(key, data=b"theirs"):
        name = place.url.removeprefix("s3://xpscale/")
        s3fs.call_s3("put_object", Bucket="xpscale", Key=f"{name}/{key}", Body=data)

    return place, put
