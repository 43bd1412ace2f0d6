"""Names that other programs leave in every folder and bucket: one rule for whoever lists one."""

from __future__ import annotations

__all__ = ["is_hidden", "is_litter"]

LITTER = frozenset(
    {
        "$recycle.bin",
        "#recycle",
        "@eadir",
        "__macosx",
        "__pycache__",
        "desktop.ini",
        "ehthumbs.db",
        "icon\r",
        "lost+found",
        "system volume information",
        "thumbs.db",
    }
)
"""Files and folders of Windows, macOS, Linux, network disks and Python, in lower case."""


def is_litter(key: str) -> bool:
    """Whether operating systems, editors, notebooks or Hadoop left an object, and no person.

    >>> [is_litter(key) for key in ("a/.DS_Store", "a/._x.csv", "x_$folder$", "a.csv~", "a/x.csv")]
    [True, True, True, True, False]

    Parameters
    ----------
    key
        Path below the place that is listed; each of its parts counts.
    """
    return any(
        part.startswith(".") or part.lower() in LITTER or part.endswith(("~", "_$folder$"))
        for part in key.split("/")
    )


def is_hidden(key: str) -> bool:
    """Whether readers of data pass over an object: litter, and what begins with ``_``, as for Spark
    and Arrow.

    >>> [is_hidden(key) for key in ("_SUCCESS", "_temporary/0/part.parquet", "x/part.parquet")]
    [True, True, False]

    Parameters
    ----------
    key
        Path below the place that is listed; each of its parts counts.
    """
    return is_litter(key) or any(part.startswith("_") for part in key.split("/"))
