"""How S3 is reached: the standard AWS environment, with one meaning for every library used here.

=======================================  ========================================================
``AWS_ACCESS_KEY_ID`` and the like       credentials; else those of ``aws configure``, of a
                                         profile (``AWS_PROFILE``), a container or a machine
``AWS_SKIP_SIGNATURE=true``              no credentials: a public bucket is read;
                                         ``AWS_NO_SIGN_REQUEST`` says the same
``AWS_ENDPOINT_URL_S3``                  a server other than Amazon's; or ``AWS_ENDPOINT_URL``
``AWS_REGION``, ``AWS_DEFAULT_REGION``   the region
``AWS_TIMEOUT``                          ends a request that hangs: ``300s``
=======================================  ========================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from xpscale.errors import InvalidInputError
from xpscale.local_files import local_path
from xpscale.storage.environment import Credentials, client_options, end_of, first_of, is_on

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "ENDPOINT",
    "REMEDY",
    "VERSION",
    "credentials",
    "endpoint",
    "for_fsspec",
    "open_container",
]

VERSION: Literal["e_tag", "version"] = "e_tag"
ENDPOINT = "AWS_ENDPOINT_URL"
REMEDY = (
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE (aws configure list; aws sso"
    " login); a public bucket is read with AWS_SKIP_SIGNATURE=true"
)
ANONYMOUS = ("AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST")
VALID = timedelta(minutes=5)


def _endpoint() -> str:
    found = first_of("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return found or str(_of_profile()[0] or "")


def _of_profile() -> tuple[str | None, str | None]:
    """Endpoint and region of the profile, as every program of AWS's finds them."""
    files = (os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"), "~/.aws/credentials")
    if not any(local_path(name).is_file() for name in files):
        return None, None
    from botocore.configprovider import ConfiguredEndpointProvider
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        session = Session()
        scoped, full = session.get_scoped_config(), session.full_config
    except BotoCoreError as error:
        raise InvalidInputError(f"S3 credentials cannot be read: {error}", REMEDY) from error
    endpoint = ConfiguredEndpointProvider(full, scoped, "s3").provide()
    return endpoint, scoped.get("region")


def endpoint(container: str) -> str:
    """Address of the server of a bucket."""
    region = first_of("AWS_REGION", "AWS_DEFAULT_REGION") or _of_profile()[1]
    return _endpoint() or f"https://s3.{region or 'us-east-1'}.amazonaws.com"


def credentials() -> Credentials:
    """Who we are.

    Raises
    ------
    InvalidInputError
        We are nobody, or a profile cannot be read.
    """
    if is_on(*ANONYMOUS):
        return Credentials("none (AWS_SKIP_SIGNATURE)")
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        text = os.environ.get("AWS_CREDENTIAL_EXPIRATION", "")  # as the AWS command line exports it
        end = end_of(text)
        is_temporary = bool(text or os.environ.get("AWS_SESSION_TOKEN"))
        return Credentials("AWS_ACCESS_KEY_ID", end, is_temporary)
    found = _session()
    renewed = ", renewed before they end" if hasattr(found, "refresh_needed") else ""
    return Credentials(f"{found.method}{renewed}")


def for_fsspec() -> dict[str, Any]:
    """Options of `s3fs.S3FileSystem`; ``anon`` always, because hats reads anonymously without."""
    server = _endpoint()
    return {"anon": is_on(*ANONYMOUS), **({"endpoint_url": server} if server else {})}


def open_container(container: str, prefix: str) -> ObjectStore:
    """The objects of a bucket below a prefix.

    Parameters
    ----------
    container, prefix
        Words of an address.

    Raises
    ------
    InvalidInputError
        There are no credentials, or a variable cannot be read.
    """
    from obstore.store import S3Store

    server, is_anonymous = _endpoint(), is_on(*ANONYMOUS)
    options: dict[str, Any] = {"skip_signature": is_anonymous}
    if server:
        options["endpoint"] = server
    if not first_of("AWS_REGION", "AWS_DEFAULT_REGION") and (region := _of_profile()[1]):
        options["region"] = region
    if not is_anonymous and not os.environ.get("AWS_ACCESS_KEY_ID"):
        options |= _of_session()
    client = client_options(server, os.environ.get("AWS_TIMEOUT", ""))
    return S3Store(container, prefix=prefix or None, client_options=client, **options)


def _session() -> Any:
    """Credentials as the AWS command line finds them."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session()
    try:
        found = session.get_credentials()
        if found is not None:
            found.get_frozen_credentials()  # those of a login may have to be renewed
    except BotoCoreError as error:
        raise InvalidInputError(f"S3 credentials cannot be read: {error}", REMEDY) from error
    if found is None:
        raise InvalidInputError("there are no credentials for S3", REMEDY)
    return found


def _of_session() -> dict[str, Any]:
    """As `_session`, as options of a store."""
    found = _session()

    def current() -> dict[str, Any]:
        keys = found.get_frozen_credentials()  # its errors reach `xpscale.storage.failures`
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + VALID,  # ask again: they may have been renewed
        }

    provider: Callable[[], dict[str, Any]] = current
    return {"credential_provider": provider}
