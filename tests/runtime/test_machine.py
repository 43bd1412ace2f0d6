"""What a process may use."""

from pathlib import Path

import psutil
import pytest

from xpscale.runtime.machine import available_memory, n_cpus


def test_processors():
    assert 1 <= n_cpus() <= (psutil.cpu_count() or 1)


def test_the_limit_of_a_control_group_counts(tmp_path, monkeypatch):
    own = tmp_path / "system.slice" / "job"
    own.mkdir(parents=True)
    text = Path.read_text

    def read(path, *arguments, **options):
        return "0::/system.slice/job\n" if str(path) == "/proc/self/cgroup" else text(path)

    monkeypatch.setattr(Path, "read_text", read)
    free = psutil.virtual_memory().available
    assert available_memory(tmp_path) == pytest.approx(free, rel=0.2)
    (own / "memory.max").write_text("max\n")
    (own / "memory.current").write_text("5000\n")
    assert available_memory(tmp_path) == pytest.approx(free, rel=0.2)
    (own.parent / "memory.max").write_text("9000\n")
    (own.parent / "memory.current").write_text("2000\n")
    assert available_memory(tmp_path) == 7000
    (own / "memory.max").write_text("4000\n")
    assert available_memory(tmp_path) == 0
