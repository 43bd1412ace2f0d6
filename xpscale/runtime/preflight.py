"""Is a process fit for the tasks of a stage, before it does the first of them?

A worker with another version of the code computes other numbers, and nobody sees it afterwards; one
that cannot reach the input fails every task it gets.  So every process is compared with the one
that planned the work, and tries what the stage needs: a function of a task may have an attribute
``check``, which is called once in each process with the memory that the process may use.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from xpscale.errors import PlanError, XpscaleError
from xpscale.formatting import first_line
from xpscale.runtime.machine import memory_limit

__all__ = ["Check", "check_of", "misfits", "require_fit_here", "software", "software_text"]

PACKAGES = ("xpscale", "numpy", "torch")
"""Packages whose versions must be the same in all processes."""

ROOT = Path(__file__).parents[1]

Check = Callable[[int | None], None]
"""``check(memory)`` raises if the process it runs in, which may use ``memory`` bytes (``None``:
any), cannot do the tasks.  Its attribute ``memory``, if it has one, says how many it needs."""


@cache
def software() -> dict[str, str]:
    """What computes in this process: version of Python, versions of `PACKAGES` that are installed,
    and ``code``, the sha256 of xpscale's own source files, which tells two states of one version
    apart.
    """
    digest = hashlib.sha256()
    for path in sorted(ROOT.rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes())
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]  # +cpu and +cu128 are builds of one
        except PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "code": digest.hexdigest()[:12]}


def software_text() -> str:
    """``xpscale 0.1.0, code 3f2a..., numpy 2.4.0, torch 2.9.1, python 3.12``: `software` in one
    line.
    """
    found = software()
    names = ("xpscale", "code", "numpy", "torch", "python")
    return ", ".join(f"{name} {found[name]}" for name in names)


def misfits(check: Check | None, expected: dict[str, str], memory: int | None) -> tuple[str, ...]:
    """Why this process is not fit for a stage, in words; empty if it is.

    Parameters
    ----------
    check
        What the stage's tasks need.
    expected
        `software` of the process that planned the work.
    memory
        Bytes that this process may use; ``None`` for what its machine, or control group, gives.
    """
    limit = memory_limit()
    memory = min(memory, limit) if memory else limit
    found = software()
    differences = tuple(
        f"{name} {found.get(name)} instead of {wanted}"
        for name, wanted in expected.items()
        if found.get(name) != wanted
    )
    if differences or check is None:
        return differences
    try:
        check(memory)
    except XpscaleError as error:
        return (str(error),)
    except Exception as error:  # whatever it is, the tasks would raise it, too
        return (f"{type(error).__name__}: {first_line(error)}",)
    return ()


def check_of(function: Any) -> Check | None:
    """The check of a function of a task, also of one that `xpscale.runtime.attempt` has wrapped."""
    while hasattr(function, "function"):
        function = function.function
    found: Check | None = getattr(function, "check", None)
    return found


def require_fit_here(function: Any) -> None:
    """Refuse work that this process cannot do.

    Parameters
    ----------
    function
        Function of a task.

    Raises
    ------
    PlanError
        The message says why.
    """
    if problems := misfits(check_of(function), software(), None):
        raise PlanError(
            f"this machine cannot do the work: {'; '.join(problems)}", "Nothing was begun"
        )
