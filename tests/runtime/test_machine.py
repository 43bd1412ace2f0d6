"""What a process may use."""

from pathlib import Path

import psutil
import pytest

from xpscale.runtime.machine import available_memory, memory_here, memory_limit, n_cpus


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


def test_control_groups_of_version_1_count_without_files_that_can_be_dropped(tmp_path, monkeypatch):
    own = tmp_path / "memory" / "slurm" / "job_7"
    own.mkdir(parents=True)
    text = Path.read_text

    def read(path, *arguments, **options):
        mine = "9:name=systemd:/\n4:memory:/slurm/job_7\n0::/\n"
        return mine if str(path) == "/proc/self/cgroup" else text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)
    (own / "memory.limit_in_bytes").write_text("9000\n")
    (own / "memory.usage_in_bytes").write_text("5000\n")
    (own / "memory.stat").write_text("cache 3000\ntotal_inactive_file 2000\n")
    (own / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert available_memory(tmp_path) == 6000
    assert memory_limit(tmp_path) == 9000
    here = memory_here(tmp_path)
    assert (here["free"], here["oom_kills"]) == (6000, 3)
    assert here["place"].endswith("slurm/job_7")
