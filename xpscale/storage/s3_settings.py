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
from typing import TYPE_CHECKING, Any

from xpscale.errors import InvalidInputError
from xpscale.storage.environment import client_options, first_of, is_on

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["REMEDY", "for_fsspec", "open_bucket"]

REMEDY = (
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public bucket is read with"
    " AWS_SKIP_SIGNATURE=true"
)
ANONYMOUS = ("AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST")
VALID = timedelta(minutes=5)


def _endpoint() -> str:
    return first_of("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def for_fsspec() -> dict[str, Any]:
    """Options of `s3fs.S3FileSystem`; ``anon`` always, because hats reads anonymously without."""
    endpoint = _endpoint()
    return {"anon": is_on(*ANONYMOUS), **({"endpoint_url": endpoint} if endpoint else {})}


def open_bucket(bucket: str, prefix: str) -> ObjectStore:
    """The objects of a bucket below a prefix.

    Parameters
    ----------
    bucket, prefix
        Words of an address.

    Raises
    ------
    InvalidInputError
        There are no credentials, or a variable cannot be read.
    """
    from obstore.store import S3Store

    endpoint, is_anonymous = _endpoint(), is_on(*ANONYMOUS)
    options: dict[str, Any] = {"skip_signature": is_anonymous}
    if endpoint:
        options["endpoint"] = endpoint
    if not is_anonymous and not os.environ.get("AWS_ACCESS_KEY_ID"):
        options |= _of_session()
    client = client_options(endpoint, os.environ.get("AWS_TIMEOUT", ""))
    return S3Store(bucket, prefix=prefix or None, client_options=client, **options)


def _of_session() -> dict[str, Any]:
    """Credentials and region as the AWS command line finds them."""
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    session = Session()
    try:
        region, found = session.get_config_variable("region"), session.get_credentials()
    except BotoCoreError as error:
        raise InvalidInputError(f"S3 credentials cannot be read: {error}", REMEDY) from error
    if found is None:
        raise InvalidInputError("there are no credentials for S3", REMEDY)

    def current() -> dict[str, Any]:
        keys = found.get_frozen_credentials()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.token,
            "expires_at": datetime.now(UTC) + VALID,  # ask again: they may have been renewed
        }

    provider: Callable[[], dict[str, Any]] = current
    return {"credential_provider": provider, **({"region": region} if region else {})}
