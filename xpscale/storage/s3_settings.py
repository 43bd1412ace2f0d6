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
from typing import Any

from xpscale.errors import InvalidInputError

__all__ = ["REMEDY", "for_fsspec", "for_obstore"]

REMEDY = (
    "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; a public bucket is read with"
    " AWS_SKIP_SIGNATURE=true"
)
ANONYMOUS = ("AWS_SKIP_SIGNATURE", "AWS_NO_SIGN_REQUEST")
WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on", "y", "t"), True),
    **dict.fromkeys(("", "0", "false", "no", "off", "n", "f"), False),
}
TIMEOUT = "300s"  # of one request: a part of 200 MB at 0.7 MB/s
VALID = timedelta(minutes=5)


def _is_anonymous() -> bool:
    texts = {name: os.environ.get(name, "") for name in ANONYMOUS}
    for name, text in texts.items():
        if text.strip().lower() not in WORDS:
            raise InvalidInputError(f"{name}={text} is neither true nor false", f"Set {name}=true")
    return any(WORDS[text.strip().lower()] for text in texts.values())


def _endpoint() -> str:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def for_fsspec() -> dict[str, Any]:
    """Options of `s3fs.S3FileSystem`; ``anon`` always, because hats reads anonymously without."""
    endpoint = _endpoint()
    return {"anon": _is_anonymous(), **({"endpoint_url": endpoint} if endpoint else {})}


def for_obstore() -> dict[str, Any]:
    """Options of `obstore.store.S3Store` besides bucket and prefix.

    Raises
    ------
    InvalidInputError
        There are no credentials, or a variable cannot be read.
    """
    endpoint, is_anonymous = _endpoint(), _is_anonymous()
    options: dict[str, Any] = {
        "skip_signature": is_anonymous,
        "client_options": {
            "timeout": os.environ.get("AWS_TIMEOUT", TIMEOUT),
            "allow_http": endpoint.startswith("http://"),
        },
    }
    if endpoint:
        options["endpoint"] = endpoint
    if not is_anonymous and not os.environ.get("AWS_ACCESS_KEY_ID"):
        options |= _of_session()
    return options


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
