"""What is written down when a command meets an error that nobody foresaw: one file to send, without
credentials.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import tempfile
from importlib import metadata
from pathlib import Path

from xpscale.safe_text import SECRET, without_secrets

__all__ = ["without_credentials", "write_error_report"]

LIBRARIES = (
    *("astropy", "dask", "distributed", "duckdb", "fsspec", "hats", "numpy", "obstore"),
    *("pyarrow", "s3fs", "torch", "zarr"),
)

PROSE = re.compile(rf"(?i)([\w-]*(?:{SECRET})[\w-]*\s*:\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&\"')}}]+)")
"""What may be a secret: text that nobody reads but to find a fault can lose more."""


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
    return PROSE.sub(r"\1***", without_secrets(text))
