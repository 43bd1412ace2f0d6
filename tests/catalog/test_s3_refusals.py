"""What S3 refuses is said with what to do, and each role needs no more than its policy grants."""

import os

import pytest
from random_catalog import PIXELS, ROWS, fill, identity, random_table

from tests.support.services import seaweedfs
from xpscale.catalog.commit import build_manifest, commit
from xpscale.catalog.identity import claim
from xpscale.catalog.sink import ParquetSink
from xpscale.errors import InvalidInputError, NotFoundError, TryAgainError
from xpscale.runtime.attempt import Attempt, tasks_error
from xpscale.sky import Pixel
from xpscale.storage import Storage
from xpscale.storage.failures import PASSING, Refused, explained
from xpscale.types import TaskStatus

PLACE = "s3://xpscale/refusals"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with seaweedfs(tmp_path_factory.mktemp("weed"), ("xpscale",)) as service, service.apply():
        yield service


@pytest.fixture(scope="module")
def users(s3):
    Storage(PLACE).create("key", b"value")
    return {
        "reader": s3.add_identity("reader", "Read:xpscale", "List:xpscale"),
        "worker": s3.add_identity("worker", "Read:xpscale", "List:xpscale", "Write:xpscale/run*"),
        "stranger": s3.add_identity("stranger", "Read:other"),
        "unknown": {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"},
        "wrong": {"AWS_ACCESS_KEY_ID": "reader-access", "AWS_SECRET_ACCESS_KEY": "wrong"},
    }


@pytest.fixture
def as_user(users, monkeypatch):
    def become(name):
        for key, value in users[name].items():
            monkeypatch.setenv(key, value)

    return become


METHODS = {
    "read": lambda place: place.read("key"),
    "read_range": lambda place: place.read_range("key", 0, 1),
    "size": lambda place: place.size("key"),
    "list": lambda place: place.list(),
    "create": lambda place: place.create("new", b"x"),
    "replace": lambda place: place.replace("new", b"x"),
    "delete": lambda place: place.delete("key"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("user", ["stranger", "unknown", "wrong"])
def test_a_refusal_ends_with_2_and_names_the_variables(as_user, user, method):
    as_user(user)
    with pytest.raises(Refused, match=rf"no permission for {PLACE}") as caught:
        METHODS[method](Storage(PLACE))
    assert caught.value.exit_code == 2
    for name in (*KEYS, "AWS_PROFILE"):
        assert name in caught.value.remedy


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        ("stranger", "do not allow that"),
        ("unknown", "does not know the access key"),
        ("wrong", "secret key is not that"),
    ],
)
def test_the_reason_is_said(as_user, user, reason):
    as_user(user)
    with pytest.raises(Refused, match=reason):
        Storage(PLACE).read("key")


@pytest.mark.parametrize("method", ["read", "list", "read_range"])
def test_a_bucket_that_is_not_there(s3, method):
    with pytest.raises(NotFoundError, match="no such bucket"):
        METHODS[method](Storage("s3://nowhere-at-all/x"))


CODES = {
    400: ("ExpiredToken", "TokenRefreshRequired", "InvalidToken"),
    403: ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed"),
    503: ("SlowDown", "ServiceUnavailable"),
    500: ("InternalError",),
}


@pytest.mark.parametrize(("status", "code"), [(s, code) for s in CODES for code in CODES[s]])
def test_only_what_may_pass_is_tried_again(status, code):
    from obstore.exceptions import GenericError

    text = f"Server returned non-2xx status code: {status} X: <Error><Code>{code}</Code></Error>"
    wanted = TryAgainError if status in PASSING else Refused
    with pytest.raises(wanted) as caught, explained(f"{PLACE}/key"):
        raise GenericError(text)
    if "Token" in code and code != "InvalidToken":
        assert "have expired" in caught.value.message
        assert "aws sso login" in caught.value.remedy
    if code == "RequestTimeTooSkewed":
        assert "clock" in caught.value.message


def test_credentials_that_end_quarantine_nothing(as_user):
    """Else a run with --skip-damaged would publish without the tasks."""
    as_user("stranger")

    class Task:
        key = "Norder=0/Npix=1"

    report = Attempt(lambda task: Storage(PLACE).read("key"))(Task())
    assert report.status is TaskStatus.FAILED
    error = tasks_error([report], 1, "")
    assert isinstance(error, Refused)
    assert error.exit_code == 2
    assert "credentials" in error.remedy


@pytest.fixture
def profile(s3, users, tmp_path, monkeypatch):
    """A profile with endpoint, region and keys in files; nothing in the environment."""
    config, credentials = tmp_path / "config", tmp_path / "credentials"
    config.write_text(
        "[profile stars]\nregion = us-east-1\nservices = ours\n"
        f"[services ours]\ns3 =\n  endpoint_url = {s3.endpoint}\n"
        f"[profile direct]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n"
        "[profile login]\nregion = us-east-1\nsso_session = x\nsso_account_id = 1\n"
        "sso_role_name = r\n[sso-session x]\nsso_region = us-east-1\n"
        f"sso_start_url = https://x.example\nendpoint_url = {s3.endpoint}\n"
    )
    keys = users["reader"]
    lines = "".join(f"{name.lower()} = {value}\n" for name, value in keys.items())
    credentials.write_text(f"[stars]\n{lines}[direct]\n{lines}")
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


@pytest.mark.parametrize("name", ["stars", "direct"])
def test_a_profile_is_used_by_every_library(profile, name):
    profile.setenv("AWS_PROFILE", name)
    place = Storage(PLACE)
    assert place.read("key") == b"value"
    place.upath.fs.clear_instance_cache()
    assert (place.upath / "key").read_bytes() == b"value"


@pytest.mark.parametrize("name", ["unheard-of", "login", "default"])
def test_a_profile_without_credentials_says_what_to_do(profile, name):
    if name != "default":
        profile.setenv("AWS_PROFILE", name)
    with pytest.raises(InvalidInputError, match="credentials") as caught:
        Storage(PLACE).read("key")
    assert caught.value.exit_code == 2
    assert "AWS_PROFILE" in caught.value.remedy
    assert "aws sso login" in caught.value.remedy


def test_each_role_has_what_its_policy_grants(s3, as_user, small_maps, monkeypatch):
    """Workers write parts, one client publishes, readers read: see docs/howto/security.md."""
    from xpscale.query.catalog import open_catalog
    from xpscale.storage.remote import RemoteBackend

    place, who = Storage("s3://xpscale/run/catalog"), identity()
    as_user("worker")
    with monkeypatch.context() as patch:
        patch.setattr(RemoteBackend, "delete", None)  # workers need no s3:DeleteObject
        manifest = build_manifest(place, fill(place))
        commit(place, manifest)
    as_user("reader")
    place = Storage(place.url)  # with the reader's credentials
    assert open_catalog(place).n_rows == len(PIXELS) * ROWS
    pixel = Pixel(3, 202)
    for write in (
        lambda: claim(Storage("s3://xpscale/run/other"), who),
        lambda: ParquetSink(place, who.layout).put(pixel, random_table(pixel)),
        lambda: place.delete("README.md"),
    ):
        with pytest.raises(Refused):
            write()
    as_user("worker")
    with pytest.raises(Refused):
        Storage("s3://xpscale/elsewhere").create("key", b"x")
