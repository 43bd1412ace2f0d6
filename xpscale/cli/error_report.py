"""What is written down when a command meets an error that nobody foresaw: one file to send, without
credentials.
"""

from __future__ import annotations

import configparser
import datetime
import os
import platform
import re
import tempfile
from importlib import metadata
from pathlib import Path

__all__ = ["without_credentials", "write_error_report"]

LIBRARIES = (
    *("astropy", "dask", "distributed", "duckdb", "fsspec", "hats", "numpy", "obstore"),
    *("pyarrow", "s3fs", "torch", "zarr"),
)

SECRET = r"secret|token|passw(?:or)?d|credential|signature|access_?key|api_?key|authorization"
PATTERNS = (
    (r"(?<=://)[^/\s'\"@]+@", "***@"),  # user:password@host
    (r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", "***"),  # identifiers of keys of AWS
    (r"(?i)\b(bearer|basic)\s+[\w.+/=-]{6,}", r"\1 ***"),
    (
        rf"(?i)([\w-]*(?:{SECRET})[\w-]*[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"')}}]+)",
        r"\1***",
    ),
)
"""What looks like a credential, and what stands in its place."""

MIN_LENGTH = 4
"""Shorter values are no secrets, and stand in many other words."""


def write_error_report(trace: str, command: str) -> Path:
    """Write what is needed to find the fault, in this folder or that for temporary files.

    Parameters
    ----------
    trace
        The traceback.
    command
        The command line.

    Returns
    -------
    Path
        The new file.
    """
    now = datetime.datetime.now(datetime.UTC)
    lines = [
        f"xpscale {metadata.version('xpscale')}, {now.isoformat(timespec='seconds')}",
        f"Python {platform.python_version()} on {platform.platform()}",
        ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        f"\n{command}\n",
        trace,
    ]
    text = without_credentials("\n".join(lines))
    name = f"xpscale-error-{now:%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    try:
        path = Path(name).absolute()
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError:
        path = Path(tempfile.gettempdir(), name)
        path.write_text(text, encoding="utf-8", errors="backslashreplace")
    return path


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "is missing"


def without_credentials(text: str) -> str:
    """The text without what this process knows, or the text looks like, as a credential.

    Parameters
    ----------
    text
        Any text.
    """
    for secret in sorted(_known_secrets(), key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern, instead in PATTERNS:
        text = re.sub(pattern, instead, text)
    return text


def _known_secrets() -> set[str]:
    """Values of environment variables and of the AWS credentials file that are credentials."""
    named = [*os.environ.items()]
    parser = configparser.RawConfigParser()
    default = Path("~/.aws/credentials").expanduser()
    try:
        parser.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", default))
        named += [item for section in parser.sections() for item in parser.items(section)]
    except (OSError, configparser.Error, UnicodeDecodeError):
        pass  # no file that could be understood
    return {
        value
        for name, value in named
        if re.search(SECRET, name, re.IGNORECASE) and len(value) >= MIN_LENGTH
    }
