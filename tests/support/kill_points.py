"""Kill points: any write of an object, in any process of a run, can be the last act of its process.

The processes of a run (client, Dask workers) share the folder of a `KillPoints`. Each write of an
object is a line in its file ``operations``, so writes are numbered over all processes, and the
process that does the write with the armed number is killed, paused or interrupted, once.

    points = KillPoints(tmp_path)
    points.arm(7, "die")
    command = [sys.executable, "-m", "tests.support.kill_points", "infer", ...]
    subprocess.run(command, env={**os.environ, **points.environment})

The arguments are those of ``xpscale``. Dask workers count their writes, too: the environment asks
them to preload this module, for which ``PYTHONPATH`` must hold the folder of ``tests``.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpscale.errors import TryAgainError
from xpscale.storage import Storage

__all__ = ["KillPoints", "Killed", "dask_setup", "install"]

VARIABLE = "XPSCALE_KILL_POINTS"

WRITES = ("create", "replace", "delete")


class Killed(BaseException):
    """Stands for the end of a process in tests without processes; nothing catches it."""


@dataclass(frozen=True, slots=True)
class KillPoints:
    """At which write of a run a process is killed, paused or interrupted.

    Parameters
    ----------
    folder
        Folder shared by all processes of the run.
    """

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables for every process that is to count its writes here."""
        preload = json.dumps(["tests.support.kill_points"])
        return {VARIABLE: str(self.folder), "DASK_DISTRIBUTED__WORKER__PRELOAD": preload}

    def arm(self, at: int, do: str, *, after: bool = False, of: str = "") -> None:
        """Set the kill point, and forget the one before: a process that pauses there continues.

        Parameters
        ----------
        at
            Number of the write among those that count, from 0; -1 for none.
        do
            ``"die"``: the process kills itself. ``"pause"``: it waits for `resume`. ``"raise"``:
            it raises `Killed`.
        after
            Whether to do this after the write, not before it.
        of
            Count only keys that contain this text.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("operations", "reached", "go", "went on"):
            (self.folder / name).unlink(missing_ok=True)
        plan = json.dumps({"at": at, "do": do, "after": after, "of": of, "armed": time.time_ns()})
        (self.folder / "plan.json.new").write_text(plan)
        (self.folder / "plan.json.new").rename(self.folder / "plan.json")

    @property
    def operations(self) -> list[str]:
        """Writes so far, as ``PID METHOD URL/KEY``."""
        path = self.folder / "operations"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def reached(self) -> int:
        """Process that has reached the kill point, 0 if none has."""
        path = self.folder / "reached"
        return int(path.read_text() or 0) if path.exists() else 0

    @property
    def has_gone_on(self) -> bool:
        """Whether the process at the kill point has done its write since."""
        return (self.folder / "went on").exists()

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait until a process reaches the kill point; return its id.

        Raises
        ------
        TryAgainError
            If none does within ``timeout_s``.
        """
        give_up = time.monotonic() + timeout_s
        while not (pid := self.reached):
            if time.monotonic() > give_up:
                raise TryAgainError(f"no write reached the kill point within {timeout_s:g} s")
            time.sleep(0.005)
        return pid

    def resume(self) -> None:
        """Let the paused process continue."""
        (self.folder / "go").touch()

    def visit(self, method: str, where: str, write: Callable[[], Any]) -> Any:
        """Do a write, and what is armed for it.

        Parameters
        ----------
        method
            ``"create"``, ``"replace"`` or ``"delete"``.
        where
            URL and key of the object.
        write
            Does the write.
        """
        plan = self._plan()
        if plan["of"] in where:
            with (self.folder / "operations").open("a+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0)
                number = len(file.readlines())
                file.write(f"{os.getpid()} {method} {where}\n")
        if plan["of"] not in where or number != plan["at"]:
            return write()
        result = write() if plan["after"] else None
        self._act(plan)
        result = result if plan["after"] else write()
        (self.folder / "went on").touch()
        return result

    def _plan(self) -> dict[str, Any]:
        plan: dict[str, Any] = json.loads((self.folder / "plan.json").read_text())
        return plan

    def _act(self, plan: dict[str, Any]) -> None:
        (self.folder / "reached.new").write_text(str(os.getpid()))
        (self.folder / "reached.new").rename(self.folder / "reached")
        if plan["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if plan["do"] == "raise":
            raise Killed
        while not (self.folder / "go").exists() and self._plan() == plan:
            time.sleep(0.005)


def install(points: KillPoints) -> Callable[[], None]:
    """Count this process's writes from now on; return a function that ends this."""
    originals = {name: getattr(Storage, name) for name in WRITES}

    def counted(name: str) -> Callable[..., Any]:
        original = originals[name]

        def write(self: Storage, *args: Any) -> Any:
            return points.visit(
                name, f"{self.url}/{args[0] if args else ''}", lambda: original(self, *args)
            )

        return write

    for name in WRITES:
        setattr(Storage, name, counted(name))

    def undo() -> None:
        for name, original in originals.items():
            setattr(Storage, name, original)

    return undo


def dask_setup(_: Any) -> None:
    """Count the writes of a Dask worker; called by ``dask worker --preload``."""
    if folder := os.environ.get(VARIABLE):
        install(KillPoints(Path(folder)))


if __name__ == "__main__":
    from xpscale.cli.main import main

    dask_setup(None)
    main()
